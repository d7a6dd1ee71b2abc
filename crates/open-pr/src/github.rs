//! Pull requests at GitHub: finding, opening, refreshing, labelling.

use crate::plan::Wanted;
use agent_task::{Secret, names};
use api_client::github::{self, Api, Refused};
use api_client::{Method, Request, Response};
use piece::Fault;
use serde::Deserialize;
use serde_json::json;

/// A pull request as GitHub tells it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Pull {
    pub(crate) number: u64,
    pub(crate) html_url: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) draft: bool,
    /// Also in lists, unlike `merged`.
    #[serde(default)]
    pub(crate) merged_at: Option<String>,
    pub(crate) title: String,
    /// `null` where it is empty.
    pub(crate) body: Option<String>,
    pub(crate) head: End,
    pub(crate) base: End,
}

impl Pull {
    pub(crate) const fn is_merged(&self) -> bool {
        self.merged_at.is_some()
    }
}

/// One end of a pull request: a branch, and where it is.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct End {
    #[serde(rename = "ref")]
    pub(crate) branch: String,
    pub(crate) sha: String,
}

/// What became of the wish to open one.
#[derive(Debug)]
pub(crate) enum Opened {
    /// It is there.
    Created(Box<Pull>),
    /// There is one already.
    Exists,
    /// This repository has no drafts (a private one of a free account).
    NoDrafts,
}

/// The pull requests of one repository.
#[derive(Debug)]
pub(crate) struct Pulls<'a> {
    api: &'a Api<'a>,
    token: &'a Secret,
    owner: &'a str,
    name: &'a str,
}

impl<'a> Pulls<'a> {
    /// Those of `repository`, `owner/name`.
    pub(crate) fn new(api: &'a Api<'a>, token: &'a Secret, repository: &'a str) -> Result<Self, Fault> {
        let (owner, name) =
            names::owner_and_name(repository).map_err(|error| Fault::usage(error.to_string()))?;
        Ok(Self { api, token, owner, name })
    }

    /// The pull request of this branch into this base: the open one, else the one that was merged with the branch at this commit (as a
    /// merge, squashed or rebased: the branch may be gone).
    pub(crate) fn find(
        &self,
        head_owner: &str,
        branch: &str,
        base: &str,
        head: &str,
    ) -> anyhow::Result<Option<Pull>> {
        let request = self
            .request(Method::GET, &["pulls"])
            .query("state", "all")
            .query("head", &format!("{head_owner}:{branch}"))
            .query("base", base);
        let mut found: Vec<Pull> = self.ask(&request, "looking for the pull request")?.json()?;
        // GitHub ignores a filter that it does not understand, and then lists everything.
        found.retain(|pull| pull.head.branch == branch && pull.base.branch == base);
        let open = found.iter().position(|pull| pull.state == "open");
        let merged = || found.iter().position(|pull| pull.is_merged() && pull.head.sha == head);
        Ok(open.or_else(merged).map(|at| found.swap_remove(at)))
    }

    /// Opens it.
    pub(crate) fn open(&self, wanted: &Wanted, draft: bool) -> anyhow::Result<Opened> {
        const DOING: &str = "opening the pull request";
        let mut body = json!({
            "title": wanted.title,
            "body": wanted.body,
            "head": format!("{}:{}", wanted.head_owner(), wanted.branch),
            "base": wanted.base,
            "draft": draft,
            "maintainer_can_modify": false,
        });
        if let Some((owner, name)) = wanted.head_repository.split_once('/')
            && owner == self.owner
            && name != self.name
        {
            // A fork within one organisation: the owner alone does not say which repository.
            body["head_repo"] = name.into();
        }
        // A second one for the same branch is refused, and then found.
        let request = self.request(Method::POST, &["pulls"]).json(&body)?.replay_is_safe();
        match github::accepted(self.api.send(&request)?, DOING) {
            Ok(answer) => Ok(Opened::Created(Box::new(answer.json()?))),
            Err(refused) if refused.status == 422 && refused.message.contains("already exists") => {
                Ok(Opened::Exists)
            }
            Err(refused) if refused.status == 422 && draft && is_about_drafts(&refused.message) => {
                Ok(Opened::NoDrafts)
            }
            Err(refused) => Err(self.explained(refused).into()),
        }
    }

    /// Gives it a title, a body, or both.
    pub(crate) fn refresh(
        &self,
        number: u64,
        title: Option<&str>,
        body: Option<&str>,
    ) -> anyhow::Result<Pull> {
        let mut change = serde_json::Map::new();
        for (name, text) in [("title", title), ("body", body)] {
            if let Some(text) = text {
                change.insert(name.to_owned(), text.into());
            }
        }
        let request =
            self.request(Method::PATCH, &["pulls", &number.to_string()]).json(&change)?.replay_is_safe();
        Ok(self.ask(&request, "refreshing the pull request")?.json()?)
    }

    /// It, as it stands at this moment.
    pub(crate) fn read(&self, number: u64) -> anyhow::Result<Pull> {
        let request = self.request(Method::GET, &["pulls", &number.to_string()]);
        Ok(self.ask(&request, "reading the pull request")?.json()?)
    }

    /// Adds labels; those that it has stay.
    pub(crate) fn label(&self, number: u64, labels: &[String]) -> anyhow::Result<()> {
        let request = self
            .request(Method::POST, &["issues", &number.to_string(), "labels"])
            .json(&json!({ "labels": labels }))?
            .replay_is_safe();
        self.ask(&request, "labelling the pull request").map(|_| ())
    }

    fn request(&self, method: Method, path: &[&str]) -> Request {
        let segments: Vec<&str> = ["repos", self.owner, self.name].iter().chain(path).copied().collect();
        self.api.request(method, &segments).bearer(self.token)
    }

    fn ask(&self, request: &Request, doing: &str) -> anyhow::Result<Response> {
        github::accepted(self.api.send(request)?, doing).map_err(|refused| self.explained(refused).into())
    }

    /// What to do about a refusal, where it can be said.
    fn explained(&self, refused: Refused) -> Fault {
        let hint = match refused.status {
            401 => Some("the token is wrong, expired or revoked: mint one with mint-gh-token".to_owned()),
            403 => Some("the token needs pull_requests:write on the repository".to_owned()),
            404 => Some(format!(
                "is {}/{} right, and does the token cover it? GitHub shows no other difference",
                self.owner, self.name
            )),
            422 if refused.message.contains("No commits between") => {
                Some("the branch has nothing that the base has not".to_owned())
            }
            _ => None,
        };
        let fault = Fault::from(refused);
        match hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    }
}

fn is_about_drafts(message: &str) -> bool {
    message.to_ascii_lowercase().contains("draft pull requests are not supported")
}
