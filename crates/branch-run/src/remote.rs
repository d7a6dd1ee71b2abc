//! The remote, reached by the git program from a bare repository of our own. What git is allowed to do stands in that
//! repository's configuration and in an environment made here; no other configuration is read.

use crate::environment::WAY_OUT;
use crate::events::Text;
use crate::processes;
use crate::supervision::Sink as _;
use anyhow::{Context as _, ensure};
use redact::Redactor;
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Instant;
use tempfile::TempDir;
use url::Url;

/// No output of git is longer.
const OUTPUT_MAX: u64 = 1 << 20;

/// Where git gets the credentials from.
#[derive(Debug, Clone)]
pub(crate) struct Helper {
    /// As `credential.helper` takes it, with the `!` before it.
    pub(crate) command: String,
    /// What the helper needs of our environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// The signal that we got, if any.
static GOT: AtomicI32 = AtomicI32::new(0);

/// From here on a signal ends git and what it started, and not this process: there is a record to hand in.
pub(crate) fn catch_signals() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("listening for signals")?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in &mut signals {
                GOT.store(signal, Ordering::SeqCst);
                processes::signal_all(Signal::KILL);
            }
        })
        .map(drop)
        .context("starting a thread")
}

/// The signal that ended the push, if one did.
pub(crate) fn interrupted() -> Option<i32> {
    Some(GOT.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
}

/// A fresh bare repository that borrows the workspace's objects, and one remote.
pub(crate) struct Remote {
    folder: TempDir,
    url: Url,
    helper: Helper,
    redactor: &'static Redactor,
    deadline: Option<Instant>,
}

/// What git printed, redacted.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// An object, and where it was first met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// Of a blob and a tree; the root's is empty.
    pub(crate) path: String,
}

/// What an object is. Annotated tags are not met on the way from a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Commit,
    Tree,
    Blob,
}

impl Object {
    /// `<kind> <size> <id> <path>`, and the size.
    fn parse(line: &str) -> Option<(Self, u64)> {
        let mut fields = line.strip_suffix('\n')?.splitn(4, ' ');
        let kind = match fields.next()? {
            "commit" => Kind::Commit,
            "tree" => Kind::Tree,
            "blob" => Kind::Blob,
            _ => return None,
        };
        let size = fields.next()?.parse().ok()?;
        let id = fields.next()?.to_owned();
        Some((Self { id, kind, path: fields.next().unwrap_or_default().to_owned() }, size))
    }
}

impl Remote {
    pub(crate) fn new(
        url: Url,
        helper: Helper,
        redactor: &'static Redactor,
        deadline: Option<Instant>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("pressrun-push-")
            .tempdir()
            .context("making a folder for the push")?;
        Ok(Self { folder, url, helper, redactor, deadline })
    }

    fn git_dir(&self) -> PathBuf {
        self.folder.path().join("push.git")
    }

