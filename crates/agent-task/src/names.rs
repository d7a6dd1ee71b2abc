//! Names that are derived from a run, so that doing a thing twice finds what the first time made.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// A name that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} '{value}' {why}")]
pub struct InvalidName {
    /// What the name is of, as `agent name`.
    pub what: &'static str,
    /// The name.
    pub value: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// An agent's name is part of branch names, label values and object names: lower-case letters, digits and hyphens,
/// at most 40, a letter or digit at each end (RFC 1123, with room for what is put around it).
///
/// # Errors
/// Names the rule that the name breaks.
pub fn check_agent(name: &str) -> Result<(), InvalidName> {
    let refuse = |why| Err(InvalidName { what: "agent name", value: name.to_owned(), why });
    if name.is_empty() || name.len() > 40 {
        return refuse("must have 1 to 40 characters");
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return refuse("may hold lower-case letters, digits and hyphens only");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return refuse("must begin and end with a letter or digit");
    }
    Ok(())
}

/// A repository's `owner/name`, taken apart.
///
/// # Errors
/// Where it is not of that form.
pub fn owner_and_name(repository: &str) -> Result<(&str, &str), InvalidName> {
    let valid = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    match repository.split_once('/') {
        Some((owner, name)) if valid(owner) && valid(name) => Ok((owner, name)),
        _ => Err(InvalidName {
            what: "repository",
            value: repository.to_owned(),
            why: "is not of the form owner/name",
        }),
    }
}

/// The run's branch, as `agent/publisher-1790635538`. `attempt` is 0 unless that name is taken:
/// then 1 gives `agent/publisher-1790635538-2`, and so on.
#[must_use]
pub fn branch(agent: &str, started_at: Timestamp, attempt: u32) -> String {
    let seconds = started_at.as_second();
    match attempt {
        0 => format!("agent/{agent}-{seconds}"),
        more => format!("agent/{agent}-{seconds}-{}", u64::from(more) + 1),
    }
}

/// The run's id, as `publisher-1790635538-3fa9c1`: `entropy` keeps runs of the same second on different machines apart.
#[must_use]
pub fn run_id(agent: &str, started_at: Timestamp, entropy: [u8; 3]) -> String {
    let [a, b, c] = entropy;
    format!("{agent}-{}-{a:02x}{b:02x}{c:02x}", started_at.as_second())
}

/// The name that a branch takes on a remote where its own is another run's: the run's entropy goes behind it.
#[must_use]
pub fn branch_beside(branch: &str, run: &str) -> String {
    let entropy = run.rsplit('-').next().unwrap_or(run);
    format!("{branch}-{entropy}")
}

/// The id of a run in the cluster, as `publisher-3fa9c10b77de`, and the name of its Job: the same for the same task and
/// trigger, so that whatever is asked for twice is found the second time. `task` is the task's uid, `trigger` names what set
/// the run off. At most 53 characters.
#[must_use]
pub fn triggered_run(agent: &str, task: &str, trigger: &str) -> String {
    // The length goes first, so that no two pairs read the same.
    let seed = format!("{} {task} {trigger}", task.len());
    format!("{agent}-{}", digest(&seed, 12))
}

/// The name of a task's CronJob, as `daily-post-3fa9c10b`: whatever else of the task changes, it stays, and so there is one. At most
/// 49 characters: Kubernetes allows 52, because it names the Jobs by it.
#[must_use]
pub fn schedule(task: &str) -> String {
    // No character of an object's name takes more than a byte.
    let readable: String = task.chars().take(40).map(|c| if c == '.' { '-' } else { c }).collect();
    format!("{}-{}", readable.trim_end_matches('-'), digest(task, 8))
}

fn digest(seed: &str, digits: usize) -> String {
    let mut text = format!("{:x}", Sha256::digest(seed));
    text.truncate(digits);
    text
}

/// What the claim of a run begins with.
const CLAIM_PREFIX: &str = "agent-ws-";

/// The volume claim that all runs share which only read.
pub const SHARED_CLAIM: &str = "agent-workspace";

/// The name of the volume claim of a run that writes; in hostPath mode its volume and folder have this name too.
#[must_use]
pub fn claim(run: &str) -> String {
    format!("{CLAIM_PREFIX}{run}")
}

/// The run that [`claim`] gave this name.
#[must_use]
pub fn run_of_claim(name: &str) -> Option<&str> {
    name.strip_prefix(CLAIM_PREFIX).filter(|run| !run.is_empty())
}

/// The name of the Job that publishes what a killed run left. A run's id has at most 53 characters, or 58 where a schedule
/// made it, so this is at most 63: what a Job may have.
#[must_use]
pub fn salvage_job(run: &str) -> String {
    format!("save-{run}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P2
    #[test]
    fn a_branch_is_named_after_agent_and_second() {
        let at = Timestamp::from_second(1_790_635_538).unwrap();
        assert_eq!(branch("publisher", at, 0), "agent/publisher-1790635538");
        assert_eq!(branch("publisher", at, 1), "agent/publisher-1790635538-2");
        let run = run_id("publisher", at, [0x3f, 0xa9, 0x01]);
        assert_eq!(run, "publisher-1790635538-3fa901");
        assert_eq!(branch_beside("agent/publisher-1790635538", &run), "agent/publisher-1790635538-3fa901");
    }

    #[test]
    fn agent_names_are_safe_in_refs_and_labels() {
        for good in ["publisher", "qa", "a1-b2"] {
            assert_eq!(check_agent(good), Ok(()));
        }
        for bad in ["", "-x", "x-", "Writer", "a b", "a/b", "a..b", "é", &"x".repeat(41)] {
            assert!(check_agent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_repository_is_owner_slash_name() {
        assert_eq!(owner_and_name("octo-org/my.blog"), Ok(("octo-org", "my.blog")));
        for bad in ["", "blog", "a/b/c", "/b", "a/", "../x", "a/..", "a b/c", "https://github.com/a/b"] {
            assert!(owner_and_name(bad).is_err(), "{bad}");
        }
    }

    /// K4, K11
    #[test]
    fn names_in_the_cluster_come_from_task_and_trigger() {
        let run = triggered_run("publisher", "6d1c0c4e", "manual");
        assert_eq!(run, "publisher-f1c4d84444c7");
        assert_eq!(triggered_run("publisher", "6d1c0c4e", "manual"), run);
        assert_ne!(triggered_run("publisher", "6d1c0c4f", "manual"), run);
        assert_ne!(triggered_run("publisher", "6d1c0c4e", "manual 2"), run);
        assert_ne!(
            triggered_run("publisher", "6d1c0c4e manual", "2"),
            triggered_run("publisher", "6d1c0c4e", "manual 2")
        );
        assert_eq!(claim(&run), format!("agent-ws-{run}"));
        assert_eq!(run_of_claim(&claim(&run)), Some(run.as_str()));
        assert_eq!(run_of_claim(SHARED_CLAIM), None);
        assert_eq!(run_of_claim("agent-ws-"), None);
    }

    /// K3, K10
    #[test]
    fn the_longest_names_are_short_enough() {
        let agent = "a".repeat(40);
        let run = triggered_run(&agent, "uid", "manual");
        assert!(claim(&run).len() <= 63);
        let schedule = schedule(&"task.".repeat(50));
        assert!(schedule.len() <= 49 && schedule.starts_with("task-task-"), "{schedule}");
        // What Kubernetes puts behind it: the minutes since 1970.
        let scheduled = format!("{schedule}-29404801");
        assert!(salvage_job(&scheduled).len() <= 63 && salvage_job(&run).len() <= 63);
    }
}
