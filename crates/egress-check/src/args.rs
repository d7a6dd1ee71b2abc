//! The command line.

use crate::probe::{Attempt, Target};
use clap::{Args as Arguments, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Prove whether a cluster enforces what the agent's pods may reach.
///
/// A NetworkPolicy is an object that any cluster accepts, and that many network plugins ignore. This makes three pods, one of
/// them with the agent's label, and sees what each can reach.
#[derive(Debug, Clone, Parser)]
#[command(name = "egress-check", version, after_help = EXAMPLE)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Check a cluster, from outside
    ///
    /// The pods are deleted at the end, after an error, SIGINT or SIGTERM too. Those of a check that was killed end at a time
    /// limit of their own, and the next check in the namespace deletes them.
    Run(RunArgs),
    /// See what can be reached from here, and print it
    Probe(ProbeArgs),
    /// Accept connections, and close them, until a signal comes
    Listen {
        /// Port, on every address
        port: u16,
    },
    /// Print the NetworkPolicy of the agent's pods
    Policy {
        /// Namespace of the cluster's name servers
        #[arg(long, value_name = "NAME", default_value = "kube-system")]
        dns_namespace: String,
        /// Label of the name servers' pods
        #[arg(long, value_name = "KEY=VALUE", default_value = "k8s-app=kube-dns", value_parser = label)]
        dns_label: (String, String),
    },
}

/// How a cluster is checked.
#[derive(Debug, Clone, Arguments)]
pub struct RunArgs {
    /// Namespace of the agents [default: the kubeconfig's, or the pod's own]
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,

    /// The cluster's settings, as spawn-job reads them [default: key settings.yaml of the ConfigMap spawn-job]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Image that has this program; without --config, it stands for all settings
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,

    /// Service account of the pods, whose token is not mounted [default: the settings']
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,

    /// Address on the internet, which the agent must reach; may be given several times
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "1.1.1.1:443")]
    pub public: Vec<SocketAddr>,

    /// Address that the agent must not reach, beside the neighbour's pod, the API server, the node and a cloud's metadata
    /// service; may be given several times
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub private: Vec<SocketAddr>,

    /// Host whose addresses the agent must be able to look up
    #[arg(long, value_name = "HOST", default_value = "kubernetes.default.svc")]
    pub lookup: String,

    /// How long the pods may take to start
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = piece::duration::limit)]
    pub timeout: Duration,
}

/// What is probed.
#[derive(Debug, Clone, Arguments)]
pub struct ProbeArgs {
    /// Where to connect to; may be given several times
    #[arg(long, value_name = "NAME=ADDRESS:PORT", value_parser = connect)]
    pub connect: Vec<Target>,

    /// The host to look up; may be given several times
    #[arg(long, value_name = "NAME=HOST", value_parser = resolve)]
    pub resolve: Vec<Target>,

    /// Connect to the API server too, where the pod's environment says it is
    #[arg(long, value_name = "NAME")]
    pub api_server: Option<String>,

    /// Connect to the node's kubelet too, where NODE_ADDRESS says the node is
    #[arg(long, value_name = "NAME")]
    pub kubelet: Option<String>,

    /// How long one attempt may take
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = piece::duration::limit)]
    pub limit: Duration,

    /// How often all is tried; the last time counts
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub rounds: u32,

    /// Also write the report to this file: the termination message, in a pod
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

fn named(text: &str) -> Result<(String, &str), String> {
    match text.split_once('=') {
        Some((name, rest)) if !name.is_empty() && !rest.is_empty() => Ok((name.to_owned(), rest)),
        _ => Err("write it as NAME=TARGET".to_owned()),
    }
}

fn connect(text: &str) -> Result<Target, String> {
    let (name, address) = named(text)?;
    let address =
        address.parse().map_err(|_| "write the address as 192.0.2.1:443 or [2001:db8::1]:443".to_owned())?;
    Ok(Target { name, what: Attempt::Connect(address) })
}

fn resolve(text: &str) -> Result<Target, String> {
    let (name, host) = named(text)?;
    Ok(Target { name, what: Attempt::Resolve(host.to_owned()) })
}

fn label(text: &str) -> Result<(String, String), String> {
    named(text).map(|(key, value)| (key, value.to_owned()))
}

pub(crate) const EXAMPLE: &str = "\
Rights that 'run' takes, in the namespace:
  create, get, list, watch, delete pods; get the configmap spawn-job

Exit codes:
  0  it is enforced (probe: the report is printed, whatever it says)
  1  it is not enforced, or the API server refused for good
  2  wrong usage, or no cluster is configured
  3  it cannot be told, the cluster does not answer, or SIGINT or SIGTERM came when there were pods
  4  it may not make the pods

Examples:
  egress-check policy | jq .spec.egress
  egress-check probe --connect here=127.0.0.1:1 | jq -r '.findings[].reached'

On a cluster:
  egress-check policy | kubectl apply -n ai-agents -f -
  egress-check run -n ai-agents
  egress-check run -n default --image registry.example/pressrun:1.0.0";

#[cfg(test)]
mod tests {
    use super::*;

    /// K8
    #[test]
    fn targets_are_named_addresses_and_hosts() {
        let target = connect("api=[fd00::1]:443").unwrap();
        assert_eq!((target.name.as_str(), target.what.to_string().as_str()), ("api", "[fd00::1]:443"));
        assert_eq!(
            resolve("dns=kubernetes.default").unwrap().what,
            Attempt::Resolve("kubernetes.default".to_owned())
        );
        for bad in ["", "a", "=1.1.1.1:1", "a=", "a=1.1.1.1", "a=host:1"] {
            assert!(connect(bad).is_err(), "{bad}");
        }
    }
}