    /// Lays out the repository: the objects of `objects`, and `head` as the only reference.
    pub(crate) fn lay_out(&self, objects: &Path, shallow: Option<&str>, head: &str) -> anyhow::Result<()> {
        let git_dir = self.git_dir();
        let write = |name: &str, text: &str| {
            let path = git_dir.join(name);
            path.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::write(&path, text))
                .with_context(|| format!("writing {}", path.display()))
        };
        write("HEAD", "ref: refs/heads/none\n")?;
        write("config", &self.configuration(head.len() == 64))?;
        write("objects/info/alternates", &format!("{}\n", objects.display()))?;
        write("refs/pressrun/head", &format!("{head}\n"))?;
        if let Some(shallow) = shallow {
            write("shallow", shallow)?;
        }
        Ok(())
    }

    /// The borrowed objects come with indexes of what they hold: a commit graph and bitmaps could tell another history
    /// than the commits do, so they are not looked at. Large files are not held in memory.
    fn configuration(&self, sha256: bool) -> String {
        let server = &self.url[..url::Position::BeforePath];
        let scheme = self.url.scheme();
        let helper = quoted(&self.helper.command);
        let format = if sha256 { "[extensions]\n\tobjectFormat = sha256\n" } else { "" };
        format!(
            "[core]\n\trepositoryFormatVersion = {version}\n\tbare = true\n\thooksPath = /dev/null\n\
             \tfsmonitor = false\n\talternateRefsCommand = :\n\
             \tcommitGraph = false\n\tmultiPackIndex = false\n\tbigFileThreshold = 16m\n\
             [pack]\n\tuseBitmaps = false\n{format}\
             [protocol]\n\tallow = never\n[protocol \"{scheme}\"]\n\tallow = always\n\
             [http]\n\tfollowRedirects = false\n\
             [credential]\n\thelper =\n[credential \"{server}\"]\n\thelper = {helper}\n\
             [gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[push]\n\trecurseSubmodules = no\n",
            version = u8::from(sha256),
        )
    }

    /// What the remote has under these references: a commit each, in their order.
    pub(crate) fn tips<const N: usize>(
        &self,
        references: [&str; N],
    ) -> anyhow::Result<Result<[Option<String>; N], Answer>> {
        let mut arguments = vec!["ls-remote", "--refs", "--quiet", self.url.as_str()];
        arguments.extend(references);
        let answer = self.git(&arguments)?;
        if !answer.success {
            return Ok(Err(answer));
        }
        Ok(Ok(references.map(|reference| {
            // git takes a name for the end of one.
            answer
                .stdout
                .lines()
                .filter_map(|line| line.split_once('\t'))
                .find_map(|(commit, name)| (name == reference).then(|| commit.to_owned()))
        })))
    }

    /// Fetches a branch with what is missing of its history.
    pub(crate) fn fetch(&self, reference: &str) -> anyhow::Result<Answer> {
        let refspec = format!("+{reference}:refs/pressrun/base");
        self.git(&["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", self.url.as_str(), &refspec])
    }

    /// Pushes `commit` to `branch`, if the remote has `expected` there (nothing, where it is empty).
    pub(crate) fn push(&self, commit: &str, branch: &str, expected: &str) -> anyhow::Result<Answer> {
        let lease = format!("--force-with-lease=refs/heads/{branch}:{expected}");
        let refspec = format!("{commit}:refs/heads/{branch}");
        self.git(&["push", "--porcelain", "--no-verify", &lease, self.url.as_str(), &refspec])
    }

    /// Runs libgit2 on what is here.
    pub(crate) fn repository(&self) -> anyhow::Result<git2::Repository> {
        git2::Repository::open_bare(self.git_dir()).context("opening the repository for the push")
    }

    /// git in the repository, not yet started; stdout and stderr are to be read.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .arg("--git-dir")
            .arg(self.git_dir())
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| {
                name.to_str().is_some_and(|name| name == "PATH" || WAY_OUT.contains(&name))
            }))
            .envs(self.helper.environment.iter().cloned())
            .env("HOME", self.folder.path())
            .env("TMPDIR", self.folder.path())
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Gives `each` every object that `head` has and `base` has not, as git would push them, until it has enough. Where
    /// that is left off, or an object is not read to its end, the rest is passed over.
    pub(crate) fn objects(
        &self,
        head: &str,
        base: &str,
        mut each: impl FnMut(&Object, &mut dyn Read) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        let not_base = format!("^{base}");
        let mut list =
            self.command(&["rev-list", "--objects", head, &not_base]).spawn().context("starting git")?;
        let names = list.stdout.take().map_or_else(Stdio::null, Stdio::from);
        let mut contents = self
            .command(&["cat-file", "--buffer", "--batch=%(objecttype) %(objectsize) %(objectname) %(rest)"])
            .stdin(names)
            .spawn()
            .context("starting git")?;
        if interrupted().is_some() {
            processes::signal_all(Signal::KILL);
        }
        let (list_stderr, contents_stderr) = (list.stderr.take(), contents.stderr.take());
        let stdout = contents.stdout.take().context("git has no stdout")?;
        std::thread::scope(|scope| {
            let told = [list_stderr, contents_stderr].map(|stderr| scope.spawn(move || self.follow(stderr)));
            let (done, finished) = channel::<()>();
            let late = scope.spawn(move || {
                let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                let late =
                    left.is_some_and(|left| finished.recv_timeout(left) == Err(RecvTimeoutError::Timeout));
                if late {
                    processes::signal_all(Signal::KILL);
                }
                late
            });
            let read = read_objects(stdout, &mut each);
            let left_off = matches!(read, Ok(ControlFlow::Break(())));
            let statuses = [list.wait(), contents.wait()];
            drop(done);
            ensure!(!late.join().unwrap_or_default(), "git did not come to an end within the time limit");
            let told = told.map(|stderr| stderr.join().unwrap_or_default());
            let _: ControlFlow<()> = read.with_context(|| told.join("").trim().to_owned())?;
            for status in statuses {
                let status = status.context("waiting for git")?;
                ensure!(
                    left_off || status.success(),
                    "reading the branch's objects: {}",
                    told.join("").trim()
                );
            }
            Ok(())
        })
    }

    /// Runs git in the repository.
    pub(crate) fn git(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        let mut child = self.command(arguments).spawn().context("starting git")?;
        if interrupted().is_some() {
            // It came before there was a process to end.
            processes::signal_all(Signal::KILL);
        }
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        std::thread::scope(|scope| {
            let (done, finished) = channel();
            let stdout = scope.spawn(move || {
                let text = all_of(stdout);
                // The receiver goes away only after this.
                let _ = done.send(());
                text
            });
            let stderr = scope.spawn(move || self.follow(stderr));
            let mut late = false;
            if let Some(deadline) = self.deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                late = finished.recv_timeout(left) == Err(RecvTimeoutError::Timeout);
                if late {
                    // git's own helpers hold its outputs open, and would be waited for.
                    processes::signal_all(Signal::KILL);
                }
            }
            let status = child.wait().context("waiting for git")?;
            ensure!(!late, "git did not come to an end within the time limit");
            let text =
                |bytes: Vec<u8>| String::from_utf8_lossy(&self.redactor.redact_line(&bytes)).into_owned();
            Ok(Answer {
                success: status.success(),
                stdout: text(stdout.join().unwrap_or_default()),
                stderr: stderr.join().unwrap_or_default(),
            })
        })
    }

    /// Passes git's stderr on, redacted, and gives its end.
    fn follow(&self, from: Option<impl Read>) -> String {
        let mut text = Text::new(self.redactor, None);
        let mut buffer = [0; 4096];
        if let Some(mut from) = from {
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                text.take(&buffer[..length]);
            }
        }
        text.finish()
    }
}

