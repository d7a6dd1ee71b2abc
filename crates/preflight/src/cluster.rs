//! A cluster, for the checks that look at one. It is only read, and all checks together take no longer than one may.
//!
//! What a run needs there is not written down a second time: it stands in the objects that `spawn-job` [plans](Runs::planned).

pub(crate) mod account;
pub(crate) mod definition;
pub(crate) mod namespace;
pub(crate) mod policy;
pub(crate) mod rights;
pub(crate) mod secrets;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod volumes;

use crate::check::{Finding, Name};
use crate::context::{Context, fault};
use agent_task_crd::AgentTask;
use anyhow::Context as _;
use cluster_client::status;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, PodSpec};
use kube::Client;
use kube::api::{Api, ListParams};
use piece::Fault;
use serde::de::DeserializeOwned;
use spawn_job::plan::{Object, plan};
use spawn_job::settings::Settings;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

/// The cluster, and what several checks have to know of it.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    runtime: tokio::runtime::Runtime,
    deadline: Instant,
    config: Option<PathBuf>,
    server: OnceLock<Result<String, Fault>>,
    place: OnceLock<Result<Seen<Namespace>, Fault>>,
    settings: OnceLock<Result<Settings, Fault>>,
}

/// What this caller sees.
#[derive(Debug, Clone)]
pub(crate) enum Seen<T> {
    /// It is there.
    There(T),
    /// It is not.
    Absent,
    /// The caller may not look.
    Hidden,
}

impl<T> Seen<T> {
    pub(crate) fn map<U>(self, of: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Self::There(found) => Seen::There(of(found)),
            Self::Absent => Seen::Absent,
            Self::Hidden => Seen::Hidden,
        }
    }
}

/// What `spawn-job` would make of a task that writes, and of one that reads.
pub(crate) struct Runs {
    jobs: Vec<Job>,
    pub(crate) claims: Vec<PersistentVolumeClaim>,
}

impl Cluster {
    /// The one that is configured. Nothing is asked yet.
    ///
    /// # Errors
    /// A usage fault where none is.
    pub(crate) fn new(namespace: String, config: Option<PathBuf>, deadline: Instant) -> anyhow::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().context("starting the runtime")?;
        let client = runtime.block_on(cluster_client::connect(Some(&namespace)))?;
        let (server, place, settings) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Ok(Self { client, namespace, runtime, deadline, config, server, place, settings })
    }

    /// Waits for this answer, for as long as all checks may take.
    ///
    /// # Errors
    /// A fault worth a retry where it does not come.
    pub(crate) fn wait<T>(&self, answer: impl Future<Output = T>) -> Result<T, Fault> {
        let limit = self.deadline.saturating_duration_since(Instant::now());
        // A time limit belongs to a runtime, so it begins within.
        self.runtime.block_on(async { tokio::time::timeout(limit, answer).await }).map_err(|_| {
            Fault::retry("the API server does not answer in time")
                .hint("'kubectl version' shows whether the cluster answers; --timeout gives it longer")
        })
    }

    /// What the caller sees of what it asks for.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub(crate) fn see<T>(
        &self,
        what: &str,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<Seen<T>, Fault> {
        match self.wait(answer)? {
            Ok(found) => Ok(Seen::There(found)),
            Err(error) if status(&error) == Some(404) => Ok(Seen::Absent),
            Err(error) if status(&error) == Some(403) => Ok(Seen::Hidden),
            Err(error) => Err(fault(&cluster_client::fault(error, what))),
        }
    }

    /// [`Self::see`] for an object of the namespace.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn object<K>(&self, kind: &str, name: &str) -> Result<Seen<K>, Fault>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        self.see(&format!("reading the {kind} {name}"), api.get(name))
    }

    /// [`Self::see`] for all of a kind.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn all<K>(&self, kinds: &str, api: &Api<K>, labels: &str) -> Result<Seen<Vec<K>>, Fault>
    where
        K: Clone + Debug + DeserializeOwned,
    {
        let chosen = ListParams::default().labels(labels);
        let listed = async { api.list(&chosen).await.map(|list| list.items) };
        self.see(&format!("listing the {kinds}"), listed)
    }

    /// The server's version, and who the caller is to it.
    ///
    /// # Errors
    /// Where it does not answer, or does not take the login.
    fn server(&self) -> Result<&str, Fault> {
        self.server.get_or_init(|| server::ask(self)).as_deref().map_err(Fault::clone)
    }

    /// The namespace.
    ///
    /// # Errors
    /// As [`Self::server`].
    fn place(&self) -> Result<&Seen<Namespace>, Fault> {
        let ask = || {
            let api: Api<Namespace> = Api::all(self.client.clone());
            self.see(&format!("reading the namespace {}", self.namespace), api.get(&self.namespace))
        };
        self.place.get_or_init(ask).as_ref().map_err(Fault::clone)
    }
}

