//! What became of a task: a JSON line each.

use crate::plan::{Object, Plan};
use agent_task::{Exit, RunRecord};
use piece::Fault;
use serde::Serialize;

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Always `SpawnReport`.
    pub kind: &'static str,
    /// The task's name.
    pub task: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The run; a schedule makes its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The Job or CronJob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The claim that the run works on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// What became of it.
    pub result: Outcome,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What would be made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Object>,
    /// How the run ended, where that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<RunRecord>,
    /// How the program ends for this task.
    #[serde(skip)]
    pub exit: Exit,
}

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The Job was made.
    Created,
    /// It was there.
    Existed,
    /// It was there, suspended, and begins now.
    Resumed,
    /// The run has been, and its Job is gone: there is no other.
    Ended,
    /// The schedule is as the task says.
    Applied,
    /// Nothing was made, as asked.
    Planned,
    /// It could not be made, or with --wait: the run did not succeed.
    Failed,
}

impl Report {
    /// What became of a plan.
    #[must_use]
    pub fn of(plan: &Plan, result: Outcome) -> Self {
        Self {
            kind: "SpawnReport",
            task: plan.task.clone(),
            namespace: Some(plan.namespace.clone()),
            run: plan.run.clone(),
            job: Some(plan.job.clone()),
            claim: plan.claim.clone(),
            result,
            error: None,
            hint: None,
            objects: Vec::new(),
            record: None,
            exit: Exit::Done,
        }
    }

    /// A task that became nothing.
    #[must_use]
    pub fn nothing(task: &str, error: String) -> Self {
        Self {
            kind: "SpawnReport",
            task: task.to_owned(),
            namespace: None,
            run: None,
            job: None,
            claim: None,
            result: Outcome::Failed,
            error: Some(error),
            hint: None,
            objects: Vec::new(),
            record: None,
            exit: Exit::Usage,
        }
    }

    /// Notes why it failed.
    #[must_use]
    pub fn failed(mut self, error: &anyhow::Error) -> Self {
        let fault = error.downcast_ref::<Fault>();
        self.result = Outcome::Failed;
        self.error = Some(format!("{error:#}"));
        self.hint = fault.and_then(Fault::hint_text).map(str::to_owned);
        self.exit = fault.map_or(Exit::Failed, Fault::exit);
        self
    }
}

/// How the program ends: as its tasks do, where those that failed agree.
#[must_use]
pub fn exit(reports: &[Report]) -> Exit {
    let mut failed = reports.iter().map(|report| report.exit).filter(|exit| *exit != Exit::Done);
    let Some(first) = failed.next() else { return Exit::Done };
    if failed.all(|exit| exit == first) { first } else { Exit::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K15
    #[test]
    fn failures_that_agree_give_the_exit_code() {
        let with = |codes: &[Exit]| {
            let reports: Vec<Report> =
                codes.iter().map(|&exit| Report { exit, ..Report::nothing("x", String::new()) }).collect();
            exit(&reports)
        };
        assert_eq!(with(&[]), Exit::Done);
        assert_eq!(with(&[Exit::Done, Exit::Retry, Exit::Retry]), Exit::Retry);
        assert_eq!(with(&[Exit::Denied, Exit::Done, Exit::Retry]), Exit::Failed);
    }
}
