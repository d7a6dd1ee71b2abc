//! The API server: lists in pages, deletions with preconditions, annotations.

use crate::objects::{Deletion, Page};
use crate::users::Ended;
use agent_task::Phase;
use agent_task::labels::{FINISHED_AT, MANAGER, PHASE};
use anyhow::Context as _;
use cluster_client::{fault, status};
use kube::Client;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::Request;
use piece::Fault;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;

/// So many objects are held whole at a time; a pod with all that the server writes into it is some 10 kB.
const PAGE: u32 = 250;

/// A list may take longer than the server keeps its state; so often it is begun again.
const RESTARTS: u32 = 5;

/// Which object, for a call that changes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) collection: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) resource_version: &'a str,
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deleted {
    /// The object is gone.
    Gone,
    /// It goes as soon as what holds it is gone.
    Terminating,
    /// It was gone before.
    Absent,
    /// It is not what was decided about: changed, or another of the same name.
    Changed,
}

/// The API server.
pub(crate) struct Cluster {
    client: Client,
}

impl Cluster {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Hands every object of `collection` to `each`, with the state that it has gathered so far. Where the server has forgotten
    /// the list in the middle, all of it is gathered again.
    pub(crate) async fn list<T: DeserializeOwned, S: Default>(
        &self,
        collection: &str,
        selector: Option<&str>,
        each: impl Fn(&mut S, T),
    ) -> anyhow::Result<S> {
        let what = format!("listing {collection}");
        let (mut gathered, mut next, mut restarts) = (S::default(), None, 0);
        loop {
            let parameters = ListParams {
                label_selector: selector.map(str::to_owned),
                limit: Some(PAGE),
                continue_token: next.take(),
                ..ListParams::default()
            };
            let request = Request::new(collection).list(&parameters).context(Fault::usage(what.clone()))?;
            match self.client.request::<Page<T>>(request).await {
                Ok(page) => {
                    page.items.into_iter().for_each(|item| each(&mut gathered, item));
                    next = page.metadata.next.filter(|token| !token.is_empty());
                    if next.is_none() {
                        return Ok(gathered);
                    }
                }
                Err(error) if status(&error) == Some(410) && restarts < RESTARTS => {
                    restarts += 1;
                    gathered = S::default();
                }
                // The cluster does not have objects of this kind at all.
                Err(error) if status(&error) == Some(404) => return Ok(S::default()),
                Err(error) => return Err(fault(error, &what)),
            }
        }
    }

    /// Deletes `target`, if it still is what was listed.
    pub(crate) async fn delete(&self, target: Target<'_>) -> anyhow::Result<Deleted> {
        let what = format!("deleting {}/{}", target.collection, target.name);
        let parameters = DeleteParams::default().preconditions(Preconditions {
            uid: Some(target.uid.to_owned()),
            resource_version: Some(target.resource_version.to_owned()),
        });
        let request =
            Request::new(target.collection).delete(target.name, &parameters).context(what.clone())?;
        match self.client.request::<Deletion>(request).await {
            Ok(deletion) if deletion.is_done() => Ok(Deleted::Gone),
            Ok(_) => Ok(Deleted::Terminating),
            Err(error) => match status(&error) {
                Some(404) => Ok(Deleted::Absent),
                Some(409) => Ok(Deleted::Changed),
                _ => Err(fault(error, &what)),
            },
        }
    }

    /// Writes on `target` how its run ended, if it still is what was listed; `false` where it is not.
    pub(crate) async fn annotate(&self, target: Target<'_>, ended: Ended) -> anyhow::Result<bool> {
        let what = format!("annotating {}/{}", target.collection, target.name);
        let phase = if ended.failed { Phase::Failed } else { Phase::Succeeded };
        let patch = json!({ "metadata": {
            "uid": target.uid,
            "resourceVersion": target.resource_version,
            "annotations": { PHASE: phase, FINISHED_AT: ended.at },
        }});
        let request = Request::new(target.collection)
            .patch(
                target.name,
                &PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() },
                &Patch::Merge(patch),
            )
            .context(what.clone())?;
        match self.client.request::<IgnoredAny>(request).await {
            Ok(IgnoredAny) => Ok(true),
            Err(error) if matches!(status(&error), Some(404 | 409)) => Ok(false),
            Err(error) => Err(fault(error, &what)),
        }
    }
}
