//! The NetworkPolicy of the agent's pods: names, and the public internet. Pure.

use agent_task::labels::{AGENT, MANAGED_BY, MANAGER};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

/// IPv4 that no agent reaches: private networks, carrier-grade NAT (where clouds have services of their own), link-local
/// (where they have the machine's credentials).
pub const PRIVATE_V4: [&str; 5] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"];

/// The same of IPv6: unique local, link-local.
pub const PRIVATE_V6: [&str; 2] = ["fc00::/7", "fe80::/10"];

/// The policy's name.
pub const NAME: &str = "agent-egress";

/// Where the cluster's name servers are: the one thing inside that an agent reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServers {
    /// Their namespace.
    pub namespace: String,
    /// A label of their pods, with its value.
    pub label: (String, String),
}

impl Default for NameServers {
    /// As nearly every cluster has it, CoreDNS included.
    fn default() -> Self {
        Self { namespace: "kube-system".to_owned(), label: ("k8s-app".to_owned(), "kube-dns".to_owned()) }
    }
}

/// The policy for the pods that bear the agent's label. NetworkPolicies add up, so a wider one that selects them too would undo it.
#[must_use]
pub fn network_policy(name_servers: &NameServers) -> NetworkPolicy {
    let agents = LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: AGENT.to_owned(),
            operator: "Exists".to_owned(),
            values: None,
        }]),
        ..LabelSelector::default()
    };
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            labels: Some(labels(MANAGED_BY, MANAGER)),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(agents),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            // None is allowed, so all is denied.
            ingress: None,
            egress: Some(vec![names(name_servers), internet()]),
        }),
    }
}

fn names(servers: &NameServers) -> NetworkPolicyEgressRule {
    let selects = |labels| LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
    let (key, value) = &servers.label;
    let port = |protocol: &str| NetworkPolicyPort {
        port: Some(IntOrString::Int(53)),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    };
    NetworkPolicyEgressRule {
        ports: Some(vec![port("UDP"), port("TCP")]),
        to: Some(vec![NetworkPolicyPeer {
            namespace_selector: Some(selects(labels("kubernetes.io/metadata.name", &servers.namespace))),
            pod_selector: Some(selects(labels(key, value))),
            ip_block: None,
        }]),
    }
}

fn internet() -> NetworkPolicyEgressRule {
    let all_but = |all: &str, except: &[&str]| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: all.to_owned(),
            except: Some(except.iter().map(|range| (*range).to_owned()).collect()),
        }),
        ..NetworkPolicyPeer::default()
    };
    NetworkPolicyEgressRule {
        ports: None,
        to: Some(vec![all_but("0.0.0.0/0", &PRIVATE_V4), all_but("::/0", &PRIVATE_V6)]),
    }
}

fn labels(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// K8
    #[test]
    fn agents_reach_names_and_the_public_internet_and_nothing_reaches_them() {
        let policy: Value = serde_json::to_value(network_policy(&NameServers::default())).unwrap();
        assert_eq!(
            policy["spec"],
            json!({
                "podSelector": { "matchExpressions": [{ "key": "agents.kyle.pericak.com/agent", "operator": "Exists" }] },
                "policyTypes": ["Ingress", "Egress"],
                "egress": [
                    {
                        "ports": [{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }],
                        "to": [{
                            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } },
                            "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } },
                        }],
                    },
                    {
                        "to": [
                            { "ipBlock": { "cidr": "0.0.0.0/0", "except": [
                                "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
                            ] } },
                            { "ipBlock": { "cidr": "::/0", "except": ["fc00::/7", "fe80::/10"] } },
                        ],
                    },
                ],
            })
        );
        assert_eq!(
            (&policy["kind"], &policy["apiVersion"]),
            (&json!("NetworkPolicy"), &json!("networking.k8s.io/v1"))
        );
    }
}
