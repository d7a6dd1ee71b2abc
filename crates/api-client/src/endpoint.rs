//! The URLs that a person or a variable gives: which of them may be asked.

use piece::Fault;
use url::{Host, Url};

/// The URL in `text`, which `source` (a variable or an option) holds: `https`, or `http` to this machine itself.
///
/// # Errors
/// A usage fault that names `source` and at most the host: the rest of the URL may be a secret.
pub fn parse(source: &str, text: &str) -> Result<Url, Fault> {
    let url =
        Url::parse(text.trim()).map_err(|error| Fault::usage(format!("{source} is not a URL: {error}")))?;
    check(&url).map_err(|why| Fault::usage(format!("{source} {why}")))?;
    Ok(url)
}

/// [`parse`] for the base of an API or a server: no query, no fragment, and [`join`] puts paths behind it.
///
/// # Errors
/// As [`parse`].
pub fn base(source: &str, text: &str) -> Result<Url, Fault> {
    let mut url = parse(source, text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Fault::usage(format!("{source} has a query or a fragment: give the part before it")));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// `base` with `segments` behind its path, each percent-encoded.
#[must_use]
pub fn join(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    // Only a URL that cannot be a base has no segments, and `check` lets http and https through alone.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// Whether `url` may be asked; else what is wrong with it, as the end of a sentence.
pub(crate) fn check(url: &Url) -> Result<(), String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password: credentials have variables of their own".to_owned());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" => Err(format!(
            "is http to {}: only https is allowed to another machine",
            url.host_str().unwrap_or("nowhere")
        )),
        other => Err(format!("begins with {other}:, not with https:")),
    }
}

/// Whether `url`'s host is this machine by its name or address alone.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for good in
            ["https://api.github.com", "http://127.0.0.1:8080/api/v3", "http://[::1]:1", "http://localhost"]
        {
            assert!(parse("X", good).is_ok(), "{good}");
        }
        for bad in [
            "http://api.github.com",
            "http://127.0.0.1.evil.example",
            "http://10.0.0.1",
            "ftp://a",
            "a/b",
            "",
        ] {
            assert_eq!(parse("X", bad).unwrap_err().exit(), agent_task::Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn an_error_shows_no_path_and_no_password() {
        let error = parse("DISCORD_WEBHOOK_URL", "http://discord.com/api/webhooks/1/s3cret").unwrap_err();
        assert_eq!(
            error.to_string(),
            "DISCORD_WEBHOOK_URL is http to discord.com: only https is allowed to another machine"
        );
        assert!(!parse("X", "https://u:s3cret@github.com").unwrap_err().to_string().contains("s3cret"));
    }

    #[test]
    fn segments_go_behind_an_enterprise_base_and_are_encoded() {
        for base_url in ["https://ghe.example/api/v3", "https://ghe.example/api/v3/"] {
            let base = base("X", base_url).unwrap();
            assert_eq!(
                join(&base, &["repos", "octo", "a/../b?c"]).as_str(),
                "https://ghe.example/api/v3/repos/octo/a%2F..%2Fb%3Fc"
            );
        }
        let root = base("X", "https://api.github.com").unwrap();
        assert_eq!(join(&root, &["user"]).as_str(), "https://api.github.com/user");
    }
}
