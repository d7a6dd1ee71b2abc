//! `repository`: the work tree is one that a run could begin in, and its remote is known.

use crate::check::Finding;
use crate::context::Context;
use agent_task::names;

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let checkout = context.checkout()?;
    let ready = checkout.check(&context.base)?;
    let (repository, given) = context.repository()?;
    let commit = ready.commit.get(..10).unwrap_or(&ready.commit);
    let place = match &ready.branch {
        Some(branch) => format!("{branch} at {commit}"),
        None => format!("{commit}, on no branch"),
    };
    let origin = checkout.origin().as_deref().and_then(owner_and_name);
    if given && origin.is_some_and(|origin| !origin.eq_ignore_ascii_case(&repository)) {
        return Ok(Finding::Warning {
            detail: format!("clean, {place}, for {repository}, which is not what the remote origin names"),
            remedy:
                "correct --repo or GITHUB_REPOSITORY, unless the run is for another repository on purpose"
                    .to_owned(),
        });
    }
    Ok(Finding::Good(format!("clean, {place}, for {} of {repository}", context.base)))
}

/// `owner/name` at the end of a remote's URL, whatever its form.
pub(crate) fn owner_and_name(url: &str) -> Option<String> {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    let (rest, name) = url.rsplit_once('/')?;
    let owner = rest.rsplit(['/', ':']).next()?;
    let host = rest.strip_suffix(owner)?;
    // A path on this machine is no repository on GitHub, nor is a host an owner.
    let is_remote = host.contains(':') && !host.ends_with("//");
    let full_name = format!("{owner}/{name}");
    (is_remote && names::owner_and_name(&full_name).is_ok()).then_some(full_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remotes_url_names_its_repository() {
        for url in [
            "https://github.com/octo/blog.git",
            "https://github.com/octo/blog",
            "https://github.com/octo/blog/",
            "git@github.com:octo/blog.git",
            "ssh://git@github.com:22/octo/blog.git",
            "http://127.0.0.1:81/octo/blog.git",
        ] {
            assert_eq!(owner_and_name(url).as_deref(), Some("octo/blog"), "{url}");
        }
        for url in ["", "blog", "/srv/git/blog.git", "../octo/blog", "https://github.com/octo/", "file.git"] {
            assert_eq!(owner_and_name(url), None, "{url}");
        }
    }
}
