//! The command line.

use crate::decision::Policy;
use clap::Parser;
use jiff::SignedDuration;
use std::path::PathBuf;

/// Remove the volumes of runs that are over.
///
/// Looks at every volume claim of a run (and its volume, and its directory in hostPath mode) and keeps, deletes or waits for
/// it: succeeded runs at once, failed ones after 72 hours, what bears the annotation agents.kyle.pericak.com/preserve, or
/// whose task does, never, what a pod or a Job uses never. One JSON line a volume says what and why, the last line is a summary.
#[derive(Debug, Clone, Parser)]
#[command(name = "reap-pvcs", version, after_help = EXAMPLE)]
pub struct Args {
    /// Namespace of the runs [default: the kubeconfig's, or the pod's own]
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Only volumes whose labels match, as kubectl writes it
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub selector: Option<String>,

    /// How long the volume of a run that succeeded is kept, as 0, 30m or 24h
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = age)]
    pub keep_succeeded: SignedDuration,

    /// How long the volume of a run that failed, or of which nobody knows, is kept
    #[arg(long, value_name = "TIME", default_value = "72h", value_parser = age)]
    pub keep_failed: SignedDuration,

    /// Delete so many objects at most; the rest is left for the next time
    #[arg(long, value_name = "NUMBER")]
    pub max_deletes: Option<usize>,

    /// Look at claims alone, and leave persistent volumes to their storage class: needs no rights on the whole cluster
    #[arg(long, conflicts_with = "host_path_root")]
    pub claims_only: bool,

    /// Delete volumes too that their storage class retains, by telling it to delete them; else they are kept and told of
    #[arg(long, conflicts_with = "claims_only")]
    pub delete_retained: bool,

    /// Directory on the node below which the volumes of hostPath mode are; it must have the same path here
    #[arg(long, value_name = "DIRECTORY", value_parser = root)]
    pub host_path_root: Option<PathBuf>,

    /// The node whose directories these are; volumes that are bound to another one are left to its own reaper
    #[arg(long, value_name = "NAME", env = "NODE_NAME", requires = "host_path_root")]
    pub node: Option<String>,

    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Args {
    /// How long volumes are kept.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            keep_succeeded: self.keep_succeeded,
            keep_failed: self.keep_failed,
            delete_retained: self.delete_retained,
        }
    }
}

/// Longer than any volume is kept, and far from where adding to a time overflows.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 3650);

fn age(text: &str) -> Result<SignedDuration, String> {
    if text == "0" {
        return Ok(SignedDuration::ZERO);
    }
    text.parse::<SignedDuration>()
        .ok()
        .filter(|age| !age.is_negative() && *age <= LONGEST)
        .ok_or_else(|| "write it as 0, 90s, 30m or 72h".to_owned())
}

/// The file system's root would make of every hostPath volume one of ours.
fn root(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let plain = path.components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
    if path.is_absolute() && plain && path.components().count() > 1 {
        Ok(path)
    } else {
        Err("must be an absolute path without '..', and not '/'".to_owned())
    }
}

pub(crate) const EXAMPLE: &str = "\
Environment:
  KUBECONFIG   the cluster, as for kubectl; in a pod, its service account
  NODE_NAME    see --node

Rights, in the namespace:
  list agenttasks, pods, jobs, cronjobs; list, patch, delete persistentvolumeclaims
  and on the cluster, without --claims-only:
  list, patch, delete persistentvolumes

Exit codes:
  0  every volume was kept, deleted or waited for, as it should be
  1  the API server refused the question itself
  2  wrong usage, or no cluster is configured
  3  something could not be done; the rest was. Its line, or the summary, says what: run it again
  4  it may not list what it has to know; nothing was done

Examples:
  reap-pvcs -n ai-agents --dry-run
  reap-pvcs -n ai-agents --dry-run | jq -r 'select(.decision==\"delete\").claim'";

#[cfg(test)]
mod tests {
    use super::*;

    /// K5
    #[test]
    fn succeeded_go_at_once_and_failed_after_72_hours_unless_set_otherwise() {
        let policy = Args::parse_from(["reap-pvcs"]).policy();
        assert_eq!(
            (policy.keep_succeeded, policy.keep_failed),
            (SignedDuration::ZERO, SignedDuration::from_hours(72))
        );
        let policy = Args::parse_from(["reap-pvcs", "--keep-succeeded=30m", "--keep-failed", "0"]).policy();
        assert_eq!(
            (policy.keep_succeeded, policy.keep_failed),
            (SignedDuration::from_mins(30), SignedDuration::ZERO)
        );
        for bad in ["", "-1h", "1", "soon", "9999999h"] {
            assert!(Args::try_parse_from(["reap-pvcs", &format!("--keep-failed={bad}")]).is_err(), "{bad}");
        }
    }

    /// K5
    #[test]
    fn the_root_of_directories_is_a_plain_path_below_the_file_systems() {
        for good in ["/var/lib/pressrun", "/srv"] {
            assert!(root(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "//", "srv", "/srv/../etc", "..", "/.."] {
            assert!(root(bad).is_err(), "{bad}");
        }
    }
}
