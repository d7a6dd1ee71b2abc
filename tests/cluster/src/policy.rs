//! What NetworkPolicy objects mean, as rules for nft.
//!
//! Whether a cluster enforces NetworkPolicy depends on its network, and the plain one of these tests does not. These rules make it so, from
//! the objects themselves: what a policy forbids, no packet does. Everything here is pure; `enforce` does it.

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

/// The objects that rules are made from.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) policies: Vec<NetworkPolicy>,
}

/// A pod with addresses of its own.
struct Endpoint<'a> {
    namespace: &'a str,
    labels: BTreeMap<String, String>,
    addresses: Vec<IpAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

/// A script for `nft -f` that replaces all earlier rules. `pod_addresses` are the ranges that pods have their addresses from: one that is no
/// pod's yet may send nothing, since nobody knows what policy it has.
pub(crate) fn rules(objects: &Objects, pod_addresses: &[&str]) -> anyhow::Result<String> {
    let endpoints: Vec<Endpoint<'_>> = objects.pods.iter().filter_map(endpoint).collect();
    let mut chains = String::new();
    let mut unknown = String::new();
    for range in pod_addresses {
        let family = family(range);
        let known: Vec<String> = endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.addresses)
            .filter(|address| address_family(address) == family)
            .map(ToString::to_string)
            .collect();
        let except = if known.is_empty() {
            String::new()
        } else {
            format!(" {family} saddr != {{ {} }}", known.join(", "))
        };
        writeln!(unknown, "    {family} saddr {range}{except} drop")?;
    }
    for direction in [Direction::Egress, Direction::Ingress] {
        let mut dispatch = String::new();
        for (number, endpoint) in endpoints.iter().enumerate() {
            let Some(allowed) = allowed(objects, &endpoints, endpoint, direction)? else { continue };
            let chain = format!("{}-{number}", direction.name());
            writeln!(chains, "  chain {chain} {{")?;
            for rule in allowed {
                writeln!(chains, "    {rule} return")?;
            }
            writeln!(chains, "    drop\n  }}")?;
            for address in &endpoint.addresses {
                let family = address_family(address);
                writeln!(dispatch, "    {family} {} {address} jump {chain}", direction.own())?;
            }
        }
        writeln!(chains, "  chain {} {{\n{dispatch}  }}", direction.name())?;
    }
    // To the node itself packets come by another hook. What the node sends is not for policies: its probes always arrive.
    let hooks = ["forward", "input"].map(|hook| {
        format!(
            "  chain {hook} {{\n    type filter hook {hook} priority filter; policy accept;\n    \
             ct state established,related accept\n    \
             icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit }} accept\n\
             {unknown}    jump egress\n    jump ingress\n  }}\n"
        )
    });
    Ok(format!(
        "table inet networkpolicy\ndelete table inet networkpolicy\ntable inet networkpolicy {{\n{chains}{}}}\n",
        hooks.concat()
    ))
}

impl Direction {
    fn name(self) -> &'static str {
        if self == Self::Egress { "egress" } else { "ingress" }
    }

    /// The side of a packet that the pod is at.
    fn own(self) -> &'static str {
        if self == Self::Egress { "saddr" } else { "daddr" }
    }

    /// The side of a packet that a policy's peers are at.
    fn other(self) -> &'static str {
        if self == Self::Egress { "daddr" } else { "saddr" }
    }

    fn is_in(self, spec: &NetworkPolicySpec) -> bool {
        let word = if self == Self::Egress { "Egress" } else { "Ingress" };
        spec.policy_types.iter().flatten().any(|kind| kind == word)
    }
}

/// None of a pod that has no address yet, has ended, or shares the node's network.
fn endpoint(pod: &Pod) -> Option<Endpoint<'_>> {
    let status = pod.status.as_ref()?;
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let on_node = pod.spec.as_ref()?.host_network == Some(true);
    let addresses: Vec<IpAddr> =
        status.pod_ips.iter().flatten().filter_map(|address| address.ip.parse().ok()).collect();
    (!ended && !on_node && !addresses.is_empty()).then(|| Endpoint {
        namespace: pod.metadata.namespace.as_deref().unwrap_or_default(),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        addresses,
    })
}

