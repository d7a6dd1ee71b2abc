//! What a cluster says of all its runs: a YAML file, which the chart writes. An unknown key is an error.

use agent_task::secret::NEVER_HANDED_ON;
use agent_task_crd::Mode;
use agent_task_crd::resources::{Amount, Resources};
use k8s_openapi::api::core::v1::Toleration;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// The runtime image, with a tag or a digest that stays what it is.
    pub image: String,
    /// When the node fetches it.
    #[serde(default = "if_not_present")]
    pub image_pull_policy: String,
    /// Secrets with the registry's credentials.
    #[serde(default)]
    pub image_pull_secrets: Vec<String>,
    /// The repository on GitHub, for tasks that name none.
    #[serde(default)]
    pub repository: Option<String>,
    /// The branch that pull requests go to, for tasks that name none.
    #[serde(default = "main")]
    pub base: String,
    /// The pods' service account. It has no rights, and its token is not mounted.
    #[serde(default = "agent_run")]
    pub service_account: String,
    /// Where the credentials are.
    #[serde(default)]
    pub secrets: Secrets,
    /// Discord is told how a run ends.
    #[serde(default = "yes")]
    pub notify: bool,
    /// How long a pod may take, for tasks that do not say it.
    #[serde(default = "half_an_hour")]
    pub timeout_seconds: u32,
    /// How long a finished Job stays, with its pod and logs.
    #[serde(default = "an_hour")]
    pub ttl_seconds_after_finished: u32,
    /// How long the Job of a scheduled run stays that writes, and with it the run's volume.
    #[serde(default = "three_days")]
    pub failed_retention_seconds: u32,
    /// The volumes of runs that write.
    #[serde(default)]
    pub workspace: WorkspaceSettings,
    /// The volume that runs share which only read.
    #[serde(default)]
    pub shared_workspace: SharedWorkspace,
    /// `/dev/shm`, for the browser.
    #[serde(default = "one_gib")]
    pub shm_size: Amount,
    /// What the containers ask for and may use.
    #[serde(default)]
    pub resources: ContainerResources,
    /// Variables for every container, as HTTPS_PROXY. No secrets: they stand in the Job.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// A certificate authority that the containers believe beside the public ones.
    #[serde(default)]
    pub certificate_authority: Option<CertificateAuthority>,
    /// Labels for Jobs and pods.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Labels of the nodes that runs may be on.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that runs put up with.
    #[serde(default)]
    pub tolerations: Vec<Toleration>,
}

/// Names of Secrets. They may be one and the same: each container gets its own keys alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Secrets {
    /// Has CLAUDE_CODE_OAUTH_TOKEN; for the runtime opencode, OPENCODE_API_KEY.
    pub agent: String,
    /// Has GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY.
    pub github: String,
    /// Has DISCORD_WEBHOOK_URL, or DISCORD_BOT_TOKEN and DISCORD_CHANNEL_ID.
    pub discord: String,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { agent: "pressrun".into(), github: "pressrun".into(), discord: "pressrun".into() }
    }
}

/// The volumes of runs that write.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkspaceSettings {
    /// Where they come from.
    pub mode: Mode,
    /// Their size.
    pub size: Amount,
    /// Their storage class [default: the cluster's].
    pub storage_class: Option<String>,
    /// In mode hostPath: the folder on the node that they are in.
    pub host_path_root: String,
}

impl Default for WorkspaceSettings {
    fn default() -> Self {
        Self {
            mode: Mode::StorageClass,
            size: "10Gi".into(),
            storage_class: None,
            host_path_root: "/var/lib/pressrun".into(),
        }
    }
}

/// The volume that runs share which only read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SharedWorkspace {
    /// Its size.
    pub size: Amount,
    /// Its storage class [default: the cluster's].
    pub storage_class: Option<String>,
    /// ReadWriteMany where runs may be on several nodes at once.
    pub access_mode: String,
}

impl Default for SharedWorkspace {
    fn default() -> Self {
        Self { size: "10Gi".into(), storage_class: None, access_mode: "ReadWriteOnce".into() }
    }
}

/// What the containers ask for and may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ContainerResources {
    /// The agent, with the browser and the site's dev server.
    pub agent: Resources,
    /// Checkout, publish and salvage, each.
    pub steps: Resources,
}

impl Default for ContainerResources {
    fn default() -> Self {
        let amounts = |pairs: [(&str, &str); 3]| {
            pairs.into_iter().map(|(name, amount)| (name.to_owned(), amount.into())).collect()
        };
        Self {
            agent: Resources {
                requests: amounts([("cpu", "500m"), ("memory", "1536Mi"), ("ephemeral-storage", "1Gi")]),
                limits: amounts([("cpu", "4"), ("memory", "4Gi"), ("ephemeral-storage", "8Gi")]),
            },
            steps: Resources {
                requests: amounts([("cpu", "50m"), ("memory", "128Mi"), ("ephemeral-storage", "64Mi")]),
                limits: amounts([("cpu", "2"), ("memory", "1Gi"), ("ephemeral-storage", "1Gi")]),
            },
        }
    }
}

