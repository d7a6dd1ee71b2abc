//! How the run ended, from how the command did: pure.

use crate::handover::Handed;
use crate::supervision::{Cause, Ending};
use agent_task::{AgentReport, Outcome, RunRecord, Stage};
use std::time::Duration;

/// What is known when the command has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observed<'a> {
    pub(crate) ending: Ending,
    /// What the events said; none where the command prints none.
    pub(crate) report: Option<&'a AgentReport>,
    /// What became of the prompt; none where the command had it from the beginning.
    pub(crate) handed: Option<&'a Handed>,
    /// The end of its stderr, redacted.
    pub(crate) stderr: &'a str,
    /// The command's name.
    pub(crate) command: &'a str,
    pub(crate) timeout: Duration,
}

/// Notes in the record how the command ended.
pub(crate) fn judge(record: &mut RunRecord, observed: Observed<'_>) {
    let at_work =
        if matches!(observed.handed, None | Some(Handed::Over)) { Stage::AGENT } else { Stage::MCP_START };
    let of_report = observed.report.and_then(|report| report.stage.clone());
    let stage = of_report.filter(|_| at_work == Stage::AGENT).unwrap_or_else(|| Stage::new(at_work));
    match (observed.ending.cause, observed.report) {
        (Cause::Stopper, _) => {
            let why = match observed.handed {
                Some(Handed::Refused(why)) => why.as_str(),
                _ => Outcome::McpFailed.meaning(),
            };
            record.fail(Outcome::McpFailed, stage.as_str(), why);
        }
        (Cause::TimeLimit, _) => {
            let error = format!("the time limit of {} was reached", in_words(observed.timeout));
            record.fail(Outcome::Timeout, stage.as_str(), error);
        }
        (Cause::Signal(signal), _) => {
            let error = format!("branch-run got {}", signal_name(signal));
            record.fail(Outcome::Interrupted, stage.as_str(), error);
        }
        (Cause::Itself, Some(report)) if report.outcome.is_success() => {}
        (Cause::Itself, Some(report)) => {
            let error = report.error.clone().unwrap_or_else(|| report.outcome.meaning().to_owned());
            record.fail(report.outcome, stage.as_str(), with_stderr(error, observed, report.outcome));
        }
        (Cause::Itself, None) => {
            if observed.ending.code != Some(0) {
                let error = with_stderr(how_it_ended(observed), observed, Outcome::AgentFailed);
                record.fail(Outcome::AgentFailed, stage.as_str(), error);
            }
        }
    }
}

/// A run that ended well and left nothing is `no-change`; one that did not, and left something, is unfinished.
pub(crate) fn conclude(record: &mut RunRecord) {
    if record.outcome.is_success() && record.commits == 0 {
        record.outcome = Outcome::NoChange;
    }
    record.unfinished = record.stage.is_some() && record.commits > 0;
}

/// Where the events do not tell why, the last line of stderr does.
fn with_stderr(error: String, observed: Observed<'_>, outcome: Outcome) -> String {
    let silent = matches!(outcome, Outcome::NoResult | Outcome::AgentFailed);
    let last = observed.stderr.lines().rev().map(str::trim).find(|line| !line.is_empty());
    match last {
        Some(last) if silent && !error.contains(last) => format!("{error}: {last}"),
        _ => error,
    }
}

fn how_it_ended(observed: Observed<'_>) -> String {
    let command = observed.command;
    match (observed.ending.code, observed.ending.signal) {
        (Some(code), _) => format!("{command} ended with exit code {code}"),
        (None, Some(signal)) => format!("{command} was ended by {}", signal_name(signal)),
        (None, None) => format!("{command} could not be ended"),
    }
}

/// `SIGTERM` and the like.
pub(crate) fn signal_name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

fn in_words(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration)
        .map_or_else(|_| format!("{duration:?}"), |duration| format!("{duration:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_ITSELF: Ending = Ending { cause: Cause::Itself, code: Some(0), signal: None, survivors: 0 };

    fn record() -> RunRecord {
        RunRecord::begun("r-1-abc", "r", "topic", "main", "2026-11-22T22:00:00Z".parse().unwrap())
    }

    fn observed(ending: Ending) -> Observed<'static> {
        let timeout = Duration::from_secs(1800);
        Observed {
            ending,
            report: None,
            handed: None,
            stderr: "warning: x\nno rule to make target\n\n",
            command: "make",
            timeout,
        }
    }

    #[test]
    fn a_command_without_events_is_judged_by_its_exit_code() {
        let mut good = record();
        judge(&mut good, observed(BY_ITSELF));
        assert_eq!((good.outcome, good.stage), (Outcome::Success, None));

        let mut bad = record();
        judge(&mut bad, observed(Ending { code: Some(2), ..BY_ITSELF }));
        assert_eq!(bad.outcome, Outcome::AgentFailed);
        assert_eq!(bad.error.as_deref(), Some("make ended with exit code 2: no rule to make target"));
    }

    /// P9
    #[test]
    fn limits_and_signals_are_named() {
        let mut late = record();
        judge(&mut late, observed(Ending { cause: Cause::TimeLimit, ..BY_ITSELF }));
        assert_eq!(
            (late.outcome, late.error.as_deref()),
            (Outcome::Timeout, Some("the time limit of 30m was reached"))
        );

        let mut ended = record();
        judge(&mut ended, observed(Ending { cause: Cause::Signal(15), ..BY_ITSELF }));
        assert_eq!(
            (ended.outcome, ended.error.as_deref()),
            (Outcome::Interrupted, Some("branch-run got SIGTERM"))
        );
    }

    #[test]
    fn nothing_left_is_no_change_and_a_failure_with_commits_is_unfinished() {
        let mut nothing = record();
        conclude(&mut nothing);
        assert_eq!((nothing.outcome, nothing.unfinished), (Outcome::NoChange, false));

        let mut failed = record();
        failed.commits = 1;
        failed.fail(Outcome::Timeout, Stage::AGENT, "late");
        conclude(&mut failed);
        assert_eq!((failed.outcome, failed.unfinished), (Outcome::Timeout, true));
    }
}
