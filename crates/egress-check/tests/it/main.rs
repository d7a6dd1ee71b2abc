//! The built binary: alone, and with real packets in network namespaces.

#![allow(clippy::unwrap_used, clippy::panic)]

/// What needs no cluster: help, completions, the policy, arguments.
mod alone;
/// Probes across a router that filters, or does not.
mod packets;
