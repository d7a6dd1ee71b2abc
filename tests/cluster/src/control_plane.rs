//! etcd, the API server, the controllers and the scheduler, with the settings that this takes.

use crate::authority::{Authority, Identity};
use crate::sealed::{Program, SealedBox};
use std::path::{Path, PathBuf};

/// The address by which the cluster knows its API server and its node.
pub(crate) const NODE_ADDRESS: &str = "10.210.0.1";
/// Where the API server listens in the box.
pub(crate) const API_PORT: u16 = 6443;
const ETCD: &str = "http://127.0.0.1:2379";
const SERVICES: &str = "10.96.0.0/16";
const API_SERVICE: &str = "10.96.0.1";

/// Starts the API server and what it keeps its objects in. The others end when it does not answer, so they come later.
pub(crate) fn start_server(
    sealed: &SealedBox,
    state: &Path,
    authority: &Authority,
    tokens: &[PathBuf; 2],
) -> anyhow::Result<Vec<Program>> {
    Ok(vec![
        sealed.start_program("etcd", &etcd(state))?,
        sealed.start_program("kube-apiserver", &api_server(authority, tokens)?)?,
    ])
}

/// Starts the controllers and the scheduler.
pub(crate) fn start_controllers(
    sealed: &SealedBox,
    state: &Path,
    authority: &Authority,
    tokens: &[PathBuf; 2],
) -> anyhow::Result<Vec<Program>> {
    Ok(vec![
        sealed.start_program("kube-controller-manager", &controllers(state, authority, tokens)?)?,
        sealed.start_program("kube-scheduler", &scheduler(state, authority)?)?,
    ])
}

/// The API server's address for programs in the box.
pub(crate) fn server_inside() -> String {
    format!("https://127.0.0.1:{API_PORT}")
}

/// `--name=value` for each.
pub(crate) fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn etcd(state: &Path) -> Vec<String> {
    let peers = "http://127.0.0.1:2380";
    let mut flags = flags(&[
        ("data-dir", &text(&state.join("etcd"))),
        ("listen-client-urls", ETCD),
        ("advertise-client-urls", ETCD),
        ("listen-peer-urls", peers),
        ("initial-advertise-peer-urls", peers),
        ("initial-cluster", &format!("default={peers}")),
    ]);
    // It need not survive the machine, and the disk is the slowest part of a write.
    flags.push("--unsafe-no-fsync".to_owned());
    flags
}

fn api_server(authority: &Authority, [signing, verifying]: &[PathBuf; 2]) -> anyhow::Result<Vec<String>> {
    let names = [
        "127.0.0.1",
        NODE_ADDRESS,
        API_SERVICE,
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let Identity { certificate, key } = authority.server("kube-apiserver", &names)?;
    let kubelet = authority.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
    Ok(flags(&[
        ("etcd-servers", ETCD),
        ("advertise-address", NODE_ADDRESS),
        ("secure-port", &API_PORT.to_string()),
        ("tls-cert-file", &text(&certificate)),
        ("tls-private-key-file", &text(&key)),
        ("client-ca-file", &text(&authority.certificate())),
        ("kubelet-certificate-authority", &text(&authority.certificate())),
        ("kubelet-client-certificate", &text(&kubelet.certificate)),
        ("kubelet-client-key", &text(&kubelet.key)),
        ("kubelet-preferred-address-types", "InternalIP"),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        ("service-account-key-file", &text(verifying)),
        ("service-account-signing-key-file", &text(signing)),
        ("service-cluster-ip-range", SERVICES),
        ("authorization-mode", "Node,RBAC"),
        ("enable-admission-plugins", "NodeRestriction"),
        ("profiling", "false"),
    ]))
}

fn controllers(
    state: &Path,
    authority: &Authority,
    [signing, _]: &[PathBuf; 2],
) -> anyhow::Result<Vec<String>> {
    let config = kubeconfig(state, authority, "kube-controller-manager")?;
    Ok(flags(&[
        ("kubeconfig", &text(&config)),
        ("secure-port", "0"),
        ("leader-elect", "false"),
        ("root-ca-file", &text(&authority.certificate())),
        ("service-account-private-key-file", &text(signing)),
        ("use-service-account-credentials", "true"),
        // The defaults hold back a burst of a thousand Jobs for minutes.
        ("kube-api-qps", "500"),
        ("kube-api-burst", "1000"),
    ]))
}

fn scheduler(state: &Path, authority: &Authority) -> anyhow::Result<Vec<String>> {
    let config = kubeconfig(state, authority, "kube-scheduler")?;
    Ok(flags(&[("kubeconfig", &text(&config)), ("secure-port", "0"), ("leader-elect", "false")]))
}

fn kubeconfig(state: &Path, authority: &Authority, component: &str) -> anyhow::Result<PathBuf> {
    let file = state.join(format!("{component}.kubeconfig"));
    authority.kubeconfig(&file, &server_inside(), &format!("system:{component}"), None)?;
    Ok(file)
}
