//! The way to a cluster's API server, for the pieces that use one.
//!
//! [`connect`] finds the server as `kubectl` does: by `KUBECONFIG`, `~/.kube/config`, or the service account of the pod; every
//! call has a time limit, and what the server refuses for the moment (429, 503, 504) is asked again. [`fault`] turns a failed
//! call into an error with the exit code of the contract and what to do.

use anyhow::Context as _;
use kube::{Client, Config};
use piece::Fault;
use std::time::Duration;

/// For a connection, and for the answer to one call. Lists come in pages, so that no answer takes long.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A client for the cluster that is configured, with `namespace` or the configuration's own as its default.
///
/// # Errors
/// A usage fault where no cluster is configured, or the configuration cannot be read.
pub async fn connect(namespace: Option<&str>) -> anyhow::Result<Client> {
    let mut config = Config::infer().await.context(Fault::usage("no cluster is configured").hint(
        "set KUBECONFIG to a kubeconfig file, or run it in a pod that has a service account's token",
    ))?;
    if let Some(namespace) = namespace {
        namespace.clone_into(&mut config.default_namespace);
    }
    config.connect_timeout = Some(TIME_LIMIT);
    // A connection that waited in the pool must not count as an answer that is late.
    config.read_timeout = Some(TIME_LIMIT);
    config.reset_reader_on_write = true;
    Client::try_from(config).context(Fault::usage("the cluster's configuration cannot be used"))
}

/// The HTTP status that the API server answered with, if it answered.
#[must_use]
pub fn status(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What went wrong with `what` (as "listing the Jobs in ai-agents"), with exit code and hint.
#[must_use]
pub fn fault(error: kube::Error, what: &str) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => refused(status.code, &status.message, what).into(),
        kube::Error::Auth(_) => anyhow::Error::new(error).context(
            Fault::denied(format!("{what}: no credentials for the cluster"))
                .hint("'kubectl auth whoami' shows whether the kubeconfig's login works"),
        ),
        error => anyhow::Error::new(error).context(
            Fault::retry(format!("{what}: the API server cannot be reached"))
                .hint("'kubectl version' shows whether the cluster answers"),
        ),
    }
}

fn refused(code: u16, message: &str, what: &str) -> Fault {
    let text = format!("{what}: {} ({code})", if message.is_empty() { "refused" } else { message });
    match code {
        401 => Fault::denied(text).hint("the kubeconfig's login, or the service account's token, is not valid"),
        403 => Fault::denied(text).hint(
            "grant it by a Role and RoleBinding (or the cluster's kind of both): 'kubectl auth can-i --list' shows what is granted; \
             a quota that is used up says so above",
        ),
        408 | 409 | 410 | 429 | 500..=599 => Fault::retry(text),
        _ => Fault::failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_task::Exit;

    /// K5
    #[test]
    fn what_the_server_refuses_has_the_exit_code_of_the_contract() {
        for (code, exit) in [
            (400, Exit::Failed),
            (401, Exit::Denied),
            (403, Exit::Denied),
            (404, Exit::Failed),
            (409, Exit::Retry),
            (410, Exit::Retry),
            (422, Exit::Failed),
            (429, Exit::Retry),
            (500, Exit::Retry),
            (503, Exit::Retry),
        ] {
            let fault = refused(code, "jobs is forbidden", "listing");
            assert_eq!(fault.exit(), exit, "{code}");
            assert_eq!(fault.message(), format!("listing: jobs is forbidden ({code})"));
        }
    }
}
