//! The program.

use crate::args::{Args, Command};
use crate::spec::AgentTask;
use agent_task::record::RunRecord;
use agent_task::{Exit, brief};
use anyhow::Context as _;
use kube::CustomResourceExt as _;
use piece::{input, output};

/// Runs the program.
///
/// # Errors
/// No run record on stdin is a usage fault; otherwise those of writing.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    match args.command {
        Command::Crd => output::bytes(definition()?.as_bytes())?,
        Command::Brief => {
            let record: RunRecord = input::document("a run record", "agent-task brief <record.json")?;
            output::bytes(brief::message(&record).as_bytes())?;
        }
    }
    Ok(Exit::Done)
}

/// The resource's definition as YAML.
///
/// # Errors
/// Where it cannot be written as YAML.
pub fn definition() -> anyhow::Result<String> {
    let yaml = serde_saphyr::to_string(&AgentTask::crd()).context("writing YAML")?;
    Ok(format!("# Printed by `agent-task crd`.\n{yaml}"))
}
