//! Proves whether a cluster enforces what the agent's pods may reach.
//!
//! stdin: nothing. stdout: a verdict, a probe's report or the policy, as JSON. stderr: the answer for people.
//!
//! ```text
//! $ egress-check run -n ai-agents --image registry.example/pressrun:1.0.0
//! {"kind":"EgressVerdict","answer":"not-enforced","reasons":["the agent reaches api-server (10.96.0.1:443)", …],"targets":[…]}
//! egress-check: not enforced: the agent reaches api-server (10.96.0.1:443); …
//! ```
//!
//! What it does: `run` makes a pod that listens, a pod with the agent's label, and one without it. Both try the same: the
//! listening pod, the API server, the node, a cloud's metadata service, the internet, a name. What only the agent's pod cannot reach
//! shows that the [policy] is enforced; what nobody reaches [proves nothing](verdict).
//!
//! What it never does: take an object for its effect; leave a pod behind (where it is killed, each has a time limit of its
//! own, and the next check deletes it); use a service account's token in a pod, or more rights than the agent's pods have.

pub mod args;
mod cluster;
pub mod pods;
pub mod policy;
pub mod probe;
pub mod verdict;

pub use args::Args;

use crate::args::{Command, ProbeArgs};
use crate::policy::NameServers;
use crate::probe::{Attempt, Patience, Target, probe};
use crate::verdict::Answer;
use agent_task::Exit;
use anyhow::Context as _;
use piece::{Fault, output};
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

/// The kubelet's port.
const KUBELET: u16 = 10250;

/// Runs the piece.
///
/// # Errors
/// Faults with the exit codes of the contract. An answer is none, whatever it is.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    match args.command {
        Command::Policy { dns_namespace, dns_label } => {
            let servers = NameServers { namespace: dns_namespace, label: dns_label };
            output::pretty(&policy::network_policy(&servers))?;
            Ok(Exit::Done)
        }
        Command::Listen { port } => listen(port),
        Command::Probe(args) => {
            let targets = targets(&args, |name| std::env::var(name).ok())?;
            let patience = Patience { limit: args.limit, rounds: args.rounds, pause: Duration::from_secs(1) };
            let report = runtime()?.block_on(probe(&targets, patience));
            if let Some(file) = &args.report {
                let text = serde_json::to_vec(&report).context("writing the report as JSON")?;
                std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
            }
            output::line(&report)?;
            Ok(Exit::Done)
        }
        Command::Run(args) => {
            let verdict = runtime()?.block_on(cluster::check(&args))?;
            output::line(&verdict)?;
            let answer = match verdict.answer {
                Answer::Enforced => "enforced",
                Answer::NotEnforced => "not enforced",
                Answer::CannotTell => "cannot tell",
            };
            say(answer);
            verdict.reasons.iter().for_each(|reason| say(&format!("  {reason}")));
            if verdict.answer == Answer::NotEnforced {
                say(
                    "hint: is there the policy of 'egress-check policy', and does the network plugin enforce any?",
                );
            }
            Ok(verdict.answer.exit())
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")
}

/// Everything that is probed, the places that the environment knows included.
fn targets(args: &ProbeArgs, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Vec<Target>> {
    let address = |address_variable: &str, port: Option<u16>| -> anyhow::Result<SocketAddr> {
        let missing = || Fault::usage(format!("{address_variable} is no address")).hint("it is one in a pod");
        let address: IpAddr =
            variable(address_variable).and_then(|text| text.parse().ok()).with_context(missing)?;
        Ok(SocketAddr::new(address, port.unwrap_or(443)))
    };
    let mut targets = args.connect.clone();
    if let Some(name) = &args.api_server {
        let port = variable("KUBERNETES_SERVICE_PORT").and_then(|port| port.parse().ok());
        let at = address("KUBERNETES_SERVICE_HOST", port)?;
        targets.push(Target { name: name.clone(), what: Attempt::Connect(at) });
    }
    if let Some(name) = &args.kubelet {
        let at = address("NODE_ADDRESS", Some(KUBELET))?;
        targets.push(Target { name: name.clone(), what: Attempt::Connect(at) });
    }
    targets.extend(args.resolve.iter().cloned());
    if targets.is_empty() {
        return Err(Fault::usage("nothing to probe")
            .hint("as in: egress-check probe --connect a=192.0.2.1:443")
            .into());
    }
    Ok(targets)
}

fn listen(port: u16) -> anyhow::Result<Exit> {
    // Without IPv6 on the machine, IPv4 alone.
    let listener =
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)));
    let listener = listener.with_context(|| format!("listening on port {port}"))?;
    say(&format!("listening on {}", listener.local_addr().context("asking for the port")?));
    loop {
        // Whoever connected has seen that they can; why one connection failed is nobody's concern.
        let _ = listener.accept();
    }
}

fn say(line: &str) {
    // Nobody on stderr is no failure.
    let _ = writeln!(std::io::stderr(), "egress-check: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn targets_of(arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
        let Command::Probe(args) = Args::parse_from([&["egress-check", "probe"], arguments].concat()).command
        else {
            panic!("not probe")
        };
        let variable = |name: &str| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        };
        Ok(targets(&args, variable)?
            .iter()
            .map(|target| format!("{}={}", target.name, target.what))
            .collect())
    }

    /// K8
    #[test]
    fn the_pods_environment_says_where_api_server_and_node_are() {
        let variables = [
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
            ("KUBERNETES_SERVICE_PORT", "6443"),
            ("NODE_ADDRESS", "fd00::2"),
        ];
        let arguments = ["--resolve=dns=a", "--api-server=api", "--kubelet=node", "--connect=b=1.1.1.1:1"];
        let found = targets_of(&arguments, &variables).unwrap();
        assert_eq!(found, ["b=1.1.1.1:1", "api=10.96.0.1:6443", "node=[fd00::2]:10250", "dns=a"]);
        for arguments in [&["--api-server=api"][..], &["--kubelet=node"], &[]] {
            targets_of(arguments, &[]).unwrap_err();
        }
    }
}
