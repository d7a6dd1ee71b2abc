//! The command `cluster up`, a cluster for a shell.
//!
//! One line of JSON on stdout says where it is, when it is ready. It ends when stdin closes (so that it never outlives the script that
//! started it), or on SIGINT or SIGTERM.

use crate::{Cluster, Form};
use agent_task::Exit;
use clap::{Parser, Subcommand};
use serde_json::json;
use std::io::Read as _;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

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
    let signals = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = signals.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(entered);

    let cluster = Cluster::start_in(if node { Form::WithNode } else { Form::ControlPlane }, &dir)?;
    piece::output::line(&json!({
        "kubeconfig": cluster.kubeconfig(),
        "server": cluster.server(),
        "init": cluster.init(),
    }))?;

    let (closed, stdin_closed) = tokio::sync::oneshot::channel();
    // Reading stdin cannot be interrupted, so the thread is left to the end of the process.
    std::thread::spawn(move || {
        let mut ignored = [0; 4096];
        let mut stdin = std::io::stdin().lock();
        while matches!(stdin.read(&mut ignored), Ok(1..)) {}
        let _ = closed.send(());
    });
    signals.block_on(async {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            Ok(()) = stdin_closed => (),
        }
    });
    drop(cluster);
    Ok(Exit::Done)
}
