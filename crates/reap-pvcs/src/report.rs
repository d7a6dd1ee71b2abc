//! What is said of each volume, and in the end.

use crate::decision::{Decision, Reason};
use piece::output;
use serde::Serialize;

/// One volume: what was decided, why, and what came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line<'a> {
    kind: &'static str,
    namespace: &'a str,
    run: &'a str,
    /// The PersistentVolumeClaim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<&'a str>,
    /// The PersistentVolume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<&'a str>,
    /// The directory on the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    decision: Decision,
    reason: &'a Reason,
    result: Effect,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<'a> Line<'a> {
    /// A line on a volume of `run`.
    #[must_use]
    pub fn new(namespace: &'a str, run: &'a str, decision: Decision, reason: &'a Reason) -> Self {
        Self {
            kind: "ReapedVolume",
            namespace,
            run,
            claim: None,
            volume: None,
            directory: None,
            decision,
            reason,
            result: Effect::Failed,
            error: None,
        }
    }
}

/// What came of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing was to be done.
    None,
    /// It is gone.
    Deleted,
    /// Its deletion was accepted; it goes when what holds it is gone.
    Terminating,
    /// It was gone before.
    Absent,
    /// It changed since it was looked at, and was left alone: the next time decides again.
    Changed,
    /// It would be deleted.
    DryRun,
    /// It did not work.
    Failed,
}

/// The last line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    kind: &'static str,
    namespace: String,
    dry_run: bool,
    /// Claims that were looked at.
    pub claims: usize,
    /// Volumes without a claim.
    pub volumes: usize,
    /// Directories without a volume.
    pub directories: usize,
    kept: usize,
    pending: usize,
    deleted: usize,
    changed: usize,
    /// What is to be deleted, but was not: for the limit, or because nothing is done.
    postponed: usize,
    /// What could not be done.
    pub failed: usize,
    /// What the pass could not find out, for which it left out a part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
}

impl Summary {
    /// Of nothing so far.
    #[must_use]
    pub fn new(namespace: &str, dry_run: bool) -> Self {
        Self {
            kind: "ReapSummary",
            namespace: namespace.to_owned(),
            dry_run,
            claims: 0,
            volumes: 0,
            directories: 0,
            kept: 0,
            pending: 0,
            deleted: 0,
            changed: 0,
            postponed: 0,
            failed: 0,
            errors: Vec::new(),
        }
    }

    /// Counts a part of the pass that is left out, because of this.
    pub fn left_out(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        self.errors.push(format!("{error:#}"));
    }

    /// Prints `line` with what came of it, and counts it.
    ///
    /// # Errors
    /// Where stdout cannot be written.
    pub fn print(&mut self, mut line: Line<'_>, result: anyhow::Result<Effect>) -> anyhow::Result<()> {
        line.result = result.unwrap_or_else(|error| {
            line.error = Some(format!("{error:#}"));
            Effect::Failed
        });
        let counter = match (line.result, line.decision, line.reason) {
            (Effect::Failed, ..) => &mut self.failed,
            (Effect::Deleted | Effect::Terminating | Effect::Absent, ..) => &mut self.deleted,
            (Effect::Changed, ..) => &mut self.changed,
            (Effect::DryRun, ..) | (Effect::None, _, Reason::Limit(_)) => &mut self.postponed,
            (Effect::None, Decision::Pending, _) => &mut self.pending,
            (Effect::None, ..) => &mut self.kept,
        };
        *counter += 1;
        output::line(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;

    /// K5
    #[test]
    fn a_line_says_what_why_and_what_came_of_it() {
        let reason = Reason::Unknown { since: Timestamp::UNIX_EPOCH, due: Timestamp::UNIX_EPOCH };
        let mut line = Line::new("ai-agents", "a", Decision::Delete, &reason);
        line.claim = Some("agent-ws-a");
        line.result = Effect::DryRun;
        assert_eq!(
            serde_json::to_value(&line).unwrap(),
            json!({
                "kind": "ReapedVolume", "namespace": "ai-agents", "run": "a", "claim": "agent-ws-a", "decision": "delete",
                "reason": "nothing tells how the run ended; made at 1970-01-01T00:00:00Z, it is kept until 1970-01-01T00:00:00Z",
                "result": "dry-run",
            })
        );
    }

    /// K5
    #[test]
    fn every_line_is_counted_once() {
        let mut summary = Summary::new("ai-agents", false);
        let reason = Reason::Preserved;
        let mut count = |decision, reason: &Reason, result| {
            summary.print(Line::new("ai-agents", "a", decision, reason), result).unwrap();
        };
        count(Decision::Keep, &reason, Ok(Effect::None));
        count(Decision::Keep, &Reason::Limit(1), Ok(Effect::None));
        count(Decision::Pending, &reason, Ok(Effect::None));
        count(Decision::Delete, &reason, Ok(Effect::Deleted));
        count(Decision::Delete, &reason, Ok(Effect::Terminating));
        count(Decision::Delete, &reason, Ok(Effect::Absent));
        count(Decision::Delete, &reason, Ok(Effect::Changed));
        count(Decision::Delete, &reason, Err(anyhow::anyhow!("no")));
        let Summary { kept, postponed, pending, deleted, changed, failed, .. } = summary;
        assert_eq!((kept, postponed, pending, deleted, changed, failed), (1, 1, 1, 3, 1, 1));
    }
}
