//! `git-credential`: git asks, a token answers.
//!
//! Source: git-credential(1), "INPUT/OUTPUT FORMAT", and gitcredentials(7), "CUSTOM HELPERS".

use crate::app::{self, Repository};
use crate::args::CredentialArgs;
use crate::cache::{self, Entry, Purpose, Unusable};
use crate::github::{self, Wish};
use crate::narrow::Permissions;
use crate::token::Minted;
use agent_task::{Exit, Secret};
use anyhow::Context as _;
use api_client::{Client, Url, endpoint, github::Api};
use piece::{Fault, output};
use std::io::{IsTerminal as _, Read as _};
use zeroize::Zeroizing;

const EXAMPLE: &str =
    "printf 'protocol=https\\nhost=github.com\\npath=octo/blog.git\\n' | mint-gh-token git-credential get";

/// The user name that GitHub wants beside an installation token.
const USERNAME: &str = "x-access-token";

/// What git says of the credential that it needs, or that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    protocol: String,
    host: String,
    path: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
}

impl Description {
    /// Reads `name=value` lines up to an empty one. Names that are not known are git's of other versions.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines().take_while(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once('=') else { continue };
            match name {
                "protocol" => value.clone_into(&mut found.protocol),
                "host" => value.clone_into(&mut found.host),
                "path" => found.path = Some(value.to_owned()),
                "username" => found.username = Some(value.to_owned()),
                "password" => found.password = Some(Secret::new(value)),
                _ => {}
            }
        }
        found
    }

    /// Whether it is about `server`, and about a user that a token can stand for.
    #[must_use]
    pub fn is_about(&self, server: &Url) -> bool {
        // To the letter: a parser of URLs makes the same host of `github.com\x`, of `me@github.com` and of `git hub.com` with a
        // tab in it, and who is asked in the end is git's to say.
        let host = server.host_str().unwrap_or_default();
        let authority = |port: Option<u16>| port.map_or(host.to_owned(), |port| format!("{host}:{port}"));
        self.protocol == server.scheme()
            && [server.port(), server.port_or_known_default()]
                .into_iter()
                .any(|port| authority(port).eq_ignore_ascii_case(&self.host))
            && self.username.as_deref().is_none_or(|name| name == USERNAME)
    }

    /// The repository that the path names, below the server's own path: `octo/blog.git`, `octo/blog.git/info/lfs`.
    #[must_use]
    pub fn repository(&self, server: &Url) -> Option<Repository> {
        let base = server.path().trim_matches('/');
        let path = self.path.as_deref()?.trim_start_matches('/');
        let path = if base.is_empty() { path } else { path.strip_prefix(base)?.strip_prefix('/')? };
        let mut parts = path.split('/');
        let (owner, name) = (parts.next()?, parts.next()?);
        app::parse_repository(&format!("{owner}/{}", name.strip_suffix(".git").unwrap_or(name))).ok()
    }
}

pub(crate) fn run(client: &Client, args: CredentialArgs) -> anyhow::Result<Exit> {
    // Tokens are ours to make: git has none to store. What git may ask in later versions is to be passed over.
    if !matches!(args.operation.as_str(), "get" | "erase") {
        return Ok(Exit::Done);
    }
    let description = read()?;
    let server = app::given(Some(&args.server_url)).unwrap_or("https://github.com");
    let server = endpoint::base("GITHUB_SERVER_URL", server)?;
    if !description.is_about(&server) {
        return Ok(Exit::Done);
    }
    let CredentialArgs { operation, repo, permissions, server_url: _, app } = args;
    let repository = match (&description.path, description.repository(&server)) {
        (_, Some(repository)) => repository,
        // A path that is no repository's, as a gist's: no token of ours is for it.
        (Some(_), None) => return Ok(Exit::Done),
        (None, None) => app::repository(repo.as_deref()).map_err(|fault| {
            fault.hint(
                "set credential.useHttpPath to true in git, or give --repo owner/name or GITHUB_REPOSITORY",
            )
        })?,
    };
    let wish = Wish {
        repository,
        permissions: permissions.resolve(&Permissions::PUSH)?,
        installation: app.installation()?,
    };
    let full_name = wish.repository.full_name();
    if operation == "erase" {
        if let Some(issuer) = app.issuer() {
            let purpose = Purpose {
                issuer,
                api_url: app.api_url(),
                repository: &full_name,
                permissions: &wish.permissions,
            };
            erase(&purpose, description.password.as_ref())?;
        }
        return Ok(Exit::Done);
    }
    let credentials = app.credentials()?;
    let purpose = Purpose {
        issuer: &credentials.issuer,
        api_url: app.api_url(),
        repository: &full_name,
        permissions: &wish.permissions,
    };
    let api = Api::new(client, app.api_url())?;
    let minted = cached(client, &purpose, || github::mint(&api, &credentials, &wish))?;
    output::bytes(answer(&minted).as_bytes())?;
    Ok(Exit::Done)
}

fn read() -> anyhow::Result<Description> {
    let stdin = std::io::stdin();
    let wrong = |what: &str| {
        Fault::usage(format!("expected git's description of a credential on stdin, which {what}"))
            .hint(format!("as in: {EXAMPLE}"))
    };
    if stdin.is_terminal() {
        return Err(wrong("is a terminal").into());
    }
    let mut text = Zeroizing::new(String::new());
    stdin.lock().read_to_string(&mut text).context(wrong("is not text"))?;
    if text.trim().is_empty() {
        return Err(wrong("is empty").into());
    }
    let description = Description::parse(&text);
    if description.protocol.is_empty() || description.host.is_empty() {
        return Err(wrong("names no protocol and host").into());
    }
    Ok(description)
}

