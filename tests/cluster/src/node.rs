//! The node: containerd, kubelet, kube-proxy and the provisioner of volumes, with the settings that this takes on a machine that is itself
//! a container or a small VM.

use crate::authority::{Authority, Identity};
use crate::control_plane::{NODE_ADDRESS, flags, server_inside, text};
use crate::sealed::{Program, SealedBox};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The node's name.
pub(crate) const NAME: &str = "node";
/// Where pods get their addresses from.
pub(crate) const POD_ADDRESSES: [&str; 2] = ["10.244.0.0/24", "fd00:244::/64"];
/// The Service of the cluster's DNS server.
pub(crate) const DNS_ADDRESS: &str = "10.96.0.10";
/// The image of the process that holds a pod's namespaces.
pub(crate) const PAUSE_IMAGE: &str = "pressrun.test/pause:1";

/// Starts all of it in the box, but the kubelet: containerd first needs [`PAUSE_IMAGE`].
pub(crate) fn start_containerd(sealed: &SealedBox, state: &Path) -> anyhow::Result<Program> {
    let config = state.join("containerd.toml");
    write(&config, &containerd(state))?;
    let networks = state.join("cni/10-pods.conflist");
    write(&networks, &network(state).to_string())?;
    sealed.start_program("containerd", &[format!("--config={}", text(&config))])
}

/// Starts the kubelet.
pub(crate) fn start_kubelet(
    sealed: &SealedBox,
    state: &Path,
    authority: &Authority,
) -> anyhow::Result<Program> {
    let Identity { certificate, key } = authority.server("kubelet", &[NAME, NODE_ADDRESS])?;
    let kubeconfig = state.join("kubelet.kubeconfig");
    authority.kubeconfig(
        &kubeconfig,
        &server_inside(),
        &format!("system:node:{NAME}"),
        Some("system:nodes"),
    )?;
    let resolver = state.join("resolv.conf");
    write(&resolver, "")?;
    let config = state.join("kubelet.json");
    let settings = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": authority.certificate()},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": certificate,
        "tlsPrivateKeyFile": key,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": resolver,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": sealed.control_group(),
        "failCgroupV1": false,
        "failSwapOn": false,
        // Lowering it takes CAP_SYS_RESOURCE.
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": false,
        // The machine's disk is not the cluster's: nothing is evicted and no image removed because others fill it.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    });
    write(&config, &settings.to_string())?;
    let arguments = flags(&[
        ("config", &text(&config)),
        ("kubeconfig", &text(&kubeconfig)),
        ("root-dir", &text(&state.join("kubelet"))),
        ("hostname-override", NAME),
        ("node-ip", NODE_ADDRESS),
    ]);
    sealed.start_program("kubelet", &arguments)
}

/// Starts what makes Services work.
pub(crate) fn start_proxy(
    sealed: &SealedBox,
    state: &Path,
    authority: &Authority,
) -> anyhow::Result<Program> {
    let kubeconfig = state.join("kube-proxy.kubeconfig");
    authority.kubeconfig(&kubeconfig, &server_inside(), "system:kube-proxy", None)?;
    let config = state.join("kube-proxy.json");
    let settings = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig},
        "mode": "nftables",
        "hostnameOverride": NAME,
        "clusterCIDR": POD_ADDRESSES[0],
        // The limit is the machine's and cannot be set from a namespace.
        "conntrack": {"maxPerCore": 0},
    });
    write(&config, &settings.to_string())?;
    sealed.start_program("kube-proxy", &[format!("--config={}", text(&config))])
}

/// Starts what makes volumes of the default storage class.
pub(crate) fn start_provisioner(sealed: &SealedBox, state: &Path) -> anyhow::Result<Program> {
    let config = state.join("volumes.json");
    let paths = [state.join("volumes")];
    let anywhere = "DEFAULT_PATH_FOR_NON_LISTED_NODES";
    write(&config, &json!({"nodePathMap": [{"node": anywhere, "paths": paths}]}).to_string())?;
    let mut arguments = vec!["start".to_owned()];
    arguments.extend(flags(&[
        ("config", &text(&config)),
        ("namespace", "local-path-storage"),
        ("configmap-name", "local-path-config"),
        ("helper-image", "pressrun.test/busybox:1"),
        // As administrator: it is part of the machinery and no subject of a test.
        ("kubeconfig", &text(&state.join("inside.kubeconfig"))),
    ]));
    sealed.start_program("local-path-provisioner", &arguments)
}

fn containerd(state: &Path) -> String {
    let folder = |name: &str| text(&state.join(name));
    format!(
        r#"
version = 2
root = "{root}"
state = "/run/containerd"

[plugins."io.containerd.internal.v1.opt"]
path = "{opt}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Lowering it takes CAP_SYS_RESOURCE.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{cni}"
"#,
        root = folder("containerd"),
        opt = folder("containerd-opt"),
        cni = folder("cni"),
    )
}

/// Each pod is alone on its link, so that all its packets pass the node's rules, those to its neighbours too.
fn network(state: &Path) -> Value {
    let ranges: Vec<Value> = POD_ADDRESSES.iter().map(|range| json!([{"subnet": range}])).collect();
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "dataDir": state.join("cni-addresses"),
                "ranges": ranges,
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            },
        }],
    })
}

fn write(file: &Path, content: &str) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, content).with_context(|| format!("writing {}", file.display()))
}
