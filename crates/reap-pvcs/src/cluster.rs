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
use serde_json::{Value, json};

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
        let phase = if ended.failed { Phase::Failed } else { Phase::Succeeded };
        let annotations = json!({ PHASE: phase, FINISHED_AT: ended.at });
        self.patch("annotating", target, json!({ "metadata": { "annotations": annotations } })).await
    }

    /// Tells whoever made a volume that retains it to delete it, if it still is what was listed; `false` where it is not.
    pub(crate) async fn give_to_provisioner(&self, target: Target<'_>) -> anyhow::Result<bool> {
        let patch = json!({ "spec": { "persistentVolumeReclaimPolicy": "Delete" } });
        self.patch("giving to its storage class", target, patch).await
    }

    async fn patch(&self, doing: &str, target: Target<'_>, mut patch: Value) -> anyhow::Result<bool> {
        let what = format!("{doing} {}/{}", target.collection, target.name);
        patch["metadata"]["uid"] = target.uid.into();
        patch["metadata"]["resourceVersion"] = target.resource_version.into();
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

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    /// A server that has these answers, in their order; and the queries that it was asked.
    fn server(answers: Vec<(u16, Value)>) -> (Cluster, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answers, log) = (Arc::new(Mutex::new(VecDeque::from(answers))), Arc::clone(&asked));
        let service = tower::service_fn(move |request: Request<Body>| {
            log.lock().unwrap().push(request.uri().query().unwrap_or_default().to_owned());
            let (status, body) = answers.lock().unwrap().pop_front().unwrap();
            let response = Response::builder().status(status).body(Body::from(body.to_string().into_bytes()));
            async move { Ok::<_, Infallible>(response.unwrap()) }
        });
        (Cluster::new(Client::new(service, "default")), asked)
    }

    fn page(items: &[u32], next: &str) -> (u16, Value) {
        (200, json!({ "metadata": { "continue": next }, "items": items }))
    }

    fn gone() -> (u16, Value) {
        let message = "The provided continue parameter is too old";
        (
            410,
            json!({ "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": message }),
        )
    }

    async fn listed(cluster: &Cluster) -> anyhow::Result<Vec<u32>> {
        cluster.list("/api/v1/pods", Some("a=b"), |all: &mut Vec<u32>, one| all.push(one)).await
    }

    /// K5
    #[tokio::test]
    async fn a_list_that_the_server_has_forgotten_is_begun_again_and_nothing_counts_twice() {
        let (cluster, asked) = server(vec![page(&[1, 2], "t1"), gone(), page(&[2, 3], "t2"), page(&[4], "")]);
        assert_eq!(listed(&cluster).await.unwrap(), [2, 3, 4]);
        let asked = asked.lock().unwrap().clone();
        let continued = |query: &String| {
            query.split('&').find_map(|part| part.strip_prefix("continue=")).map(str::to_owned)
        };
        let tokens: Vec<_> = asked.iter().map(continued).collect();
        assert_eq!(tokens, [None, Some("t1".to_owned()), None, Some("t2".to_owned())]);
        assert!(
            asked.iter().all(|query| query.contains("limit=250") && query.contains("labelSelector=a%3Db")),
            "{asked:?}"
        );
    }

    /// K5
    #[tokio::test]
    async fn a_list_that_is_forgotten_again_and_again_is_worth_another_try_later() {
        let answers = (0..=RESTARTS).flat_map(|_| [page(&[1], "t"), gone()]).collect();
        let error = listed(&server(answers).0).await.unwrap_err();
        assert_eq!(error.downcast_ref::<Fault>().unwrap().exit(), agent_task::Exit::Retry);
    }

    /// K5
    #[tokio::test]
    async fn a_kind_that_the_cluster_does_not_have_has_no_objects() {
        let missing = json!({ "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "no" });
        assert_eq!(listed(&server(vec![(404, missing)]).0).await.unwrap(), Vec::<u32>::new());
    }
}
