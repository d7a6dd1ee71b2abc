//! `revoke`: ends a token's life before its hour is over.

use crate::args::RevokeArgs;
use agent_task::{Exit, Secret, secret};
use anyhow::Context as _;
use api_client::{Client, github::Api};
use piece::{Fault, output};
use serde::{Deserialize, Serialize};
use std::io::{IsTerminal as _, Read as _};
use zeroize::Zeroizing;

#[derive(Serialize)]
struct Revocation {
    kind: &'static str,
    /// False: GitHub did not know the token, so there was nothing to end.
    revoked: bool,
}

pub(crate) fn run(client: &Client, args: &RevokeArgs) -> anyhow::Result<Exit> {
    let RevokeArgs { api } = args;
    let api = Api::new(client, api.url())?;
    let token = match piped()? {
        Some(token) => token,
        None => secret::from_env("GITHUB_TOKEN")
            .context(Fault::usage("the token to revoke cannot be read"))?
            .ok_or_else(|| {
                Fault::usage("no token to revoke: stdin is empty and GITHUB_TOKEN is not set")
                    .hint("as in: mint-gh-token --repo octo/blog | mint-gh-token revoke")
            })?,
    };
    if !crate::token::is_sound(token.expose()) {
        return Err(Fault::usage("what was given to revoke is not one token")
            .hint("as in: mint-gh-token --repo octo/blog | mint-gh-token revoke")
            .into());
    }
    let revoked = crate::github::revoke(&api, &token)?;
    if !revoked {
        client.tell("GitHub does not know the token (any more): nothing to revoke");
    }
    output::line(&Revocation { kind: "TokenRevocation", revoked })?;
    Ok(Exit::Done)
}

/// The token on stdin, if somebody put one there.
fn piped() -> anyhow::Result<Option<Secret>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(None);
    }
    let mut text = Zeroizing::new(String::new());
    stdin.lock().read_to_string(&mut text).context(Fault::usage("stdin is not a token"))?;
    Ok(token_in(&text))
}

/// The token in `text`: the text itself, or the `token` of the document that minting prints.
fn token_in(text: &str) -> Option<Secret> {
    #[derive(Deserialize)]
    struct Document {
        token: String,
    }
    let text = text.trim();
    match serde_json::from_str::<Document>(text) {
        Ok(document) => Some(Secret::new(document.token)),
        Err(_) => Some(text).filter(|text| !text.is_empty()).map(Secret::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_text_or_as_the_document() {
        for text in ["ghs_x", " ghs_x\n", r#"{"kind":"InstallationToken","token":"ghs_x"}"#] {
            assert_eq!(token_in(text), Some(Secret::new("ghs_x")), "{text}");
        }
        assert_eq!(token_in(" \n"), None);
    }
}
