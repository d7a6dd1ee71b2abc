//! Mints a GitHub App installation token for one repository and the permissions asked for.
//!
//! What it does: signs a JWT with the App's key, finds the installation on `owner/name`, asks for a token that is narrowed to
//! that repository and those permissions, and checks that no more was given. As git's credential helper it does so when git needs a
//! token, and keeps it in a file only its user can read until less than five minutes of it remain.
//!
//! What it never does: print or log the key; take a key or token as an argument; hand out a token that can do more than was asked
//! (it revokes that one and fails); answer git for a host that is not the configured one.
//!
//! stdin: nothing; with `git-credential` git's description of what it needs; with `revoke` the token. stdout:
//!
//! ```console
//! $ mint-gh-token --repo octo/blog
//! {"kind":"InstallationToken","token":"ghs_…","expiresAt":"2026-11-22T23:00:00Z","repository":"octo/blog",
//!  "permissions":{"contents":"write","pull_requests":"write"},"installationId":4711}
//! $ mint-gh-token --repo octo/blog --format token | mint-gh-token revoke
//! {"kind":"TokenRevocation","revoked":true}
//! ```
//!
//! As a library: [`mint`] makes the same token for a program that uses it itself, and [`revoke()`] ends it.

mod app;
mod args;
mod cache;
mod credential;
mod github;
mod key;
mod narrow;
mod revoke;
mod token;

pub use app::Repository;
pub use args::{AppArgs, Args};
pub use credential::Description;
pub use github::revoke;
pub use narrow::Permissions;
pub use token::Minted;

use agent_task::Exit;
use api_client::{Client, github::Api};
use args::{Command, Format, MintArgs};
use piece::output;

/// Runs the program.
///
/// # Errors
/// Faults with their exit code; see [`piece::main`].
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let client = Client::new("mint-gh-token", env!("CARGO_PKG_VERSION"));
    match args.command {
        None => print(&client, args.mint),
        Some(Command::GitCredential(args)) => credential::run(&client, args),
        Some(Command::Revoke(args)) => revoke::run(&client, &args),
    }
}

/// Mints a token that may push to `repository` (`owner/name`) and open pull requests there, and no more.
///
/// # Errors
/// Faults: 2 for what is no repository, 3 where GitHub stayed away, 4 where App, key, installation or permission is missing or
/// wrong, 1 where the token can do more than was asked (it is revoked).
pub fn mint(api: &Api<'_>, app: &AppArgs, repository: &str) -> anyhow::Result<Minted> {
    let wish = github::Wish {
        repository: app::parse_repository(repository)?,
        permissions: Permissions::of(&Permissions::PUBLISH),
        installation: app.installation()?,
    };
    github::mint(api, &app.credentials()?, &wish)
}

fn print(client: &Client, args: MintArgs) -> anyhow::Result<Exit> {
    let MintArgs { app, repo, permissions, format } = args;
    let repository = app::repository(repo.as_deref())?;
    let wish = github::Wish {
        repository,
        permissions: permissions.resolve(&narrow::Permissions::PUBLISH)?,
        installation: app.installation()?,
    };
    let api = Api::new(client, app.api_url())?;
    let minted = github::mint(&api, &app.credentials()?, &wish)?;
    match format {
        Format::Json => output::line(&token::Document::from(&minted))?,
        Format::Token => output::bytes(format!("{}\n", minted.token.expose()).as_bytes())?,
        Format::Env => output::bytes(token::environment(&minted).as_bytes())?,
    }
    Ok(Exit::Done)
}