/// The kept token while it is fresh, else one that `mint` makes; other gits wait for it.
fn cached(
    client: &Client,
    purpose: &Purpose<'_>,
    mint: impl FnOnce() -> anyhow::Result<Minted>,
) -> anyhow::Result<Minted> {
    let entry = match locked(purpose) {
        Ok(entry) => entry,
        Err(Unusable::Refused(fault)) => return Err(fault.into()),
        Err(Unusable::Absent(why)) => {
            client.tell(&format!("no token cache, one is minted for every call ({why})"));
            return mint();
        }
    };
    match entry.read() {
        Ok(Some(kept)) if cache::is_fresh(&kept, client.clock().now()) => return Ok(kept),
        Ok(_) | Err(Unusable::Absent(_)) => {}
        Err(Unusable::Refused(fault)) => return Err(fault.into()),
    }
    let minted = mint()?;
    if let Err(error) = entry.write(&minted) {
        client.tell(&format!("the token is not cached: {error:#}"));
    }
    Ok(minted)
}

fn erase(purpose: &Purpose<'_>, password: Option<&Secret>) -> anyhow::Result<()> {
    let entry = match locked(purpose) {
        Ok(entry) => entry,
        Err(Unusable::Refused(fault)) => return Err(fault.into()),
        Err(Unusable::Absent(_)) => return Ok(()),
    };
    match entry.read() {
        // Another git may have fetched a newer one since: that one stays.
        Ok(Some(kept)) if password.is_none_or(|password| *password == kept.token) => entry.remove(),
        Ok(_) | Err(Unusable::Absent(_)) => Ok(()),
        Err(Unusable::Refused(fault)) => Err(fault.into()),
    }
}

fn locked(purpose: &Purpose<'_>) -> Result<Entry, Unusable> {
    let directory = cache::directory(|name| std::env::var_os(name))
        .ok_or_else(|| Unusable::Absent("neither XDG_CACHE_HOME nor HOME is set".to_owned()))?;
    Entry::lock(&directory, purpose)
}

fn answer(minted: &Minted) -> Zeroizing<String> {
    // git compares with our clock.
    let expires = minted.expires_at.as_second().saturating_sub(minted.skew.as_secs());
    Zeroizing::new(format!(
        "username={USERNAME}\npassword={}\npassword_expiry_utc={expires}\n",
        minted.token.expose()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Url {
        endpoint::base("X", url).unwrap()
    }

    #[test]
    fn only_the_configured_server_is_answered_for() {
        let is_about = |text: &str, url: &str| Description::parse(text).is_about(&server(url));
        let github = "https://github.com";
        assert!(is_about("protocol=https\nhost=github.com\n", github));
        assert!(is_about("protocol=https\nhost=GitHub.com:443\nusername=x-access-token\n", github));
        assert!(is_about("protocol=http\nhost=127.0.0.1:81\n", "http://127.0.0.1:81"));
        for other in [
            "protocol=http\nhost=github.com\n",
            "protocol=https\nhost=gitlab.com\n",
            "protocol=https\nhost=github.com.evil.example\n",
            "protocol=https\nhost=github.com:8443\n",
            "protocol=https\nhost=github.com\nusername=octocat\n",
            "protocol=ssh\nhost=github.com\n",
            "protocol=https\nhost=me@github.com\n",
            "protocol=https\nhost=github.com/evil.example\n",
            "protocol=https\nhost=github.com\\evil.example\n",
            "protocol=https\nhost=github.com#evil.example\n",
            "protocol=https\nhost=git\thub.com\n",
            "protocol=https\nhost=github.com:\n",
            "host=github.com\n",
        ] {
            assert!(!is_about(other, github), "{other}");
        }
        assert!(!is_about("protocol=http\nhost=127.0.0.1:82\n", "http://127.0.0.1:81"));
    }

    #[test]
    fn the_path_names_the_repository() {
        let named = |path: &str, url: &str| {
            Description::parse(&format!("protocol=https\nhost=h\npath={path}\n"))
                .repository(&server(url))
                .map(|repository| repository.full_name())
        };
        for path in ["octo/blog.git", "octo/blog", "octo/blog.git/info/lfs", "/octo/blog.git/"] {
            assert_eq!(named(path, "https://github.com").as_deref(), Some("octo/blog"), "{path}");
        }
        assert_eq!(named("git/octo/blog.git", "https://h/git/").as_deref(), Some("octo/blog"));
        assert_eq!(named("github/octo/blog.git", "https://h/git/"), None, "another folder");
        for path in ["octo", "", "octo/", "../blog", "octo/.git"] {
            assert_eq!(named(path, "https://github.com"), None, "{path}");
        }
        assert_eq!(Description::parse("protocol=https\nhost=h\n").repository(&server("https://h")), None);
    }

    #[test]
    fn a_description_ends_at_an_empty_line_and_may_hold_what_we_do_not_know() {
        let text =
            "capability[]=authtype\nprotocol=https\nhost=h\nwwwauth[]=Basic realm=\"x\"\n\nhost=evil\n";
        let expected = Description { protocol: "https".into(), host: "h".into(), ..Description::default() };
        assert_eq!(Description::parse(text), expected);
    }
}