/// A ConfigMap with certificates.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateAuthority {
    /// The ConfigMap.
    pub config_map: String,
    /// Its key with all certificates to believe, as PEM: the public ones too.
    #[serde(default = "ca_key")]
    pub key: String,
}

impl Settings {
    /// Reads the settings. `origin` says where they are from.
    ///
    /// # Errors
    /// Says which key is wrong.
    pub fn read(yaml: &str) -> Result<Self, String> {
        let value: serde_json::Value = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        let settings: Self = serde_path_to_error::deserialize(value).map_err(|error| error.to_string())?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        if !is_pinned(&self.image) {
            return Err(format!(
                "image: '{}' is not pinned: give it a tag that is not latest, or a digest",
                self.image
            ));
        }
        if let Some(name) = self.environment.keys().find(|name| is_reserved(name)) {
            return Err(format!("environment: {name} is not free to set"));
        }
        if self.timeout_seconds < 60 {
            return Err("timeoutSeconds: must be 60 or more".to_owned());
        }
        let root = &self.workspace.host_path_root;
        if !root.starts_with('/')
            || root.split('/').any(|part| part == "..")
            || root.trim_matches('/').is_empty()
        {
            return Err(format!("workspace.hostPathRoot: '{root}' is no folder below /"));
        }
        Ok(())
    }
}

/// A tag or a digest that names one image for good, as far as a name can say it.
fn is_pinned(image: &str) -> bool {
    if image.contains("@sha256:") {
        return true;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':').is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest")
}

/// Variables that are secrets, or the pod's own.
fn is_reserved(name: &str) -> bool {
    const OURS: [&str; 4] = ["HOME", "PROMPT", "GITHUB_REPOSITORY", "GITHUB_APP_ID"];
    NEVER_HANDED_ON.contains(&name)
        || OURS.contains(&name)
        || name.starts_with("PRESSRUN_")
        || ["TOKEN", "SECRET", "PASSWORD", "PRIVATE_KEY", "WEBHOOK_URL"].iter().any(|end| name.ends_with(end))
}

fn if_not_present() -> String {
    "IfNotPresent".to_owned()
}

fn main() -> String {
    "main".to_owned()
}

fn agent_run() -> String {
    "agent-run".to_owned()
}

fn ca_key() -> String {
    "ca.crt".to_owned()
}

fn one_gib() -> Amount {
    "1Gi".into()
}

const fn yes() -> bool {
    true
}

const fn half_an_hour() -> u32 {
    1800
}

const fn an_hour() -> u32 {
    3600
}

const fn three_days() -> u32 {
    3 * 86_400
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K3
    #[test]
    fn an_image_alone_is_enough() {
        let settings = Settings::read("image: registry.example.org:5000/pressrun:1.4.2\n").unwrap();
        assert_eq!((settings.timeout_seconds, settings.ttl_seconds_after_finished), (1800, 3600));
        assert_eq!((settings.base.as_str(), settings.workspace.mode), ("main", Mode::StorageClass));
    }

    /// K3
    #[test]
    fn an_image_is_pinned() {
        for good in ["a/b:1", "b:v1.2", "r:5000/b:1", "b@sha256:0123"] {
            assert!(is_pinned(good), "{good}");
        }
        for bad in ["b", "a/b", "b:latest", "b:", "r:5000/b"] {
            assert!(!is_pinned(bad), "{bad}");
        }
    }

    /// K6
    #[test]
    fn what_is_wrong_is_named() {
        for (yaml, named) in [
            ("notify: true", "image"),
            ("image: a/b:latest", "image"),
            ("image: a/b:1\nimgaePullPolicy: Always", "imgaePullPolicy"),
            ("image: a/b:1\nworkspace: {mode: nfs}", "workspace.mode"),
            ("image: a/b:1\nworkspace: {hostPathRoot: /data/../etc}", "workspace.hostPathRoot"),
            ("image: a/b:1\nworkspace: {hostPathRoot: /}", "workspace.hostPathRoot"),
            ("image: a/b:1\ntimeoutSeconds: 5", "timeoutSeconds"),
            ("image: a/b:1\nenvironment: {GITHUB_TOKEN: x}", "GITHUB_TOKEN"),
            ("image: a/b:1\nenvironment: {ANTHROPIC_BASE_URL: https://x}", "ANTHROPIC_BASE_URL"),
            ("image: [a", "line 1"),
        ] {
            let error = Settings::read(yaml).unwrap_err();
            assert!(error.contains(named), "{named}: {error}");
        }
    }
}
