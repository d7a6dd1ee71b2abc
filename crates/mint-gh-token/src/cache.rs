//! Where git's credential helper keeps a token between git's calls.
//!
//! One file a token in `$XDG_CACHE_HOME/pressrun/tokens` (else `~/.cache/pressrun/tokens`), named by a hash of what the token is
//! for. The directory is 0700 and a file 0600, both ours and neither a symbolic link; what is not so is refused, for somebody
//! else may have written or read it. A file is replaced as a whole, and a lock beside it lets two gits mint one token.

use crate::narrow::Permissions;
use crate::token::{self, Minted};
use agent_task::Secret;
use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use piece::Fault;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A token that ends sooner is not handed out: a push may take minutes.
pub(crate) const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// What a token is for: another App, server, repository or permission is another token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) api_url: &'a str,
    pub(crate) repository: &'a str,
    pub(crate) permissions: &'a Permissions,
}

impl Purpose<'_> {
    /// The file's name without its ending.
    fn stem(&self) -> String {
        let Self { issuer, api_url, repository, permissions } = self;
        let repository = repository.to_ascii_lowercase();
        let mut hash = Sha256::new();
        for part in [issuer, api_url.trim_end_matches('/'), &repository, &permissions.to_string()] {
            // With its length before it, no part can be taken for two.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Why there is no cache to use.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// There is no place for one: no home, a read-only disk. Minting goes on without.
    Absent(String),
    /// It is not ours alone. Nothing goes on.
    Refused(Fault),
}

/// One token's place, held against every other process until it is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    path: PathBuf,
    directory: PathBuf,
    _lock: File,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored<T> {
    token: T,
    expires_at: Timestamp,
    repository: String,
    permissions: BTreeMap<String, String>,
    installation_id: u64,
    /// Seconds that GitHub's clock was ahead of ours.
    skew: i64,
}

/// The directory, by the XDG Base Directory Specification: a relative path there counts as unset.
pub(crate) fn directory(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("pressrun").join("tokens"))
}

impl Entry {
    /// Waits until the place is ours.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub(crate) fn lock(directory: &Path, purpose: &Purpose<'_>) -> Result<Self, Unusable> {
        let absent = |what: &str, path: &Path, error: &std::io::Error| {
            Unusable::Absent(format!("{what} {}: {error}", path.display()))
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| absent("making", directory, &error))?;
        let metadata =
            std::fs::symlink_metadata(directory).map_err(|error| absent("reading", directory, &error))?;
        ours_alone(directory, &metadata, metadata.is_dir())?;
        let stem = purpose.stem();
        let lock = directory.join(format!("{stem}.lock"));
        let file = open(&lock, OpenOptions::new().read(true).write(true).create(true).truncate(false))?
            .ok_or_else(|| Unusable::Absent(format!("{} went away", lock.display())))?;
        file.lock().map_err(|error| absent("locking", &lock, &error))?;
        Ok(Self {
            path: directory.join(format!("{stem}.json")),
            directory: directory.to_owned(),
            _lock: file,
        })
    }

    /// The token that is kept, whether fresh or not; nothing where there is none, or none that can be read.
    ///
    /// # Errors
    /// A refused file.
    pub(crate) fn read(&self) -> Result<Option<Minted>, Unusable> {
        let Some(mut file) = open(&self.path, OpenOptions::new().read(true))? else { return Ok(None) };
        let mut text = Zeroizing::new(String::new());
        // A file that is no token is as good as none: the next write replaces it.
        if file.read_to_string(&mut text).is_err() {
            return Ok(None);
        }
        let Ok(stored) = serde_json::from_str::<Stored<String>>(&text) else { return Ok(None) };
        let Stored { token, expires_at, repository, permissions, installation_id, skew } = stored;
        let token = Secret::new(token);
        Ok(token::is_sound(token.expose()).then(|| Minted {
            token,
            expires_at,
            repository,
            permissions: Permissions(permissions),
            installation_id,
            skew: SignedDuration::from_secs(skew),
        }))
    }

    /// Keeps `minted` in place of what was there.
    ///
    /// # Errors
    /// A disk that takes nothing.
    pub(crate) fn write(&self, minted: &Minted) -> anyhow::Result<()> {
        let stored = Stored {
            token: minted.token.expose(),
            expires_at: minted.expires_at,
            repository: minted.repository.clone(),
            permissions: minted.permissions.0.clone(),
            installation_id: minted.installation_id,
            skew: minted.skew.as_secs(),
        };
        let text = Zeroizing::new(serde_json::to_vec(&stored)?);
        // Temporary files are 0600 from the moment they exist.
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&text)?;
        file.persist(&self.path)?;
        Ok(())
    }

    /// Forgets the token.
    ///
    /// # Errors
    /// Where the file is there and stays.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a kept token can still be handed out, by the clock that GitHub goes by.
pub(crate) fn is_fresh(minted: &Minted, now: Timestamp) -> bool {
    now.checked_add(minted.skew).is_ok_and(|theirs| minted.expires_at.duration_since(theirs) > MARGIN)
}

