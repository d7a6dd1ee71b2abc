//! The built binary: alone, with real packets in network namespaces, and in pods of a real cluster.

#![allow(clippy::unwrap_used, clippy::panic)]

/// What needs no cluster: help, completions, the policy, arguments.
mod alone;
/// Checks that end before their time leave nothing.
mod endings;
/// On a cluster whose network enforces NetworkPolicy, or does not.
mod node;
/// Probes across a router that filters, or does not.
mod packets;