/// Reads what `git cat-file --batch` prints.
fn read_objects(
    stdout: impl Read,
    each: &mut impl FnMut(&Object, &mut dyn Read) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<ControlFlow<()>> {
    let mut stdout = BufReader::with_capacity(1 << 16, stdout);
    loop {
        let mut line = Vec::new();
        stdout.by_ref().take(OUTPUT_MAX).read_until(b'\n', &mut line).context("reading from git")?;
        if line.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let line = String::from_utf8_lossy(&line);
        let (object, size) = Object::parse(&line).context("the branch's objects cannot be read")?;
        let mut content = stdout.by_ref().take(size);
        let flow = each(&object, &mut content)?;
        if flow.is_break() {
            return Ok(flow);
        }
        std::io::copy(&mut content, &mut std::io::sink()).context("reading from git")?;
        let mut line_end = [0];
        stdout.read_exact(&mut line_end).context("git did not give the whole of an object")?;
    }
}

fn all_of(from: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // What came before an error is worth something too.
        let _ = from.by_ref().take(OUTPUT_MAX).read_to_end(&mut bytes);
        let _ = std::io::copy(&mut from, &mut std::io::sink());
    }
    bytes
}

/// A value of a git configuration file.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            _ => text.push(character),
        }
    }
    text.push('"');
    text
}

/// A word of a shell command.
pub(crate) fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_speaks_the_servers_protocol_and_no_other() {
        let helper = Helper { command: "!false".to_owned(), environment: Vec::new() };
        let redactor: &'static Redactor = Box::leak(Box::new(Redactor::new([])));
        let url = Url::parse("https://github.com/octo/blog.git").unwrap();
        let remote = Remote::new(url, helper, redactor, None).unwrap();
        remote.lay_out(Path::new("/nowhere"), None, &"a".repeat(40)).unwrap();
        let mark = remote.folder.path().join("ran");
        let other = remote.folder.path().join("other.git");
        git2::Repository::init_bare(&other).unwrap();
        for url in [
            format!("ext::sh -c 'touch {}'", mark.display()),
            format!("file://{}", other.display()),
            other.display().to_string(),
            "ssh://127.0.0.1/octo/blog".to_owned(),
            "git://127.0.0.1/octo/blog".to_owned(),
            "http://127.0.0.1/octo/blog".to_owned(),
        ] {
            let answer = remote.git(&["ls-remote", &url]).unwrap();
            assert!(!answer.success && answer.stderr.contains("not allowed"), "{url}: {}", answer.stderr);
        }
        assert!(!mark.exists());
    }

    #[test]
    fn values_and_words_are_quoted() {
        assert_eq!(quoted(r#"!'a b' "c" \d"#), r#""!'a b' \"c\" \\d""#);
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
