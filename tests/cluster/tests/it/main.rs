//! The cluster itself: what tests can rely on, by the module.

#![allow(clippy::unwrap_used, clippy::panic)] // in the functions around the tests

/// A cluster without a node.
mod control_plane;
/// Every way in which a cluster ends.
mod ending;
