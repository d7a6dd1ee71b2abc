//! What to push where, and what git's answers mean: pure.

use agent_task::{Exit, Outcome};

/// What the remote has under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remote {
    /// Nothing.
    Absent,
    /// Our head.
    Same,
    /// One of the run's own commits: an earlier push of ours.
    Earlier,
    /// Anything else: another run's.
    Foreign,
}

/// What is to be done with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is there: nothing to push.
    Done,
    /// Push, and let the remote check that it still has what was seen.
    Push(&'static str),
    /// Another name must be found.
    Rename,
}

pub(crate) const fn step(remote: Remote) -> Step {
    match remote {
        Remote::Absent => Step::Push("created"),
        Remote::Same => Step::Done,
        Remote::Earlier => Step::Push("updated"),
        Remote::Foreign => Step::Rename,
    }
}

/// Why git could not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) outcome: Outcome,
    pub(crate) exit: Exit,
    pub(crate) error: String,
    pub(crate) hint: Option<&'static str>,
    /// The remote has changed since we looked.
    pub(crate) stale: bool,
}

/// What `git push --porcelain` says of the one reference: the flag, and the summary with the reason.
fn verdict(porcelain: &str) -> Option<(char, &str)> {
    porcelain.lines().find_map(|line| {
        let mut fields = line.split('\t');
        let flag = fields.next()?.chars().next().unwrap_or(' ');
        let _names = fields.next().filter(|names| names.contains(":refs/heads/"))?;
        Some((flag, fields.next()?))
    })
}

/// Whether the remote says that it has the one reference where it was pushed to (git-push(1), "OUTPUT": the flags of success).
pub(crate) fn is_taken(porcelain: &str) -> bool {
    matches!(verdict(porcelain), Some((' ' | '*' | '=', _)))
}

