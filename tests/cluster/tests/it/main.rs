//! The cluster itself: what tests can rely on, by the module.

#![allow(clippy::unwrap_used, clippy::panic)] // in the functions around the tests

/// A cluster without a node.
mod control_plane;
/// Every way in which a cluster ends.
mod ending;
/// A cluster with a node: pods, volumes, names, addresses.
mod node;
/// NetworkPolicy, with real packets.
mod policy;
