//! Turns AgentTasks into Jobs, each with a volume of its own.
//!
//! stdin: AgentTasks, as YAML, JSON or JSON Lines. stdout: a [report](report::Report) a task, as a JSON line. stderr: for people.
//!
//! ```text
//! $ spawn-job <task.yaml
//! {"kind":"SpawnReport","task":"publisher-manual","namespace":"ai-agents","run":"publisher-3fa9c10b77de",…,"result":"created"}
//! ```
//!
//! It never makes two Jobs for one trigger: all names come from task and trigger, and what is there already is done. It puts
//! nothing into a shell, and no secret into a manifest: containers name the Secrets, and each gets its own keys alone.
//!
//! [`plan`] decides, without a cluster; [`cluster`] makes it; [`memory`] knows of it when it is gone; [`follow`] watches it until it
//! has [ended](ending).

pub mod args;
pub mod cluster;
pub mod ending;
pub mod follow;
mod literal;
pub mod manifest;
pub mod memory;
pub mod plan;
mod pod;
pub mod report;
pub mod run;
pub mod settings;