/// What policies allow the pod in this direction, as matches; none where no policy selects it, so that all is allowed.
fn allowed(
    objects: &Objects,
    endpoints: &[Endpoint<'_>],
    pod: &Endpoint<'_>,
    direction: Direction,
) -> anyhow::Result<Option<Vec<String>>> {
    let mut allowed = None;
    for policy in &objects.policies {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        let Some(spec) = &policy.spec else { continue };
        let selects = spec.pod_selector.as_ref().is_none_or(|selector| matches(selector, &pod.labels));
        if namespace != pod.namespace || !direction.is_in(spec) || !selects {
            continue;
        }
        let name = policy.metadata.name.as_deref().unwrap_or_default();
        let rules = entries(spec, direction).map(|(peers, ports)| {
            let peers = addresses(objects, endpoints, namespace, peers, direction)?;
            let ports = port_matches(ports)?;
            anyhow::Ok(
                peers.iter().flat_map(|peer| ports.iter().map(move |port| format!("{peer}{port}"))).collect(),
            )
        });
        let rules: Vec<Vec<String>> = rules
            .collect::<Result<_, _>>()
            .with_context(|| format!("the NetworkPolicy {namespace}/{name}"))?;
        allowed.get_or_insert_with(Vec::new).extend(rules.concat());
    }
    Ok(allowed)
}

type Entry<'a> = (&'a [NetworkPolicyPeer], &'a [NetworkPolicyPort]);

fn entries(spec: &NetworkPolicySpec, direction: Direction) -> Box<dyn Iterator<Item = Entry<'_>> + '_> {
    match direction {
        Direction::Egress => {
            Box::new(spec.egress.iter().flatten().map(|rule| {
                (rule.to.as_deref().unwrap_or_default(), rule.ports.as_deref().unwrap_or_default())
            }))
        }
        Direction::Ingress => Box::new(spec.ingress.iter().flatten().map(|rule| {
            (rule.from.as_deref().unwrap_or_default(), rule.ports.as_deref().unwrap_or_default())
        })),
    }
}

/// Matches for the peers; no peers are all there are.
fn addresses(
    objects: &Objects,
    endpoints: &[Endpoint<'_>],
    namespace: &str,
    peers: &[NetworkPolicyPeer],
    direction: Direction,
) -> anyhow::Result<Vec<String>> {
    if peers.is_empty() {
        return Ok(vec![String::new()]);
    }
    let side = direction.other();
    let mut found = Vec::new();
    for peer in peers {
        if let Some(IPBlock { cidr, except }) = &peer.ip_block {
            let family = family(cidr);
            let except = except.as_deref().unwrap_or_default();
            // nft has no word for a range that is all of them.
            let within = if cidr.ends_with("/0") {
                format!("meta nfproto {} ", if family == "ip" { "ipv4" } else { "ipv6" })
            } else {
                format!("{family} {side} {cidr} ")
            };
            let without = if except.is_empty() {
                String::new()
            } else {
                format!("{family} {side} != {{ {} }} ", except.join(", "))
            };
            found.push(format!("{within}{without}"));
            continue;
        }
        for endpoint in endpoints {
            let place = match &peer.namespace_selector {
                Some(selector) => matches(selector, &labels_of(objects, endpoint.namespace)),
                None => endpoint.namespace == namespace,
            };
            if place && peer.pod_selector.as_ref().is_none_or(|selector| matches(selector, &endpoint.labels))
            {
                let matches = endpoint
                    .addresses
                    .iter()
                    .map(|address| format!("{} {side} {address} ", address_family(address)));
                found.extend(matches);
            }
        }
    }
    Ok(found)
}

fn labels_of(objects: &Objects, namespace: &str) -> BTreeMap<String, String> {
    let found = objects.namespaces.iter().find(|other| other.metadata.name.as_deref() == Some(namespace));
    found.and_then(|found| found.metadata.labels.clone()).unwrap_or_default()
}

/// Matches for the ports; no ports are all there are.
fn port_matches(ports: &[NetworkPolicyPort]) -> anyhow::Result<Vec<String>> {
    if ports.is_empty() {
        return Ok(vec![String::new()]);
    }
    let one = |port: &NetworkPolicyPort| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
        Ok(match (&port.port, port.end_port) {
            (None, _) => format!("meta l4proto {protocol}"),
            (Some(IntOrString::Int(first)), None) => format!("{protocol} dport {first}"),
            (Some(IntOrString::Int(first)), Some(last)) => format!("{protocol} dport {first}-{last}"),
            (Some(IntOrString::String(name)), _) => {
                bail!("the port's name '{name}' is not supported: use its number")
            }
        })
    };
    ports.iter().map(one).collect()
}

fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|expression| {
            let value = labels.get(&expression.key);
            let listed =
                || value.is_some_and(|value| expression.values.iter().flatten().any(|other| other == value));
            match expression.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

fn family(range: &str) -> &'static str {
    if range.contains(':') { "ip6" } else { "ip" }
}

fn address_family(address: &IpAddr) -> &'static str {
    if address.is_ipv6() { "ip6" } else { "ip" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(namespace: &str, name: &str, app: &str, addresses: &[&str]) -> Value {
        let addresses: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
        json!({
            "metadata": {"namespace": namespace, "name": name, "labels": {"app": app}},
            "spec": {"containers": []},
            "status": {"podIPs": addresses, "phase": "Running"},
        })
    }

    fn objects(pods: &[Value], policies: &[Value]) -> Objects {
        let namespace =
            |name: &str| json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}});
        let read =
            |list: &[Value]| list.iter().map(|item| serde_json::from_value(item.clone()).unwrap()).collect();
        Objects {
            namespaces: [namespace("ours"), namespace("kube-system")]
                .into_iter()
                .map(|item| serde_json::from_value(item).unwrap())
                .collect(),
            pods: read(pods),
            policies: policies.iter().map(|item| serde_json::from_value(item.clone()).unwrap()).collect(),
        }
    }

    /// The rules of a chain.
    fn chain<'a>(rules: &'a str, name: &str) -> Vec<&'a str> {
        let begin = format!("  chain {name} {{");
        let lines = rules.lines().skip_while(|line| *line != begin).skip(1);
        lines.take_while(|line| *line != "  }").map(str::trim).collect()
    }

    #[test]
    fn a_pod_that_no_policy_selects_is_in_no_chain() {
        let policy = json!({
            "metadata": {"namespace": "ours", "name": "others"},
            "spec": {"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Ingress", "Egress"]},
        });
        let rules = rules(&objects(&[pod("ours", "a", "a", &["10.244.0.2"])], &[policy]), &["10.244.0.0/24"])
            .unwrap();
        assert_eq!(chain(&rules, "egress"), Vec::<&str>::new());
        assert_eq!(chain(&rules, "ingress"), Vec::<&str>::new());
    }

    #[test]
    fn an_empty_policy_lets_nothing_through() {
        let policy = json!({
            "metadata": {"namespace": "ours", "name": "nothing"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        });
        let rules = rules(&objects(&[pod("ours", "a", "a", &["10.244.0.2"])], &[policy]), &["10.244.0.0/24"])
            .unwrap();
        assert_eq!(chain(&rules, "egress"), ["ip saddr 10.244.0.2 jump egress-0"]);
        assert_eq!(chain(&rules, "egress-0"), ["drop"]);
        assert_eq!(chain(&rules, "ingress"), ["ip daddr 10.244.0.2 jump ingress-0"]);
        assert_eq!(chain(&rules, "ingress-0"), ["drop"]);
    }

    #[test]
    fn public_addresses_and_dns_alone() {
        let policy = json!({
            "metadata": {"namespace": "ours", "name": "agent"},
            "spec": {
                "podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
                "policyTypes": ["Egress"],
                "egress": [
                    {
                        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                            "podSelector": {"matchLabels": {"app": "dns"}}}],
                        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}],
                    },
                    {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "192.168.0.0/16"]}}]},
                    {"to": [{"ipBlock": {"cidr": "2000::/3"}}], "ports": [{"port": 80, "endPort": 443}]},
                ],
            },
        });
        let pods = [
            pod("ours", "a", "a", &["10.244.0.2", "fd00::2"]),
            pod("kube-system", "dns", "dns", &["10.244.0.3"]),
            pod("ours", "no dns", "dns", &["10.244.0.4"]),
        ];
        let rules = rules(&objects(&pods, &[policy]), &["10.244.0.0/24", "fd00::/64"]).unwrap();
        assert_eq!(
            chain(&rules, "egress-0"),
            [
                "ip daddr 10.244.0.3 udp dport 53 return",
                "ip daddr 10.244.0.3 tcp dport 53 return",
                "meta nfproto ipv4 ip daddr != { 10.0.0.0/8, 192.168.0.0/16 }  return",
                "ip6 daddr 2000::/3 tcp dport 80-443 return",
                "drop"
            ]
        );
        assert!(chain(&rules, "egress").contains(&"ip6 saddr fd00::2 jump egress-0"), "{rules}");
        assert_eq!(chain(&rules, "ingress"), Vec::<&str>::new());
        let unknown = "ip saddr 10.244.0.0/24 ip saddr != { 10.244.0.2, 10.244.0.3, 10.244.0.4 } drop";
        assert!(
            chain(&rules, "forward").contains(&unknown) && chain(&rules, "input").contains(&unknown),
            "{rules}"
        );
    }

    #[test]
    fn what_has_ended_has_no_address() {
        let mut ended = pod("ours", "a", "a", &["10.244.0.2"]);
        ended["status"]["phase"] = json!("Succeeded");
        let rules = rules(&objects(&[ended], &[]), &["10.244.0.0/24"]).unwrap();
        assert!(chain(&rules, "forward").contains(&"ip saddr 10.244.0.0/24 drop"), "{rules}");
    }

    #[test]
    fn a_port_by_name_is_an_error_that_names_the_policy() {
        let policy = json!({
            "metadata": {"namespace": "ours", "name": "named"},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": "http"}]}]},
        });
        let error = rules(&objects(&[pod("ours", "a", "a", &["10.244.0.2"])], &[policy]), &[]).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "the NetworkPolicy ours/named: the port's name 'http' is not supported: use its number"
        );
    }
}
