//! Who asks, for what: the App's credentials and the repository, from arguments and environment.

use crate::args::{ApiArgs, AppArgs};
use crate::key::Key;
use agent_task::{names, secret};
use anyhow::Context as _;
use piece::Fault;

const APP_ID: &str = "GITHUB_APP_ID";
const PRIVATE_KEY: &str = "GITHUB_APP_PRIVATE_KEY";

/// The App, able to sign.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// The JWT's `iss`: the client id, or the App id.
    pub(crate) issuer: String,
    /// The private key.
    pub(crate) key: Key,
}

/// `owner/name`, each part checked to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub(crate) owner: String,
    pub(crate) name: String,
}

impl Repository {
    /// The two with a solidus between them.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// GitHub's names differ in case at most.
    pub(crate) fn is(&self, full_name: &str) -> bool {
        self.full_name().eq_ignore_ascii_case(full_name)
    }
}

impl AppArgs {
    /// The App's id, with the white space of a file or a secret's editor gone.
    pub(crate) fn issuer(&self) -> Option<&str> {
        given(self.app_id.as_deref())
    }

    /// The API's URL; set to nothing, it is the default.
    #[must_use]
    pub fn api_url(&self) -> &str {
        self.api.url()
    }

    /// # Errors
    /// A usage fault where it is no number.
    pub(crate) fn installation(&self) -> Result<Option<u64>, Fault> {
        given(self.installation_id.as_deref())
            .map(|text| {
                text.parse().map_err(|_| {
                    Fault::usage(format!("the installation id '{text}' is not a number"))
                        .hint("it stands at the end of the installation's URL; leave it out to find it by the repository")
                })
            })
            .transpose()
    }

    /// # Errors
    /// A denied fault where id or key is missing, or the key is none.
    pub(crate) fn credentials(&self) -> anyhow::Result<Credentials> {
        let key = secret::from_env(PRIVATE_KEY).context(
            Fault::denied("the GitHub App's key cannot be read").hint(format!(
                "give {PRIVATE_KEY} the key itself, or {PRIVATE_KEY}_FILE the name of its file"
            )),
        )?;
        let missing: Vec<&str> = [(APP_ID, self.issuer().is_some()), (PRIVATE_KEY, key.is_some())]
            .into_iter()
            .filter_map(|(name, is_set)| (!is_set).then_some(name))
            .collect();
        let (Some(issuer), Some(key)) = (self.issuer(), key) else {
            return Err(Fault::denied(format!("no GitHub App to mint with: {} is not set", missing.join(" and ")))
                .hint(format!(
                    "set {APP_ID} to the App's client id and {PRIVATE_KEY}_FILE (or {PRIVATE_KEY}) to its private key"
                ))
                .into());
        };
        let key = Key::read(&key).map_err(|error| {
            Fault::denied(format!("{PRIVATE_KEY}: {error}"))
                .hint("download a private key in the App's settings; its file can be given as it is")
        })?;
        Ok(Credentials { issuer: issuer.to_owned(), key })
    }
}

impl ApiArgs {
    /// The API's URL; the variable set to nothing means the default.
    pub(crate) fn url(&self) -> &str {
        given(Some(&self.api_url)).unwrap_or(api_client::github::API_URL)
    }
}

/// What was given, trimmed; a variable set to nothing counts as unset.
pub(crate) fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// The repository that was given.
///
/// # Errors
/// A usage fault where there is none, or it is not `owner/name`.
pub(crate) fn repository(text: Option<&str>) -> Result<Repository, Fault> {
    let text = given(text).ok_or_else(|| {
        Fault::usage("no repository: a token is for one repository only")
            .hint("give --repo owner/name, or set GITHUB_REPOSITORY")
    })?;
    parse_repository(text)
}

/// # Errors
/// A usage fault where `text` is not `owner/name`.
pub(crate) fn parse_repository(text: &str) -> Result<Repository, Fault> {
    let (owner, name) = names::owner_and_name(text).map_err(|error| Fault::usage(error.to_string()))?;
    Ok(Repository { owner: owner.to_owned(), name: name.to_owned() })
}
