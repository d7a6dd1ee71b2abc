//! `rights`: the caller may do what `spawn-job` does, and `reap-pvcs`. Which rights those are, their help says, and it is read here:
//! so what is asked for is what is documented.

use super::{Cluster, Seen};
use crate::check::Finding;
use crate::context::Context;
use agent_task::labels::DOMAIN;
use agent_task_crd::Mode;
use clap::CommandFactory as _;
use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use piece::Fault;
use std::fmt;

/// A right, as a piece's help names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Right {
    verb: String,
    /// The kind's plural, with a subresource behind a slash.
    resource: String,
    /// The one object that it is about.
    name: Option<String>,
    /// It is about what is in no namespace.
    everywhere: bool,
    /// What takes it; empty for what is always needed.
    when: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, name, .. } = self;
        write!(f, "{verb} {resource}")?;
        name.as_ref().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}

const VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];

/// Group of a resource, by its plural.
fn group(resource: &str) -> &'static str {
    match resource {
        "jobs" | "cronjobs" => "batch",
        "agenttasks" => DOMAIN,
        _ => "",
    }
}

/// The rights that a help names: lines below "Rights", each `[when:] verbs resources; …`, first those of the namespace and then
/// those "on the cluster". A line that has only a `when:` says it for the lines below.
fn named(help: &str) -> Vec<Right> {
    const ON_THE_CLUSTER: &str = "and on the cluster, ";
    let (mut rights, mut everywhere, mut below) = (Vec::new(), false, String::new());
    let lines = help.lines().skip_while(|line| !line.starts_with("Rights")).skip(1);
    for line in lines.take_while(|line| !line.is_empty()) {
        let mut when = below.clone();
        for part in line.split(';') {
            let (condition, what) =
                part.rsplit_once(':').map_or((None, part), |(when, what)| (Some(when), what));
            if let Some(condition) = condition.map(str::trim) {
                everywhere |= condition.starts_with(ON_THE_CLUSTER);
                when = condition.trim_start_matches(ON_THE_CLUSTER).to_owned();
            }
            if what.is_empty() {
                below.clone_from(&when);
            }
            // A clause explains, and names nothing.
            let what = what.split(", which ").next().unwrap_or_default();
            let words = || what.split([' ', ',']).filter(|word| !word.is_empty());
            let about_one = words().any(|word| word == "the");
            let mut nouns = words().filter(|word| *word != "the" && !VERBS.contains(word));
            let resources: Vec<(String, Option<String>)> = if about_one {
                let one = nouns.next().map(|kind| format!("{kind}s"));
                one.map(|kind| (kind, nouns.next().map(str::to_owned))).into_iter().collect()
            } else {
                nouns.map(|kind| (kind.to_owned(), None)).collect()
            };
            for (resource, name) in resources {
                rights.extend(words().filter(|word| VERBS.contains(word)).map(|verb| Right {
                    verb: verb.to_owned(),
                    resource: resource.clone(),
                    name: name.clone(),
                    everywhere,
                    when: when.clone(),
                }));
            }
        }
    }
    rights
}