/// Opens a file of the cache: never through a symbolic link, and only if it is ours alone. Nothing where there is none.
fn open(path: &Path, options: &mut OpenOptions) -> Result<Option<File>, Unusable> {
    #[expect(clippy::cast_possible_wrap, reason = "flags are bits, and open(2) takes them as an int")]
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = match options.mode(0o600).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(match std::fs::symlink_metadata(path) {
                Ok(metadata) if !metadata.is_file() => refused(path, "not a regular file"),
                _ => Unusable::Absent(format!("opening {}: {error}", path.display())),
            });
        }
    };
    let metadata =
        file.metadata().map_err(|error| Unusable::Absent(format!("reading {}: {error}", path.display())))?;
    ours_alone(path, &metadata, metadata.is_file())?;
    Ok(Some(file))
}

fn ours_alone(path: &Path, metadata: &Metadata, is_expected_type: bool) -> Result<(), Unusable> {
    if !is_expected_type {
        return Err(refused(path, "a symbolic link, or not what it should be"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused(path, "another user's"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(refused(path, "open to other users"));
    }
    Ok(())
}

fn refused(path: &Path, why: &str) -> Unusable {
    Unusable::Refused(
        Fault::failed(format!("the token cache {} is {why}: it is not used", path.display()))
            .hint("look at who put it there, and remove it; it is made again"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn write_only() -> Permissions {
        Permissions([("contents".to_owned(), "write".to_owned())].into())
    }

    fn minted() -> Minted {
        Minted {
            token: Secret::new("ghs_a.b_c"),
            expires_at: "2026-11-22T23:00:00Z".parse().unwrap(),
            repository: "octo/blog".into(),
            permissions: write_only(),
            installation_id: 7,
            skew: SignedDuration::from_secs(-90),
        }
    }

    fn lock(directory: &Path) -> Result<Entry, Unusable> {
        let permissions = write_only();
        let purpose = Purpose {
            issuer: "Iv1",
            api_url: "https://a",
            repository: "octo/blog",
            permissions: &permissions,
        };
        Entry::lock(directory, &purpose)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    /// P10
    #[test]
    fn a_token_comes_back_as_it_was_and_only_its_user_can_read_it() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("pressrun/tokens");
        let entry = lock(&directory).unwrap();
        assert_eq!(entry.read().unwrap(), None);
        entry.write(&minted()).unwrap();
        assert_eq!(entry.read().unwrap(), Some(minted()));
        assert_eq!((mode(&directory), mode(&entry.path)), (0o700, 0o600));
        entry.remove().unwrap();
        entry.remove().unwrap();
        assert_eq!(entry.read().unwrap(), None);
    }

    #[test]
    fn what_is_not_ours_alone_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let real = home.path().join("real");
        let entry = lock(&real).unwrap();
        entry.write(&minted()).unwrap();

        let link = home.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(matches!(lock(&link), Err(Unusable::Refused(_))));

        std::fs::set_permissions(&entry.path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(entry.read(), Err(Unusable::Refused(_))));

        std::fs::rename(&entry.path, home.path().join("moved")).unwrap();
        symlink(home.path().join("moved"), &entry.path).unwrap();
        assert!(matches!(entry.read(), Err(Unusable::Refused(_))));

        drop(entry);
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(lock(&real), Err(Unusable::Refused(_))));
    }

    #[test]
    fn without_a_place_there_is_no_cache() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(lock(&file.path().join("tokens")), Err(Unusable::Absent(_))));
    }

    /// P10
    #[test]
    fn a_token_is_fresh_while_more_than_five_minutes_remain_by_githubs_clock() {
        let at = |text: &str| is_fresh(&minted(), text.parse().unwrap());
        // GitHub's clock is 90 s behind: its 22:55:00 is our 22:56:30.
        assert!(at("2026-11-22T22:56:29Z"));
        assert!(!at("2026-11-22T22:56:30Z"));
    }

    #[test]
    fn another_purpose_is_another_file() {
        let (write, read) = (write_only(), Permissions([("contents".to_owned(), "read".to_owned())].into()));
        let base =
            Purpose { issuer: "Iv1", api_url: "https://a", repository: "octo/blog", permissions: &write };
        let same = Purpose { api_url: "https://a/", repository: "Octo/Blog", ..base };
        assert_eq!(base.stem(), same.stem());
        for other in [
            Purpose { issuer: "Iv2", ..base },
            Purpose { api_url: "https://b", ..base },
            Purpose { repository: "octo/blog2", ..base },
            Purpose { permissions: &read, ..base },
        ] {
            assert_ne!(base.stem(), other.stem());
        }
    }

    #[test]
    fn the_directory_follows_the_xdg_variables() {
        let directory = |pairs: &[(&str, &str)]| {
            directory(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into()))
        };
        let found = directory(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]);
        assert_eq!(found.as_deref(), Some(Path::new("/c/pressrun/tokens")));
        let found = directory(&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")]);
        assert_eq!(found.as_deref(), Some(Path::new("/h/.cache/pressrun/tokens")));
        assert_eq!(directory(&[]), None);
    }
}
