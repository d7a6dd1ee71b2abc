//! Permissions: what is asked for, and whether what came is more.

use crate::app::Repository;
use crate::args::PermissionArgs;
use piece::Fault;
use std::collections::BTreeMap;
use std::fmt;

/// Permissions by name, as `contents` → `write`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions(pub BTreeMap<String, String>);

/// A set of permissions that is asked for when none is named.
#[derive(Debug)]
pub(crate) struct Preset(&'static [(&'static str, &'static str)]);

impl Permissions {
    /// To push a branch and open its pull request.
    pub(crate) const PUBLISH: Preset = Preset(&[("contents", "write"), ("pull_requests", "write")]);
    /// To push.
    pub(crate) const PUSH: Preset = Preset(&[("contents", "write")]);
    /// To fetch.
    pub(crate) const READ: Preset = Preset(&[("contents", "read")]);

    pub(crate) fn of(preset: &Preset) -> Self {
        Self(preset.0.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect())
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(name, level)| format!("{name}={level}")).collect();
        f.write_str(&parts.join(", "))
    }
}

impl PermissionArgs {
    /// The permissions that were typed, else `preset`.
    ///
    /// # Errors
    /// A usage fault where one is not NAME=LEVEL, one is named twice, or one is above read with `--read-only`.
    pub(crate) fn resolve(&self, preset: &Preset) -> Result<Permissions, Fault> {
        let mut named = BTreeMap::new();
        for text in &self.permissions {
            let (name, level) = parse(text)?;
            if named.insert(name.to_owned(), level.to_owned()).is_some_and(|other| other != level) {
                return Err(Fault::usage(format!(
                    "the permission {name} is given twice, with different levels"
                )));
            }
        }
        if named.is_empty() {
            return Ok(Permissions::of(if self.read_only { &Permissions::READ } else { preset }));
        }
        let named = Permissions(named);
        if self.read_only && named.0.values().any(|level| level != "read") {
            return Err(Fault::usage(format!("--read-only does not go with {named}")));
        }
        Ok(named)
    }
}

fn parse(text: &str) -> Result<(&str, &str), Fault> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    text.split_once('=')
        .filter(|(name, level)| is_name(name) && rank(level).is_some())
        .ok_or_else(|| {
            Fault::usage(format!("the permission '{text}' is not NAME=LEVEL"))
                .hint("as in contents=read; the levels are read, write and admin, the names are those of GitHub's API (pull_requests, workflows)")
        })
}

fn rank(level: &str) -> Option<u8> {
    ["read", "write", "admin"].iter().position(|known| *known == level).and_then(|at| u8::try_from(at).ok())
}

/// How what came differs from what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// It can do or see more. It must not be used.
    Wider(String),
    /// It can do less. It is of no use.
    Narrower(String),
}

/// Compares a token with what was asked for. `metadata=read` comes with every token.
///
/// # Errors
/// The first difference; more is told before less.
pub(crate) fn compare(
    asked: &Permissions,
    repository: &Repository,
    got: &Permissions,
    selection: Option<&str>,
    repositories: &[String],
) -> Result<(), Mismatch> {
    // A token for every repository of the installation says `all` and lists none.
    if selection != Some("selected") || repositories.is_empty() {
        return Err(Mismatch::Wider("it is not limited to one repository".to_owned()));
    }
    if let Some(other) = repositories.iter().find(|name| !repository.is(name)) {
        return Err(Mismatch::Wider(format!("it is for {other}")));
    }
    for (name, level) in &got.0 {
        let allowed = asked.0.get(name).map(String::as_str).or((name == "metadata").then_some("read"));
        let (got, allowed) = (rank(level), allowed.and_then(rank));
        // A level that is not known is above all.
        if got.is_none() || got > allowed {
            return Err(Mismatch::Wider(format!("it has {name}={level}")));
        }
    }
    for (name, level) in &asked.0 {
        if got.0.get(name).and_then(|got| rank(got)) < rank(level) {
            return Err(Mismatch::Narrower(format!("it lacks {name}={level}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(pairs: &[(&str, &str)]) -> Permissions {
        Permissions(pairs.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect())
    }

    fn typed(texts: &[&str], read_only: bool) -> Result<String, Fault> {
        let permissions = texts.iter().map(|text| (*text).to_owned()).collect();
        PermissionArgs { permissions, read_only }
            .resolve(&Permissions::PUBLISH)
            .map(|found| found.to_string())
    }

    /// K6
    #[test]
    fn permissions_are_those_typed_else_the_preset() {
        assert_eq!(typed(&[], false).unwrap(), "contents=write, pull_requests=write");
        assert_eq!(typed(&[], true).unwrap(), "contents=read");
        assert_eq!(
            typed(&["issues=read", "contents=read", "issues=read"], true).unwrap(),
            "contents=read, issues=read"
        );
        assert_eq!(typed(&["contents=write"], false).unwrap(), "contents=write");
    }

    #[test]
    fn wrong_permissions_are_usage_errors() {
        for texts in
            [&["contents"][..], &["contents=all"], &["=read"], &["Contents=read"], &["a=read", "a=write"]]
        {
            assert_eq!(typed(texts, false).unwrap_err().exit(), agent_task::Exit::Usage, "{texts:?}");
        }
        assert!(typed(&["contents=write"], true).is_err());
    }

    /// K6
    #[test]
    fn more_than_was_asked_for_is_seen() {
        let asked = permissions(&[("contents", "read"), ("issues", "write")]);
        let blog = Repository { owner: "octo".into(), name: "blog".into() };
        let compare = |got: &[(&str, &str)], selection, repositories: &[&str]| {
            let repositories: Vec<String> = repositories.iter().map(|name| (*name).to_owned()).collect();
            compare(&asked, &blog, &permissions(got), selection, &repositories)
        };
        let same = [("contents", "read"), ("issues", "write"), ("metadata", "read")];
        let selected = Some("selected");
        assert_eq!(compare(&same, selected, &["Octo/Blog"]), Ok(()));
        let wider = |result: Result<(), Mismatch>| matches!(result, Err(Mismatch::Wider(_)));
        assert!(wider(compare(&same, Some("all"), &["octo/blog"])));
        assert!(wider(compare(&same, selected, &[])));
        assert!(wider(compare(&same, None, &["octo/blog"])));
        assert!(wider(compare(&same, selected, &["octo/blog", "octo/secrets"])));
        assert!(wider(compare(&[("contents", "write"), ("issues", "write")], selected, &["octo/blog"])));
        assert!(wider(compare(&[same[0], same[1], ("actions", "read")], selected, &["octo/blog"])));
        assert!(wider(compare(&[same[0], same[1], ("metadata", "write")], selected, &["octo/blog"])));
        assert!(wider(compare(&[("contents", "owner"), same[1]], selected, &["octo/blog"])));
        let narrower = Err(Mismatch::Narrower("it lacks issues=write".to_owned()));
        assert_eq!(compare(&[same[0], ("issues", "read")], selected, &["octo/blog"]), narrower);
        assert_eq!(compare(&[same[0]], selected, &["octo/blog"]), narrower);
    }
}
