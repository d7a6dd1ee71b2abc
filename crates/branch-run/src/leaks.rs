//! What an agent writes into the repository is published with it: before the push, all of it is searched for secrets.
//!
//! The known values of this process's environment are found in any form that [`redact`] knows; tokens and private keys that
//! nobody told us of only by a shape that is beyond doubt, since every finding stops a push. What was taken apart,
//! compressed or encrypted is not found.

use crate::remote::{Kind, Object, Remote};
use agent_task::record::ChangedFile;
use redact::{Leak, Redactor};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// So many places are told.
const TOLD: usize = 5;

/// So much of a path is told, in characters.
const PATH_MAX: usize = 200;

/// What was found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Leaks {
    /// `<kind> in <place>`, at most [`TOLD`].
    pub(crate) told: Vec<String>,
    /// A known value is among them, and not only what looks like a secret.
    pub(crate) known: bool,
}

/// Searches all that would be pushed: the branch's name, and of every commit that `head` has and `base` has not the
/// message, the names of its files and their contents.
pub(crate) fn search(
    remote: &Remote,
    redactor: &Redactor,
    [branch, head, base]: [&str; 3],
    shapes: bool,
) -> anyhow::Result<Leaks> {
    let mut leaks = Leaks::default();
    let mut search = redactor.search();
    let mut note = |found: BTreeSet<Leak<'_>>, place: &dyn Fn() -> String| {
        for leak in found.into_iter().filter(|leak| leak.known || shapes) {
            leaks.known |= leak.known;
            leaks.told.push(format!("{} in {}", leak.name, place()));
        }
        if leaks.told.len() < TOLD { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    search.push(branch.as_bytes());
    let _ = note(search.finish(), &|| "the branch's name".to_owned());
    remote.objects(head, base, |object, content| {
        let mut buffer = [0; 1 << 16];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => search.push(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(note(search.finish(), &|| place(object, redactor)))
    })?;
    leaks.told.truncate(TOLD);
    Ok(leaks)
}

/// A file's name may hold a secret too, and a record is shown to people.
pub(crate) fn redact_names(files: &mut [ChangedFile], redactor: &Redactor) {
    for file in files {
        file.path = redactor.redact_text(&file.path).into_owned();
    }
}

/// For people: where to look. The path may hold the secret itself, or anything else.
fn place(object: &Object, redactor: &Redactor) -> String {
    let path: String = redactor
        .redact_text(&object.path)
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .take(PATH_MAX)
        .collect();
    match object.kind {
        Kind::Commit => {
            format!("the message or author of commit {}", object.id.get(..10).unwrap_or(&object.id))
        }
        Kind::Tree if path.is_empty() => "a file's name".to_owned(),
        Kind::Tree => format!("a file's name in {path}/"),
        Kind::Blob => path,
    }
}
