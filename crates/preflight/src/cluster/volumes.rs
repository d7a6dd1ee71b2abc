//! `volumes`: what the runs' claims ask for can be had: a storage class, or in mode hostPath the node.

use super::{Cluster, Runs, Seen};
use crate::check::Finding;
use crate::context::Context;
use agent_task_crd::Mode;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::Api;
use piece::Fault;
use spawn_job::settings::Settings;
use std::collections::BTreeSet;

const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let (cluster, settings) = super::with_settings(context)?;
    match settings.workspace.mode {
        Mode::Ephemeral => Ok(Finding::Good("mode ephemeral: the pods' own, which end with them".to_owned())),
        Mode::StorageClass => storage_classes(cluster, &Runs::planned(context, cluster, settings)?),
        Mode::HostPath => node(cluster, settings),
    }
}

fn storage_classes(cluster: &Cluster, runs: &Runs) -> anyhow::Result<Finding> {
    let asked: BTreeSet<Option<&str>> = runs
        .claims
        .iter()
        .filter_map(|claim| Some(claim.spec.as_ref()?.storage_class_name.as_deref()))
        .collect();
    let all = match cluster.all::<StorageClass>("storage classes", &Api::all(cluster.client.clone()), "")? {
        Seen::There(all) => all,
        Seen::Absent | Seen::Hidden => {
            return Ok(super::hidden("the storage classes", "list storageclasses"));
        }
    };
    let is_default =
        |class: &&StorageClass| class.annotations().get(IS_DEFAULT).is_some_and(|value| value == "true");
    let known: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
    let choose = match known.join(", ") {
        none if none.is_empty() => "the cluster has none at all: install a provisioner".to_owned(),
        known => format!("the cluster has {known}"),
    };
    let mut good = Vec::new();
    for class in asked {
        match class {
            // No class: somebody makes volumes by hand.
            Some("") => good.push("volumes that somebody makes".to_owned()),
            Some(name) if known.iter().any(|known| known == name) => {
                good.push(format!("storage class {name}"));
            }
            Some(name) => {
                return Err(Fault::failed(format!("there is no storage class {name}"))
                    .hint(format!(
                        "correct workspace.storageClass and sharedWorkspace.storageClass: {choose}"
                    ))
                    .into());
            }
            None => match all.iter().find(is_default) {
                Some(class) => good.push(format!("storage class {}, the default", class.name_any())),
                None => {
                    return Err(Fault::failed(
                        "the cluster has no default storage class, and the settings name none",
                    )
                    .hint(format!("set workspace.storageClass and sharedWorkspace.storageClass: {choose}"))
                    .into());
                }
            },
        }
    }
    Ok(Finding::Good(good.join("; ")))
}

/// A folder is on one node: another pod that shall find it has to be there too.
fn node(cluster: &Cluster, settings: &Settings) -> anyhow::Result<Finding> {
    let labels: Vec<String> =
        settings.node_selector.iter().map(|(label, value)| format!("{label}={value}")).collect();
    let folder = &settings.workspace.host_path_root;
    let chosen = if labels.is_empty() { "no label".to_owned() } else { labels.join(", ") };
    let remedy =
        "set nodeSelector to one node's kubernetes.io/hostname: kubectl get nodes --show-labels".to_owned();
    let nodes = match cluster.all::<Node>("nodes", &Api::all(cluster.client.clone()), &labels.join(","))? {
        Seen::There(nodes) => nodes,
        Seen::Absent | Seen::Hidden => return Ok(super::hidden("the nodes", "list nodes")),
    };
    match &nodes[..] {
        [] => Err(Fault::failed(format!("no node is chosen by nodeSelector ({chosen})")).hint(remedy).into()),
        [node] => Ok(Finding::Good(format!("mode hostPath: {folder} on {}", node.name_any()))),
        many => Ok(Finding::Warning {
            detail: format!(
                "mode hostPath: {folder} is on each of the {} nodes that nodeSelector chooses ({chosen}), and what a run left \
                 on one is looked for on another",
                many.len()
            ),
            remedy,
        }),
    }
}
