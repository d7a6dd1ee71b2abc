//! A finished run as one HTML page that needs nothing else: no network, no script, pictures inside.
//!
//! It shows what the servers have, in `--state`, beside what the run wrote into its directory. Everything in there is the
//! agent's word or a stranger's: the template escapes all of it, Markdown loses its raw HTML, its images and every
//! link that is not http(s), and a content security policy in the page forbids all but its own style and pictures.

mod markdown;
mod transcript;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// At most so many pictures, and so much of a diff: a page is to be read.
const PICTURES_MAX: usize = 4;
const DIFF_LINES_MAX: usize = 2_000;

/// Where the page's contents come from.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:
  sandbox page --run-dir ~/.local/state/pressrun/runs/latest > run.html")]
pub struct Args {
    /// The run's directory: its record, transcript and screenshots
    #[arg(long, value_name = "DIR")]
    pub run_dir: PathBuf,
    /// What the servers have, as JSON: {"sandbox", "repository", "pullRequest", "message", "hosts", "violations"}, each
    /// of them optional
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// The change, as `git diff` prints it
    #[arg(long, value_name = "FILE")]
    pub diff: Option<PathBuf>,
}

/// The page.
///
/// # Errors
/// No run record in the directory, or a file that cannot be read or is not what it should be. What a run did not come to
/// (no transcript, no screenshot) is left out.
pub fn render(args: &Args) -> Result<String> {
    let Args { run_dir, state, diff } = args;
    let record = match read(&run_dir.join("published.json"))? {
        Some(published) => published,
        None => read(&run_dir.join("record.json"))?
            .with_context(|| format!("there is no run record in {}", run_dir.display()))?,
    };
    let record: Value = serde_json::from_str(&record).context("reading the run record")?;
    let state: Value = match state {
        Some(file) => {
            serde_json::from_str(&required(file)?).with_context(|| format!("reading {}", file.display()))?
        }
        None => Value::Null,
    };
    let diff = diff.as_deref().map(required).transpose()?.unwrap_or_default();
    let transcript = read(&run_dir.join("transcript.jsonl"))?.unwrap_or_default();
    let main_agent = record["agent"].as_str().unwrap_or("agent");
    template(&context! {
        record => record,
        state => state,
        acts => transcript::acts(&transcript, main_agent),
        pictures => pictures(&run_dir.join("browser"))?,
        diff => diff_lines(&diff),
    })
}

fn template(context: &minijinja::Value) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment
        .add_filter("markdown", |text: String| minijinja::Value::from_safe_string(markdown::html(&text)));
    environment.add_filter("cut", |text: String, limit: usize| cut(&text, limit));
    environment.add_filter("thousands", |number: u64| thousands(number));
    environment.add_filter("seconds", |milliseconds: u64| seconds(milliseconds));
    environment.add_filter("dollars", |amount: f64| format!("${amount:.2}"));
    environment.add_filter("colour", |number: u64| format!("#{:06x}", number & 0xff_ffff));
    environment.add_template("page", include_str!("page/page.html")).context("the page's template")?;
    Ok(environment.get_template("page")?.render(context)?)
}

/// A file's text, or nothing where there is no such file.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

fn required(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    read(path)?.with_context(|| format!("there is no file {}", path.display()))
}

#[derive(Debug, Serialize)]
struct Picture {
    name: String,
    base64: String,
}

/// The screenshots, the one that the agent named `post.png` first.
fn pictures(directory: &Path) -> Result<Vec<Picture>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("reading {}", directory.display())),
        };
        for entry in entries {
            let entry = entry?;
            // Links are not followed: they are the agent's to make.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() && entry.path().extension().is_some_and(|extension| extension == "png") {
                files.push(entry.path());
            }
        }
    }
    files.sort_by_key(|file| (file.file_name().is_none_or(|name| name != "post.png"), file.clone()));
    files.truncate(PICTURES_MAX);
    files
        .into_iter()
        .map(|file| {
            let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Picture { name, base64: base64::engine::general_purpose::STANDARD.encode(bytes) })
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct DiffLine<'a> {
    class: &'static str,
    text: &'a str,
}