/// What a piece's help says behind its options.
fn rights_of(command: &clap::Command) -> Vec<Right> {
    named(&command.get_after_help().map(ToString::to_string).unwrap_or_default())
}

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let cluster = super::answering(context)?;
    // Without settings, their own check says what is wrong.
    let host_path =
        super::with_settings(context).is_ok_and(|(_, settings)| settings.workspace.mode == Mode::HostPath);
    let (mut good, mut lacking, mut fatal) = (Vec::new(), Vec::new(), false);
    for (piece, command) in
        [("spawn-job", spawn_job::args::Args::command()), ("reap-pvcs", reap_pvcs::Args::command())]
    {
        let mut rights = rights_of(&command);
        rights.retain(|right| host_path || !right.when.contains("mode hostPath"));
        let granted = match review(cluster, &rights)? {
            Seen::There(granted) => granted,
            Seen::Absent | Seen::Hidden => {
                return Err(Fault::denied("the caller may not even ask what it may do")
                    .hint("the cluster takes it for nobody: 'kubectl auth whoami' shows the login")
                    .into());
            }
        };
        let (may, may_not): (Vec<_>, Vec<_>) = rights.iter().zip(granted).partition(|(_, granted)| *granted);
        if may_not.is_empty() {
            good.push(format!("{piece}: all {} rights", may.len()));
        }
        // A run takes these; everything else can be done by somebody else, or not at all.
        fatal |= piece == "spawn-job"
            && may_not.iter().any(|(right, _)| right.when.is_empty() || right.when.contains("mode hostPath"));
        let mut whens: Vec<&str> = may_not.iter().map(|(right, _)| right.when.as_str()).collect();
        whens.dedup();
        for when in whens {
            let rights = may_not.iter().filter(|(right, _)| right.when == when);
            let rights: Vec<String> = rights.map(|(right, _)| right.to_string()).collect();
            let when = if when.is_empty() { String::new() } else { format!(" {when}") };
            lacking.push(format!("{piece}{when}: may not {}", rights.join(", ")));
        }
    }
    if lacking.is_empty() {
        return Ok(Finding::Good(good.join("; ")));
    }
    let detail = lacking.join("\n");
    let remedy = format!(
        "grant it by a Role and a RoleBinding in {}, what is on the cluster by their ClusterRole kin: the help of spawn-job and \
         of reap-pvcs has all rights",
        cluster.namespace
    );
    if fatal {
        Err(Fault::denied(detail).hint(remedy).into())
    } else {
        Ok(Finding::Warning { detail, remedy })
    }
}

/// Whether the caller has each of them.
fn review(cluster: &Cluster, rights: &[Right]) -> Result<Seen<Vec<bool>>, Fault> {
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let reviews = rights.iter().map(|right| {
        let (resource, subresource) = match right.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (right.resource.as_str(), None),
        };
        let attributes = ResourceAttributes {
            group: Some(group(resource).to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            verb: Some(right.verb.clone()),
            name: right.name.clone(),
            namespace: (!right.everywhere).then(|| cluster.namespace.clone()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let api = &api;
        async move {
            let answer = api.create(&PostParams::default(), &review).await?;
            Ok(answer.status.is_some_and(|status| status.allowed))
        }
    });
    cluster.see("asking what the caller may do", try_join_all(reviews))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(command: &clap::Command) -> Vec<String> {
        let show = |right: Right| {
            let place = if right.everywhere { " everywhere" } else { "" };
            let group = group(right.resource.split('/').next().unwrap());
            let group = if group.is_empty() { String::new() } else { format!(".{group}") };
            let when = if right.when.is_empty() { String::new() } else { format!(" [{}]", right.when) };
            format!("{right}{group}{place}{when}")
        };
        rights_of(command).into_iter().map(show).collect()
    }

    /// P13
    #[test]
    fn the_rights_are_those_of_the_help() {
        assert_eq!(
            shown(&spawn_job::args::Args::command()),
            [
                "get configmaps spawn-job",
                "create persistentvolumeclaims",
                "get persistentvolumeclaims",
                "patch persistentvolumeclaims",
                "create jobs.batch",
                "get jobs.batch",
                "patch jobs.batch",
                "get agenttasks.agents.kyle.pericak.com [for tasks that are in the cluster]",
                "patch agenttasks/status.agents.kyle.pericak.com [for tasks that are in the cluster]",
                "create cronjobs.batch [for scheduled tasks]",
                "patch cronjobs.batch [for scheduled tasks]",
                "list jobs.batch [with --wait]",
                "watch jobs.batch [with --wait]",
                "list pods [with --wait]",
                "watch pods [with --wait]",
                "list events [with --wait]",
                "get pods/log [with --follow also]",
                "get persistentvolumeclaims [with --stage publish]",
                "list pods [with --stage publish]",
                "create persistentvolumes everywhere [for mode hostPath]",
            ]
        );
        assert_eq!(
            shown(&reap_pvcs::Args::command()),
            [
                "list agenttasks.agents.kyle.pericak.com",
                "list pods",
                "list jobs.batch",
                "list cronjobs.batch",
                "list persistentvolumeclaims",
                "patch persistentvolumeclaims",
                "delete persistentvolumeclaims",
                "list persistentvolumes everywhere [without --claims-only]",
                "patch persistentvolumes everywhere [without --claims-only]",
                "delete persistentvolumes everywhere [without --claims-only]",
            ]
        );
    }
}
