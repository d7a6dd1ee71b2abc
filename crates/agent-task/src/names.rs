//! Names that are derived from a run, so that doing a thing twice finds what the first time made.

use jiff::Timestamp;

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
}
