//! The command `cluster up`, a cluster for a shell.
//!
//! One line of JSON on stdout says where it is, when it is ready. It ends when stdin closes (so that it never outlives the script that
//! started it), or on SIGINT or SIGTERM.

use crate::{Cluster, Form};
use agent_task::Exit;
use clap::{Parser, Subcommand};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;

/// A throwaway Kubernetes for tests.
#[derive(Debug, Parser)]
#[command(name = "cluster", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(Up),
}

/// Runs a cluster until stdin closes.
///
/// When it is ready, prints one line of JSON: `kubeconfig`, `server` and `init`, the first process of the box that it is in. Takes root.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    sleep infinity | cluster up --dir /tmp/cluster &\n  \
    kubectl --kubeconfig /tmp/cluster/kubeconfig get namespaces")]
struct Up {
    /// Where its state goes, kubeconfig and logs included. Kept at the end, and begun anew when there is some.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// With a node, where pods run.
    #[arg(long)]
    node: bool,
}

/// Runs the command.
///
/// # Errors
/// The cluster does not start.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Command::Up(Up { dir, node }) = arguments.command;
    // Before anything is said to be ready: whoever then ends it finds the handlers in place.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let cluster = Cluster::start_in(if node { Form::WithNode } else { Form::ControlPlane }, &dir)?;
    piece::output::line(&json!({
        "kubeconfig": cluster.kubeconfig(),
        "server": cluster.server(),
        "init": cluster.init(),
    }))?;
    let (signalled, end) = channel();
    let closed = signalled.clone();
    thread::spawn(move || {
        signals.forever().next();
        signalled.send(())
    });
    thread::spawn(move || {
        // An error is an end of it as well.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        closed.send(())
    });
    end.recv()?;
    drop(cluster);
    Ok(Exit::Done)
}
