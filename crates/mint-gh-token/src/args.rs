//! What can be typed.

use clap::{Parser, Subcommand, ValueEnum};

/// Mints a GitHub App installation token for one repository, with the permissions asked for and no more.
///
/// The App's credentials come from the environment: GITHUB_APP_ID (the client id, or the App id) and GITHUB_APP_PRIVATE_KEY, or
/// GITHUB_APP_PRIVATE_KEY_FILE with the name of a file. The key may be a PEM (PKCS#1 or PKCS#8), a PEM with \n written out, or the
/// base64 of a PEM.
#[derive(Debug, Parser)]
#[command(
    name = "mint-gh-token",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  mint-gh-token --repo octo/blog
  mint-gh-token --repo octo/blog --read-only --format token | mint-gh-token revoke
  git -c credential.helper= -c credential.helper='!mint-gh-token git-credential' \\
      -c credential.useHttpPath=true ls-remote https://github.com/octo/blog

Exit codes: 0 done, 1 failed, 2 usage, 3 worth a retry (network, limits), 4 not allowed (credentials, permissions)."
)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) mint: MintArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Speaks git's credential helper protocol: reads what git needs on stdin, answers with a token.
    GitCredential(CredentialArgs),
    /// Ends a token's life: the one on stdin (as text, or as the JSON that minting prints), else GITHUB_TOKEN(_FILE).
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct MintArgs {
    /// The repository the token is for.
    #[arg(long, value_name = "OWNER/NAME", env = "GITHUB_REPOSITORY", hide_env_values = true)]
    pub(crate) repo: Option<String>,
    #[command(flatten)]
    pub(crate) permissions: PermissionArgs,
    /// What to print: a JSON document, the token alone, or GITHUB_TOKEN=… lines.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) app: AppArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PermissionArgs {
    /// A permission that the token gets, as contents=read. Can be given several times.
    ///
    /// Without any: contents=write and pull_requests=write, as git's credential helper contents=write alone.
    #[arg(long = "permission", value_name = "NAME=LEVEL", value_delimiter = ',')]
    pub(crate) permissions: Vec<String>,
    /// A token that changes nothing: contents=read, or the permissions given, of which none may be above read.
    #[arg(long)]
    pub(crate) read_only: bool,
}

/// Which GitHub App mints, and where. Its key is not among it: that is read when it is needed.
#[derive(Debug, clap::Args)]
pub struct AppArgs {
    /// The App's client id, or its App id.
    #[arg(long, value_name = "ID", env = "GITHUB_APP_ID", hide_env_values = true)]
    pub(crate) app_id: Option<String>,
    /// The App's installation on the repository's owner. Found by the repository if not given.
    #[arg(long, value_name = "ID", env = "GITHUB_APP_INSTALLATION_ID", hide_env_values = true)]
    pub(crate) installation_id: Option<String>,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ApiArgs {
    /// GitHub's API: https://HOST/api/v3 for an Enterprise server.
    #[arg(long, value_name = "URL", env = "GITHUB_API_URL", hide_env_values = true, default_value = api_client::github::API_URL)]
    pub(crate) api_url: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  git config credential.https://github.com.helper '!mint-gh-token git-credential'
  git config credential.https://github.com.useHttpPath true
  printf 'protocol=https\\nhost=github.com\\npath=octo/blog.git\\n' | mint-gh-token git-credential get")]
pub(crate) struct CredentialArgs {
    /// get, store or erase. git adds it. What the helper does not know is passed over, as git's protocol asks.
    #[arg(value_name = "OPERATION")]
    pub(crate) operation: String,
    /// The repository the token is for, where git gives no path (credential.useHttpPath).
    #[arg(long, value_name = "OWNER/NAME", env = "GITHUB_REPOSITORY", hide_env_values = true)]
    pub(crate) repo: Option<String>,
    #[command(flatten)]
    pub(crate) permissions: PermissionArgs,
    /// The server that is answered for; git goes on alone for every other.
    #[arg(
        long,
        value_name = "URL",
        env = "GITHUB_SERVER_URL",
        hide_env_values = true,
        default_value = "https://github.com"
    )]
    pub(crate) server_url: String,
    #[command(flatten)]
    pub(crate) app: AppArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mint-gh-token --repo octo/blog | mint-gh-token revoke")]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

impl AppArgs {
    /// What the environment says: GITHUB_APP_ID, GITHUB_APP_INSTALLATION_ID, GITHUB_API_URL.
    #[must_use]
    pub fn from_env() -> Self {
        let set = |name: &str| std::env::var(name).ok();
        let api_url = set("GITHUB_API_URL").unwrap_or_default();
        Self {
            app_id: set("GITHUB_APP_ID"),
            installation_id: set("GITHUB_APP_INSTALLATION_ID"),
            api: ApiArgs { api_url },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON document.
    Json,
    /// The token and a line break.
    Token,
    /// GITHUB_TOKEN and GITHUB_TOKEN_EXPIRES_AT, for a shell or an --env-file.
    Env,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