/// The cluster, where its server answers.
///
/// # Errors
/// Of the check on that, or where it tells, [`crate::check::Unmet`].
pub(crate) fn answering(context: &Context) -> anyhow::Result<&Cluster> {
    let cluster = context.cluster()?;
    cluster.server().map_err(|fault| context.unmet(Name::Server, fault))?;
    Ok(cluster)
}

/// The cluster, where the namespace may be there.
///
/// # Errors
/// As [`answering`], and of the namespace's check.
pub(crate) fn with_namespace(context: &Context) -> anyhow::Result<&Cluster> {
    let cluster = answering(context)?;
    match cluster.place()? {
        Seen::Absent => Err(context.unmet(Name::Namespace, namespace::absent(cluster))),
        Seen::There(_) | Seen::Hidden => Ok(cluster),
    }
}

/// The cluster and its settings.
///
/// # Errors
/// As [`with_namespace`], and of the settings' check.
pub(crate) fn with_settings(context: &Context) -> anyhow::Result<(&Cluster, &Settings)> {
    let cluster = with_namespace(context)?;
    let settings = cluster.settings.get_or_init(|| settings::read(cluster)).as_ref();
    let settings = settings.map_err(|wrong| context.unmet(Name::Settings, wrong.clone()))?;
    Ok((cluster, settings))
}

impl Runs {
    /// What becomes of them with these settings.
    ///
    /// # Errors
    /// Where `spawn-job` would refuse.
    pub(crate) fn planned(context: &Context, cluster: &Cluster, settings: &Settings) -> anyhow::Result<Self> {
        let (mut jobs, mut claims) = (Vec::new(), Vec::new());
        for read_only in [false, true] {
            let spec = serde_json::from_value(serde_json::json!({
                "agent": context.agent,
                "prompt": "-",
                "runtime": context.runtime.program(),
                "readOnly": read_only,
                // Tasks name theirs where the settings name none.
                "repository": settings.repository.as_deref().unwrap_or("owner/name"),
            }))?;
            let task = AgentTask::new("preflight", spec);
            let plan = plan(&task, settings, &cluster.namespace, "preflight")
                .map_err(|impossible| Fault::failed(impossible.0))?;
            for object in plan.objects {
                match object {
                    Object::Job(job) => jobs.push(*job),
                    Object::Claim(claim) => claims.push(*claim),
                    Object::Volume(_) | Object::CronJob(_) => {}
                }
            }
        }
        Ok(Self { jobs, claims })
    }

    /// The pods' labels.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &BTreeMap<String, String>> {
        let templates = self.jobs.iter().filter_map(|job| job.spec.as_ref()).map(|job| &job.template);
        templates.filter_map(|template| template.metadata.as_ref()?.labels.as_ref())
    }

    /// The pods.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &PodSpec> {
        self.jobs.iter().filter_map(|job| job.spec.as_ref()?.template.spec.as_ref())
    }
}

/// The finding where the caller may not look.
pub(crate) fn hidden(what: &str, right: &str) -> Finding {
    Finding::Unknown {
        detail: format!("unknown: this caller may not read {what}"),
        remedy: format!("let somebody look who may {right}"),
    }
}
