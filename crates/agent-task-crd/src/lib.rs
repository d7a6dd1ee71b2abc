//! `AgentTask`, the custom resource: what a person writes, what the cluster checks, and what it says of the runs.
//!
//! The Rust type is the one source: `agent-task crd` prints the definition that the chart installs, and a test holds the
//! chart's copy to it. What a person writes is checked twice, by the API server against the schema and by
//! [`problems`](check::problems) where a manifest never passes through one; unknown fields are errors.
//!
//! It lives beside the `agent-task` library so that the small pieces do without Kubernetes' types.

pub mod args;
pub mod check;
pub mod resources;
pub mod run;
pub mod spec;
pub mod status;
pub mod tools;

pub use spec::{AgentTask, AgentTaskSpec, Mode, Runtime, Trigger, Workspace};
pub use status::AgentTaskStatus;
pub use tools::AllowedTools;
