//! The custom resource from outside: its definition, and what is taken and refused.

#![allow(clippy::unwrap_used, reason = "a helper of tests that fails fails the test")]

mod check;
mod definition;
