//! What the findings prove: pure. A target that nobody reaches proves nothing, so each is tried from two pods that differ in
//! the agent's label alone.

use crate::probe::{ProbeReport, Reached};
use agent_task::Exit;
use serde::Serialize;

/// The neighbour's name in the reports.
pub const NEIGHBOUR: &str = "neighbour-pod";
/// The API server's.
pub const API_SERVER: &str = "api-server";
/// The agent's pod's, as the control pod tries to reach it.
pub const INGRESS: &str = "agent-pod";

/// What is to be the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// The agent must not reach it.
    Blocked,
    /// The agent must reach it.
    Passes,
}

/// What a target proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// It is as it should be.
    Holds,
    /// It is not.
    Broken,
    /// Nothing: from elsewhere it cannot be reached either.
    Nothing,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The policy is in force.
    Enforced,
    /// It is not, or another one is.
    NotEnforced,
    /// Neither could be shown.
    CannotTell,
}

impl Answer {
    /// The exit code.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::Enforced => Exit::Done,
            Self::NotEnforced => Exit::Failed,
            Self::CannotTell => Exit::Retry,
        }
    }
}

/// A target, as both pods found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// What it is called.
    pub name: String,
    /// Address and port, or the host's name.
    pub target: String,
    /// What is to be the case.
    pub expected: Expected,
    /// What the agent's pod found; nothing where the control pod tried to reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Reached>,
    /// What the control pod found.
    pub control: Reached,
    /// What that proves.
    pub proof: Proof,
}

/// What is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    kind: &'static str,
    /// The answer.
    pub answer: Answer,
    /// Why, for people.
    pub reasons: Vec<String>,
    /// One a target.
    pub targets: Vec<Checked>,
}

/// Decides. `passes` are the names of the targets that the agent must reach; it must not reach the others.
#[must_use]
pub fn judge(agent: &ProbeReport, control: &ProbeReport, passes: &[&str]) -> Verdict {
    let mut targets: Vec<Checked> = Vec::new();
    let mut reasons = Vec::new();
    for seen in &control.findings {
        let found =
            agent.findings.iter().find(|found| found.name == seen.name && found.target == seen.target);
        let expected =
            if passes.contains(&seen.name.as_str()) { Expected::Passes } else { Expected::Blocked };
        let proof = match (expected, found) {
            (_, None) if seen.name == INGRESS => ingress(seen.reached, &targets),
            (_, None) => Proof::Nothing,
            (Expected::Blocked, Some(found)) if found.reached == Reached::Yes => Proof::Broken,
            (Expected::Passes, Some(found)) if found.reached == Reached::Yes => Proof::Holds,
            (_, Some(_)) if seen.reached != Reached::Yes => Proof::Nothing,
            (Expected::Blocked, Some(_)) => Proof::Holds,
            (Expected::Passes, Some(_)) => Proof::Broken,
        };
        let at = format!("{} ({})", seen.name, seen.target);
        match (proof, expected) {
            (Proof::Broken, _) if seen.name == INGRESS => {
                reasons.push(format!("another pod reaches the agent's: {at}"));
            }
            (Proof::Broken, Expected::Blocked) => reasons.push(format!("the agent reaches {at}")),
            (Proof::Broken, Expected::Passes) => {
                reasons.push(format!("the agent does not reach {at}, as another pod does"));
            }
            (Proof::Nothing, _) => {
                reasons.push(format!("{at} proves nothing: the control pod cannot reach it either"));
            }
            (Proof::Holds, _) if found.is_some_and(|found| found.reached_before) => {
                reasons
                    .push(format!("warning: {at} could be reached at first, before the policy was in force"));
            }
            (Proof::Holds, _) => {}
        }
        targets.push(Checked {
            name: seen.name.clone(),
            target: seen.target.clone(),
            expected,
            agent: found.map(|found| found.reached),
            control: seen.reached,
            proof,
        });
    }
    let answer = answer(&targets, &mut reasons);
    Verdict { kind: "EgressVerdict", answer, reasons, targets }
}

/// That the agent's pod cannot be reached shows something where the neighbour, which differs in the label alone, can.
fn ingress(control: Reached, before: &[Checked]) -> Proof {
    let neighbour = before.iter().any(|other| other.name == NEIGHBOUR && other.control == Reached::Yes);
    match (control == Reached::Yes, neighbour) {
        (true, _) => Proof::Broken,
        (false, true) => Proof::Holds,
        (false, false) => Proof::Nothing,
    }
}

