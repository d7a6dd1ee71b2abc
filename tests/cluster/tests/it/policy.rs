use crate::node::{pod, run, wait};
use cluster::Cluster;
use cluster::world::{PRIVATE, PUBLIC};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PORT: u16 = 8080;

/// Tries every address once, and says of each whether it answered.
fn script(addresses: &[String]) -> String {
    let list = addresses.join(" ");
    format!(
        "for address in {list}; do
             if [ \"$(nc -w 3 \"$address\" {PORT} </dev/null)\" = hello ]; then echo \"$address yes\"; else echo \"$address no\"; fi
         done"
    )
}

fn answers(said: &str) -> BTreeMap<&str, bool> {
    said.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(address, word)| (address, word == "yes"))
        .collect()
}

#[test]
fn a_policy_does_nothing_on_the_plain_network_and_stops_packets_where_it_is_enforced() {
    let cluster = Cluster::shared_with_node();
    let namespace = cluster.namespace("policy").unwrap();
    cluster.world().unwrap().greet(PORT).unwrap();
    let greeter = pod(
        &namespace,
        "neighbour",
        &json!({"app": "neighbour"}),
        &format!("while :; do echo hello | nc -l -p {PORT}; done"),
    );
    cluster.apply(&greeter.to_string()).unwrap();
    wait(cluster, &namespace, "pod/neighbour", "{.status.phase}=Running");
    let neighbour = cluster.get(&["-n", &namespace, "pod", "neighbour"]).unwrap();
    let neighbour = neighbour["status"]["podIP"].as_str().unwrap().to_owned();
    cluster.apply(&policy(&namespace).to_string()).unwrap();

    let public: Vec<String> = PUBLIC.iter().map(ToString::to_string).collect();
    let mut forbidden: Vec<String> = PRIVATE.iter().map(ToString::to_string).collect();
    forbidden.push(neighbour);
    let all = [public.clone(), forbidden.clone()].concat();
    let agent = json!({"agents.kyle.pericak.com/agent": "publisher"});

    let said = run(cluster, &namespace, "not-enforced", &agent, &script(&all));
    let reached = answers(&said);
    assert!(all.iter().all(|address| reached[address.as_str()]), "{said}");

    let enforcement = cluster.enforce_network_policy().unwrap();
    let said = run(cluster, &namespace, "enforced", &agent, &format!("sleep 2; {}", script(&all)));
    let reached = answers(&said);
    assert!(public.iter().all(|address| reached[address.as_str()]), "{said}");
    assert!(!forbidden.iter().any(|address| reached[address.as_str()]), "{said}");
    let said = run(cluster, &namespace, "others", &json!({}), &format!("sleep 2; {}", script(&all)));
    assert!(all.iter().all(|address| answers(&said)[address.as_str()]), "{said}");

    // The API server, by its Service and by the node's address, is none of the agent's business either.
    let probe = "sleep 2; for to in '10.96.0.1 443' '10.210.0.1 6443'; do nc -w 3 $to </dev/null 2>/dev/null && echo reached; done; echo done";
    assert_eq!(run(cluster, &namespace, "api-enforced", &agent, probe), "done\n");
    drop(enforcement);
    assert_eq!(run(cluster, &namespace, "api", &agent, probe), "reached\nreached\ndone\n");
}

fn policy(namespace: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "agent", "namespace": namespace},
        "spec": {
            "podSelector": {"matchExpressions": [{"key": "agents.kyle.pericak.com/agent", "operator": "Exists"}]},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [{"to": [
                {"ipBlock": {"cidr": "0.0.0.0/0", "except": [
                    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
                ]}},
                {"ipBlock": {"cidr": "::/0", "except": ["fc00::/7", "fe80::/10"]}},
            ]}],
        },
    })
}
