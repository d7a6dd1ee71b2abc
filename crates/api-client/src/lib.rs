//! HTTPS for the pieces that speak to an API: GitHub and Discord.
//!
//! What it does: sends one request over rustls with the system's roots (or `SSL_CERT_FILE`, `SSL_CERT_DIR`), through the
//! proxy that the environment names ([`proxy`]), with time limits and a bound on the answer's size; waits and asks again
//! where the server's headers say so ([`retry`]), one line on stderr a wait. Any status is a value, not an error.
//!
//! What it never does: send a credential over plain `http` to another machine ([`endpoint`]), follow a redirect (so no
//! credential reaches a host that was not asked for), or put a URL, a header or a body into an error: a webhook's URL is a secret.
//!
//! ```no_run
//! use api_client::{Client, github};
//!
//! fn pulls() -> anyhow::Result<Vec<serde_json::Value>> {
//!     let client = Client::new("open-pr", env!("CARGO_PKG_VERSION"));
//!     let api = github::Api::new(&client, "https://api.github.com")?;
//!     let token = agent_task::Secret::new("…");
//!     let request = api.get(&["repos", "octo", "blog", "pulls"]).query("state", "open").bearer(&token);
//!     // A server or network that stays broken leaves here, as a fault that ends the process with 3.
//!     let answer = api.send(&request)?;
//!     // A refusal (401, 403: 4; other: 1) leaves here, with GitHub's own words.
//!     Ok(github::accepted(answer, "listing the pull requests")?.json()?)
//! }
//! ```

pub mod client;
pub mod clock;
pub mod endpoint;
mod error;
pub mod github;
mod message;
pub mod proxy;
pub mod retry;
pub mod trust;

pub use client::Client;
pub use error::{Broken, Error};
pub use http::{Method, StatusCode};
pub use message::{Request, Response};
pub use url::Url;