fn answer(targets: &[Checked], reasons: &mut Vec<String>) -> Answer {
    if targets.iter().any(|target| target.proof == Proof::Broken) {
        return Answer::NotEnforced;
    }
    let holds = |is: &dyn Fn(&Checked) -> bool| {
        targets.iter().any(|target| target.proof == Proof::Holds && is(target))
    };
    let mut lacks = Vec::new();
    for needed in [NEIGHBOUR, API_SERVER] {
        if !holds(&|target| target.name == needed) {
            lacks.push(format!("nothing shows that the agent is kept from the {needed}"));
        }
    }
    if !holds(&|target| target.expected == Expected::Passes) {
        lacks.push(
            "the agent reaches nothing at all, so its network may be broken instead of filtered".to_owned(),
        );
    }
    let answer = if lacks.is_empty() { Answer::Enforced } else { Answer::CannotTell };
    reasons.extend(lacks);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Finding;

    const PASSES: [&str; 2] = ["public", "dns"];

    fn report(findings: &[(&str, Reached)]) -> ProbeReport {
        let finding = |&(name, reached): &(&str, Reached)| Finding {
            name: name.to_owned(),
            target: format!("{name}:1"),
            reached,
            reached_before: false,
        };
        ProbeReport::new(findings.iter().map(finding).collect())
    }

    const ALL_OPEN: [(&str, Reached); 5] = [
        ("public", Reached::Yes),
        ("dns", Reached::Yes),
        (NEIGHBOUR, Reached::Yes),
        (API_SERVER, Reached::Yes),
        ("metadata", Reached::Yes),
    ];

    fn with(changes: &[(&'static str, Reached)]) -> Vec<(&'static str, Reached)> {
        let mut all = ALL_OPEN.to_vec();
        for (name, reached) in changes {
            match all.iter_mut().find(|(other, _)| other == name) {
                Some(found) => found.1 = *reached,
                None => all.push((name, *reached)),
            }
        }
        all
    }

    fn sandboxed() -> Vec<(&'static str, Reached)> {
        with(&[
            (NEIGHBOUR, Reached::TimedOut),
            (API_SERVER, Reached::Refused),
            ("metadata", Reached::Unreachable),
        ])
    }

    fn decide(agent: &[(&str, Reached)], control: &[(&str, Reached)]) -> Verdict {
        judge(&report(agent), &report(control), &PASSES)
    }

    /// K8
    #[test]
    fn what_only_the_agent_cannot_reach_shows_that_the_policy_is_enforced() {
        let verdict = decide(&sandboxed(), &with(&[(INGRESS, Reached::TimedOut)]));
        assert_eq!((verdict.answer, verdict.reasons.len()), (Answer::Enforced, 0), "{verdict:?}");
        assert!(verdict.targets.iter().all(|target| target.proof == Proof::Holds));
        assert_eq!(verdict.answer.exit(), Exit::Done);
    }

    /// K8
    #[test]
    fn one_leak_is_enough_to_say_that_it_is_not() {
        for leak in [NEIGHBOUR, API_SERVER, "metadata"] {
            let mut agent = sandboxed();
            agent.iter_mut().find(|(name, _)| *name == leak).unwrap().1 = Reached::Yes;
            let verdict = decide(&agent, &ALL_OPEN);
            assert_eq!(verdict.answer, Answer::NotEnforced);
            assert_eq!(verdict.reasons, [format!("the agent reaches {leak} ({leak}:1)")]);
            // The control pod's bad luck excuses nothing.
            assert_eq!(decide(&agent, &with(&[(leak, Reached::TimedOut)])).answer, Answer::NotEnforced);
        }
        let verdict = decide(&sandboxed(), &with(&[(INGRESS, Reached::Yes)]));
        assert_eq!((verdict.answer, verdict.answer.exit()), (Answer::NotEnforced, Exit::Failed));
        assert_eq!(verdict.reasons, ["another pod reaches the agent's: agent-pod (agent-pod:1)"]);
    }

    /// K8
    #[test]
    fn a_policy_that_blocks_the_internet_is_not_this_one() {
        for shut in PASSES {
            let mut agent = sandboxed();
            agent.iter_mut().find(|(name, _)| *name == shut).unwrap().1 = Reached::TimedOut;
            let verdict = decide(&agent, &ALL_OPEN);
            assert_eq!(verdict.answer, Answer::NotEnforced);
            assert!(verdict.reasons[0].contains("does not reach"), "{verdict:?}");
        }
    }

    /// K8
    #[test]
    fn a_target_that_nobody_reaches_proves_nothing() {
        // Optional ones are named, and the answer stands.
        let verdict = decide(&sandboxed(), &with(&[("metadata", Reached::TimedOut)]));
        assert_eq!(verdict.answer, Answer::Enforced);
        assert_eq!(
            verdict.reasons,
            ["metadata (metadata:1) proves nothing: the control pod cannot reach it either"]
        );
        // Without these two there is no answer.
        for needed in [NEIGHBOUR, API_SERVER] {
            let verdict = decide(&sandboxed(), &with(&[(needed, Reached::Refused)]));
            assert_eq!((verdict.answer, verdict.answer.exit()), (Answer::CannotTell, Exit::Retry));
        }
        // The agent's pod cannot be reached, but neither can another.
        let control = with(&[(NEIGHBOUR, Reached::TimedOut), (INGRESS, Reached::TimedOut)]);
        let verdict = decide(&sandboxed(), &control);
        assert_eq!(verdict.targets.last().unwrap().proof, Proof::Nothing);
    }

    /// K8
    #[test]
    fn an_agent_that_reaches_nothing_is_no_proof_of_a_policy() {
        let nothing: Vec<_> = ALL_OPEN.iter().map(|(name, _)| (*name, Reached::Unreachable)).collect();
        let control = with(&[("public", Reached::TimedOut), ("dns", Reached::TimedOut)]);
        let verdict = decide(&nothing, &control);
        assert_eq!(verdict.answer, Answer::CannotTell);
        assert!(verdict.reasons.last().unwrap().contains("reaches nothing at all"));
    }

    /// K8
    #[test]
    fn a_policy_that_came_late_is_told_of() {
        let mut agent = report(&sandboxed());
        agent.findings[2].reached_before = true;
        let verdict = judge(&agent, &report(&ALL_OPEN), &PASSES);
        assert_eq!(verdict.answer, Answer::Enforced);
        assert!(verdict.reasons[0].starts_with("warning: neighbour-pod"), "{verdict:?}");
    }
}