fn diff_lines(diff: &str) -> Vec<DiffLine<'_>> {
    let mut in_header = true;
    let mut lines = Vec::new();
    for text in diff.lines() {
        if text.starts_with("diff --git ") {
            in_header = true;
        } else if text.starts_with("@@") {
            in_header = false;
        }
        let class = match text.as_bytes().first() {
            Some(b'd') if text.starts_with("diff --git ") => "file",
            Some(b'@') => "hunk",
            _ if in_header => "header",
            Some(b'+') => "added",
            Some(b'-') => "removed",
            _ => "same",
        };
        lines.push(DiffLine { class, text });
        if lines.len() == DIFF_LINES_MAX {
            lines.push(DiffLine { class: "hunk", text: "… cut here" });
            break;
        }
    }
    lines
}

/// The first line, at most `limit` characters of it.
fn cut(text: &str, limit: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn seconds(milliseconds: u64) -> String {
    match milliseconds {
        0..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(files: &[(&str, &str)]) -> (tempfile::TempDir, Args) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let args = Args { run_dir: directory.path().to_owned(), state: None, diff: None };
        (directory, args)
    }

    fn record(prompt: &str) -> String {
        json!({"kind": "RunRecord", "run": "r", "agent": "publisher", "prompt": prompt, "outcome": "success",
            "base": "main", "startedAt": "2026-11-22T22:00:00Z"})
        .to_string()
    }

    #[test]
    fn what_others_wrote_stays_text() {
        let hostile = "</title><script>alert(1)</script>";
        let (directory, mut args) = run(&[("record.json", &record(hostile))]);
        let state = directory.path().join("state");
        let text = json!({
            "sandbox": false,
            "pullRequest": {"number": 1, "title": hostile, "state": "open", "url": "javascript:alert(1)",
                "body": "<img src=x onerror=alert(1)> [a](javascript:alert(1)) ![b](https://example.org/c.png)"},
            "message": {"content": hostile, "embeds": [{"title": hostile, "fields": [{"name": hostile, "value": hostile}]}]},
            "hosts": [hostile]});
        fs::write(&state, text.to_string()).unwrap();
        let diff = directory.path().join("diff");
        fs::write(&diff, format!("diff --git a/x b/x\n@@ -0,0 +1 @@\n+{hostile}\n")).unwrap();
        let transcript = json!({"type": "assistant", "message": {"content": [{"type": "text", "text": hostile},
            {"type": "tool_use", "id": "1", "name": hostile, "input": {"command": hostile}}]}});
        fs::write(directory.path().join("transcript.jsonl"), transcript.to_string()).unwrap();
        args.state = Some(state);
        args.diff = Some(diff);
        let page = render(&args).unwrap();
        for active in ["<script", "<img src=x", "href=\"javascript", "example.org/c.png\""] {
            assert!(!page.contains(active), "{active} in {page}");
        }
        assert!(page.matches("&lt;script&gt;").count() >= 7, "{page}");
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        let (_directory, args) =
            run(&[("record.json", &record("x")), ("browser/post.png", "not looked into")]);
        let page = render(&args).unwrap();
        assert!(page.contains("default-src 'none'"));
        assert!(page.contains("src=\"data:image/png;base64,bm90IGxvb2tlZCBpbnRv\""), "{page}");
        for reference in ["src=\"http", "@import", "url(", "<link"] {
            assert!(!page.contains(reference), "{reference}");
        }
    }

    #[test]
    fn the_record_after_publishing_goes_before_the_agents() {
        let (_directory, args) =
            run(&[("record.json", &record("early")), ("published.json", &record("late"))]);
        let page = render(&args).unwrap();
        assert!(page.contains("late") && !page.contains("early"));
    }

    #[test]
    fn no_record_is_an_error_that_names_the_directory() {
        let (directory, args) = run(&[]);
        let error = render(&args).unwrap_err().to_string();
        assert!(error.contains(&directory.path().display().to_string()), "{error}");
    }

    #[test]
    fn the_named_screenshot_comes_first() {
        let (directory, _) = run(&[("a/page.png", "1"), ("z/post.png", "2"), ("z/notes.txt", "3")]);
        let names: Vec<_> =
            pictures(directory.path()).unwrap().into_iter().map(|picture| picture.name).collect();
        assert_eq!(names, ["post.png", "page.png"]);
    }

    #[test]
    fn a_diffs_header_is_not_taken_for_its_lines() {
        let classes: Vec<_> = diff_lines("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n c")
            .into_iter()
            .map(|line| line.class)
            .collect();
        assert_eq!(classes, ["file", "header", "header", "hunk", "removed", "added", "same"]);
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(seconds(8_240), "8.2 s");
        assert_eq!(seconds(754_000), "12 min 34 s");
    }
}