/// Makes of what git printed (in the C locale) the reason why a command failed.
pub(crate) fn refusal(stdout: &str, stderr: &str) -> Refusal {
    let remote: Vec<&str> = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("remote: "))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let fatal = stderr.lines().find_map(|line| line.strip_prefix("fatal: "));
    let with_remote = |text: &str| {
        if remote.is_empty() { text.to_owned() } else { format!("{text}: {}", remote.join(" ")) }
    };
    if let Some(('!', summary)) = verdict(stdout) {
        // By git here, or by the server, where two pushes meet.
        let locked = |text: &str| text.contains("cannot lock ref");
        let stale =
            summary.starts_with("[rejected]") || locked(summary) || remote.iter().any(|line| locked(line));
        let workflow = summary.contains("workflow") || remote.iter().any(|line| line.contains("workflow"));
        // The server could not take it in: its disk is full, say. No rule is against it.
        let broken = summary.contains("unpacker error");
        return Refusal {
            outcome: if broken { Outcome::PushFailed } else { Outcome::PushRefused },
            exit: if broken { Exit::Retry } else { Exit::Failed },
            error: with_remote(summary),
            hint: workflow.then_some(
                "a change to .github/workflows needs the permission 'workflows', which the App's token has not",
            ),
            stale,
        };
    }
    let text =
        fatal.or_else(|| stderr.lines().rev().find(|line| !line.trim().is_empty())).unwrap_or("git failed");
    let says = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
    let denied = says(&[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "returned error: 401",
        "returned error: 403",
        "Invalid username or",
    ]);
    let missing = says(&["returned error: 404", "not found"]);
    if denied || missing {
        return Refusal {
            outcome: Outcome::PushRefused,
            exit: if denied { Exit::Denied } else { Exit::Failed },
            error: with_remote(text),
            hint: Some(if denied {
                "the token must cover this repository with contents:write, and not be expired"
            } else {
                "check --repo, and that the App is installed on it"
            }),
            stale: false,
        };
    }
    Refusal {
        outcome: Outcome::PushFailed,
        exit: Exit::Retry,
        error: with_remote(text),
        hint: None,
        stale: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_used_only_if_it_is_free_or_ours() {
        assert_eq!(step(Remote::Absent), Step::Push("created"));
        assert_eq!(step(Remote::Earlier), Step::Push("updated"));
        assert_eq!(step(Remote::Same), Step::Done);
        assert_eq!(step(Remote::Foreign), Step::Rename);
    }

    #[test]
    fn only_the_word_of_the_remote_for_this_reference_counts() {
        let line = |flag: &str, to: &str| {
            format!("To https://github.com/o/n.git\n{flag}\tabc:refs/{to}\t[new branch]\nDone\n")
        };
        for flag in ["*", " ", "="] {
            assert!(is_taken(&line(flag, "heads/agent/x-1")), "{flag}");
        }
        for text in
            [&line("!", "heads/agent/x-1"), &line("-", "heads/agent/x-1"), &line("*", "tags/x"), "Done\n", ""]
        {
            assert!(!is_taken(text), "{text}");
        }
    }

    /// P9
    #[test]
    fn a_rule_of_the_remote_is_told_in_its_words() {
        let stdout = "To https://github.com/o/n.git\n!\tabc:refs/heads/agent/x-1\t[remote rejected] (push declined due to repository rule violations)\nDone\n";
        let stderr = "remote: error: GH013: Repository rule violations found\nremote: \nerror: failed to push some refs\n";
        let refusal = refusal(stdout, stderr);
        assert_eq!(
            (refusal.outcome, refusal.exit, refusal.stale),
            (Outcome::PushRefused, Exit::Failed, false)
        );
        assert_eq!(
            refusal.error,
            "[remote rejected] (push declined due to repository rule violations): error: GH013: Repository rule violations found"
        );
    }

    #[test]
    fn a_server_without_room_is_worth_a_retry() {
        let stdout = "!\tabc:refs/heads/agent/x-1\t[remote rejected] (unpacker error)\nDone\n";
        let stderr = "remote: fatal: unable to write loose object file: No space left on device        \n";
        let refusal = refusal(stdout, stderr);
        assert_eq!((refusal.outcome, refusal.exit), (Outcome::PushFailed, Exit::Retry));
        assert!(refusal.error.ends_with("No space left on device"), "{}", refusal.error);
    }

    #[test]
    fn a_missing_permission_for_workflows_is_explained() {
        let stdout = "!\tabc:refs/heads/agent/x-1\t[remote rejected] (refusing to allow a GitHub App to create or update workflow `.github/workflows/ci.yml` without `workflows` permission)\n";
        assert!(refusal(stdout, "").hint.unwrap().contains("'workflows'"));
    }

    #[test]
    fn a_lost_race_is_stale() {
        assert!(refusal("!\tabc:refs/heads/agent/x-1\t[rejected] (stale info)\n", "").stale);
        let stdout = "!\tabc:refs/heads/agent/x-1\t[remote rejected] (failed to update ref)\n";
        let stderr =
            "remote: error: cannot lock ref 'refs/heads/agent/x-1': reference already exists        \n";
        assert!(refusal(stdout, stderr).stale);
    }

    #[test]
    fn credentials_and_network_are_told_apart() {
        let denied = refusal(
            "",
            "remote: Invalid username or token.\nfatal: Authentication failed for 'https://github.com/o/n.git/'\n",
        );
        assert_eq!(denied.exit, Exit::Denied);
        let denied =
            refusal("", "fatal: unable to access 'https://x/': The requested URL returned error: 403\n");
        assert_eq!(denied.exit, Exit::Denied);
        let network =
            refusal("", "fatal: unable to access 'https://x/': Could not resolve host: github.com\n");
        assert_eq!((network.outcome, network.exit), (Outcome::PushFailed, Exit::Retry));
        let missing =
            refusal("", "remote: Repository not found.\nfatal: repository 'https://x/' not found\n");
        assert_eq!((missing.outcome, missing.exit), (Outcome::PushRefused, Exit::Failed));
    }
}
