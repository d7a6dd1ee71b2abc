//! `policy`: NetworkPolicies select the agents' pods, both ways. Whether anything enforces them, only packets tell: `egress-check`.

use super::{Runs, Seen};
use crate::check::Finding;
use crate::context::Context;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::Api;
use kube::core::{Selector, SelectorExt as _};
use piece::Fault;
use std::collections::BTreeMap;

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let (cluster, settings) = super::with_settings(context)?;
    let namespace = &cluster.namespace;
    let api: Api<NetworkPolicy> = Api::namespaced(cluster.client.clone(), namespace);
    let policies = match cluster.all("NetworkPolicies", &api, "")? {
        Seen::There(policies) => policies,
        Seen::Absent | Seen::Hidden => {
            let right = format!("list networkpolicies in {namespace}");
            return Ok(super::hidden("the NetworkPolicies", &right));
        }
    };
    let runs = Runs::planned(context, cluster, settings)?;
    let mut names = Vec::new();
    for labels in runs.labels() {
        for direction in ["Egress", "Ingress"] {
            let of: Vec<_> = policies.iter().filter(|policy| limits(policy, direction, labels)).collect();
            if of.is_empty() {
                return Err(Fault::failed(format!(
                    "no NetworkPolicy in {namespace} limits the agents' pods ({direction})"
                ))
                .hint(format!("egress-check policy | kubectl -n {namespace} apply -f -"))
                .into());
            }
            names.extend(of.into_iter().map(ResourceExt::name_any));
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(Finding::Good(format!(
        "the agents' pods are selected by {}; whether it is enforced: egress-check run -n {namespace}",
        names.join(", ")
    )))
}

/// Whether the policy selects pods with these labels, for this direction.
fn limits(policy: &NetworkPolicy, direction: &str, labels: &BTreeMap<String, String>) -> bool {
    let Some(spec) = &policy.spec else { return false };
    let types = spec.policy_types.as_deref().unwrap_or_default();
    // A selector that cannot be read selects nothing that we know of.
    let selector = Selector::try_from(spec.pod_selector.clone().unwrap_or_default());
    types.iter().any(|kind| kind == direction) && selector.is_ok_and(|selector| selector.matches(labels))
}
