//! The checks, in one table, and what each can find.

use crate::context::Context;
use crate::{agent, cluster, discord, github, login, mcp, repository, tools};
use agent_task::Exit;
use clap::ValueEnum;
use piece::Fault;
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// A check, by the name that `--only`, `--skip` and the report call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// The programs that a run starts, and their versions
    Tools,
    /// The work tree, the base branch and the remote
    Repository,
    /// The agent's definition
    Agent,
    /// The MCP servers start and list their tools
    Mcp,
    /// The agent CLI logs in and answers; costs a few hundred tokens
    Login,
    /// A token is minted, the repository read with it, and the token revoked
    Github,
    /// The webhook or the bot's channel can be read
    Discord,
    /// Of a cluster: the API server answers, and takes the login
    Server,
    /// Of a cluster: it has the custom resource AgentTask
    Definition,
    /// Of a cluster: the namespace, and which pods it takes
    Namespace,
    /// Of a cluster: the caller may do what spawn-job and reap-pvcs do
    Rights,
    /// Of a cluster: the settings that spawn-job reads
    Settings,
    /// Of a cluster: the service account of the pods
    Account,
    /// Of a cluster: the Secrets of the pods have their keys
    Secrets,
    /// Of a cluster: where the volumes come from
    Volumes,
    /// Of a cluster: a NetworkPolicy selects the agents' pods
    Policy,
}

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// This machine.
    Here,
    /// The cluster.
    Cluster,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The JSON name is the only name: serde knows it.
        self.serialize(f)
    }
}

/// A check and how it is made.
pub(crate) struct Check {
    pub(crate) name: Name,
    place: Place,
    look: fn(&Context) -> anyhow::Result<Finding>,
}

impl Place {
    /// Its checks, in the order of the report.
    pub(crate) fn checks(self) -> impl Iterator<Item = &'static Check> {
        CHECKS.iter().filter(move |check| check.place == self)
    }
}

const fn here(name: Name, look: fn(&Context) -> anyhow::Result<Finding>) -> Check {
    Check { name, place: Place::Here, look }
}

const fn on_cluster(name: Name, look: fn(&Context) -> anyhow::Result<Finding>) -> Check {
    Check { name, place: Place::Cluster, look }
}

/// Every check.
const CHECKS: &[Check] = &[
    here(Name::Tools, tools::look),
    here(Name::Repository, repository::look),
    here(Name::Agent, agent::look),
    here(Name::Mcp, mcp::look),
    here(Name::Login, login::look),
    here(Name::Github, github::look),
    here(Name::Discord, discord::look),
    on_cluster(Name::Server, cluster::server::look),
    on_cluster(Name::Definition, cluster::definition::look),
    on_cluster(Name::Namespace, cluster::namespace::look),
    on_cluster(Name::Rights, cluster::rights::look),
    on_cluster(Name::Settings, cluster::settings::look),
    on_cluster(Name::Account, cluster::account::look),
    on_cluster(Name::Secrets, cluster::secrets::look),
    on_cluster(Name::Volumes, cluster::volumes::look),
    on_cluster(Name::Policy, cluster::policy::look),
];

/// What a check finds that did not fail. One that failed is an error: a [`Fault`] with its exit code, its hint being the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// All is well.
    Good(String),
    /// A run would work, or may; somebody should look.
    Warning { detail: String, remedy: String },
    /// It may not be looked at by this caller.
    Unknown { detail: String, remedy: String },
}

/// A check stands on what another one looks at, and that one has failed.
#[derive(Debug, thiserror::Error)]
#[error("needs what '{0}' found wrong")]
pub(crate) struct Unmet(pub(crate) Name);

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ok,
    Warning,
    Unknown,
    Failed,
    Skipped,
}

/// A check that has ended, as it is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Checked {
    pub(crate) name: Name,
    pub(crate) status: Status,
    pub(crate) detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
    pub(crate) duration_ms: u64,
    /// How the process would end for it alone.
    #[serde(skip)]
    pub(crate) exit: Exit,
}

impl Check {
    /// Makes the check. Nothing that it says holds a secret.
    pub(crate) fn run(&self, context: &Context) -> Checked {
        let began = Instant::now();
        let mut checked = match (self.look)(context) {
            Ok(Finding::Good(detail)) => Checked::new(self.name, Status::Ok, detail, None),
            Ok(Finding::Warning { detail, remedy }) => {
                Checked::new(self.name, Status::Warning, detail, Some(remedy))
            }
            Ok(Finding::Unknown { detail, remedy }) => {
                Checked::new(self.name, Status::Unknown, detail, Some(remedy))
            }
            Err(error) if error.is::<Unmet>() => Checked::skipped(self.name, &error.to_string()),
            Err(error) => {
                let fault = error.downcast_ref::<Fault>();
                let exit = fault.map_or(Exit::Failed, Fault::exit);
                let remedy = fault.and_then(Fault::hint_text).or(otherwise(exit)).map(str::to_owned);
                Checked { exit, ..Checked::new(self.name, Status::Failed, format!("{error:#}"), remedy) }
            }
        };
        checked.detail = clean(context, &checked.detail);
        checked.remedy = checked.remedy.as_deref().map(|remedy| clean(context, remedy));
        checked.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        checked
    }
}

/// What to do about an error that does not say it.
fn otherwise(exit: Exit) -> Option<&'static str> {
    match exit {
        Exit::Retry => {
            Some("look at the network and the proxy (HTTPS_PROXY, SSL_CERT_FILE), or try again later")
        }
        Exit::Denied => Some("check the credential, and what it may do"),
        Exit::Done | Exit::Failed | Exit::Usage => None,
    }
}

/// What services and servers say must neither hold a secret nor move a terminal's cursor.
fn clean(context: &Context, text: &str) -> String {
    message_text::printable(&context.redactor.redact_text(text)).trim().to_owned()
}

impl Checked {
    fn new(name: Name, status: Status, detail: String, remedy: Option<String>) -> Self {
        Self { name, status, detail, remedy, duration_ms: 0, exit: Exit::Done }
    }

    /// One that was not made.
    pub(crate) fn skipped(name: Name, why: &str) -> Self {
        Self::new(name, Status::Skipped, why.to_owned(), None)
    }

    /// One that panicked, which its thread has told.
    pub(crate) fn broken(name: Name) -> Self {
        let detail = "the check itself broke: a fault of preflight".to_owned();
        Self { exit: Exit::Failed, ..Self::new(name, Status::Failed, detail, None) }
    }

    /// One that has not ended in its time.
    pub(crate) fn late(name: Name, timeout: Duration) -> Self {
        let detail = format!("no end after {}", message_text::figures::time(timeout));
        let remedy = Some("look at the network and the proxy, or raise --timeout".to_owned());
        let duration_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        Self { exit: Exit::Retry, duration_ms, ..Self::new(name, Status::Failed, detail, remedy) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_check_in_the_reports_order() {
        let names: Vec<Name> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names, Name::value_variants());
        assert!(names.is_sorted());
    }
}
