//! What is found: as JSON for programs, as a table for people.

use crate::check::{Checked, Place, Status};
use agent_task::Exit;
use message_text::figures::time;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

/// What is printed on stdout.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    kind: &'static str,
    checks: Vec<Checked>,
    ok: bool,
    #[serde(skip)]
    place: Place,
}

impl Report {
    pub(crate) fn new(place: Place, checks: Vec<Checked>) -> Self {
        let ok = checks.iter().all(|checked| checked.status != Status::Failed);
        Self { kind: "Preflight", checks, ok, place }
    }

    /// A credential before all else: nothing works without it, and it is mended elsewhere. What passes by itself comes last.
    pub(crate) fn exit(&self) -> Exit {
        let failed = || self.checks.iter().filter(|checked| checked.status == Status::Failed);
        if self.ok {
            Exit::Done
        } else if failed().any(|checked| checked.exit == Exit::Denied) {
            Exit::Denied
        } else if failed().all(|checked| checked.exit == Exit::Retry) {
            Exit::Retry
        } else {
            Exit::Failed
        }
    }

    fn summary(&self) -> String {
        let count = |status| self.checks.iter().filter(|checked| checked.status == status).count();
        let (failed, warnings) = (count(Status::Failed), count(Status::Warning));
        let (of, all) = (self.checks.len(), self.place.checks().count());
        let place = match self.place {
            Place::Here => "here",
            Place::Cluster => "on this cluster",
        };
        match (failed, warnings) {
            (0, warnings) => {
                let made = of - count(Status::Skipped) - count(Status::Unknown);
                let text = if made == all {
                    format!("a run would work {place}")
                } else {
                    format!("nothing is wrong in what was checked, {made} of {all} checks")
                };
                match warnings {
                    0 => text,
                    1 => format!("{text}, with 1 warning"),
                    many => format!("{text}, with {many} warnings"),
                }
            }
            (failed, _) => format!("{failed} of {of} checks failed: a run would not work {place}"),
        }
    }
}

/// The table on stderr, a row at a time.
#[derive(Debug)]
pub(crate) struct Table {
    colours: bool,
}

/// The longest name has ten letters.
const NAME: usize = 10;
/// `1 min 05 s`.
const TIME: usize = 10;

impl Table {
    pub(crate) fn new() -> Self {
        Self { colours: agent_log::progress::has_colours() }
    }

    pub(crate) fn row(&mut self, checked: &Checked) {
        print(&row(checked, self.colours));
    }

    pub(crate) fn end(&mut self, report: &Report) {
        print(&format!("preflight: {}\n", report.summary()));
    }
}

fn print(text: &str) {
    // stderr is for people; nobody there is no failure.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A time with as much as is of interest: `12 ms`, `1.4 s`, `1 min 05 s`.
fn took(duration: Duration) -> String {
    match duration.as_secs() {
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        _ => time(duration),
    }
}

fn row(checked: &Checked, colours: bool) -> String {
    let Checked { name, status, detail, remedy, duration_ms, exit: _ } = checked;
    let (mark, colour) = match status {
        Status::Ok => ("✓", "32"),
        Status::Warning => ("!", "33"),
        Status::Unknown => ("?", "33"),
        Status::Failed => ("✗", "31"),
        Status::Skipped => ("-", "2"),
    };
    let painted = |text: &str, colour: &str| {
        if colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let took = match status {
        Status::Skipped => String::new(),
        _ => took(Duration::from_millis(*duration_ms)),
    };
    let name = name.to_string();
    let mut lines = detail.lines();
    let mut text = format!(
        "{} {name:NAME$} {took:>TIME$}  {}\n",
        painted(mark, colour),
        lines.next().unwrap_or_default()
    );
    let indent = " ".repeat(2 + NAME + 1 + TIME + 2);
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{indent}{line}");
    }
    for line in remedy.iter().flat_map(|remedy| remedy.lines()) {
        let _ = writeln!(text, "{indent}{}", painted(&format!("→ {line}"), "1"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Name;

    fn checked(name: Name, status: Status, exit: Exit) -> Checked {
        let remedy = (exit != Exit::Done).then(|| "mend it".to_owned());
        Checked { name, status, detail: "one\ntwo".to_owned(), remedy, duration_ms: 1234, exit }
    }

    /// P13
    #[test]
    fn a_credential_decides_the_exit_code_and_what_passes_decides_last() {
        let exit = |exits: &[Exit]| {
            let failed = exits.iter().map(|exit| checked(Name::Mcp, Status::Failed, *exit));
            let fine = checked(Name::Tools, Status::Warning, Exit::Done);
            Report::new(Place::Here, failed.chain([fine]).collect()).exit()
        };
        assert_eq!(exit(&[]), Exit::Done, "a warning is no failure");
        assert_eq!(exit(&[Exit::Retry, Exit::Denied, Exit::Failed]), Exit::Denied);
        assert_eq!(exit(&[Exit::Retry, Exit::Failed]), Exit::Failed);
        assert_eq!(exit(&[Exit::Retry, Exit::Usage]), Exit::Failed, "its arguments were right");
        assert_eq!(exit(&[Exit::Retry, Exit::Retry]), Exit::Retry);
    }

    #[test]
    fn rows_are_aligned_and_coloured_on_request_alone() {
        let failed = checked(Name::Github, Status::Failed, Exit::Failed);
        assert_eq!(
            row(&failed, false),
            "✗ github          1.2 s  one\n                         two\n                         → mend it\n"
        );
        assert!(row(&failed, true).starts_with("\x1b[31m✗\x1b[0m github"));
        let skipped = row(&checked(Name::Repository, Status::Skipped, Exit::Done), false);
        assert!(skipped.starts_with("- repository             one\n"), "{skipped}");
    }

    #[test]
    fn the_last_line_says_what_it_means() {
        let summary = |checks| Report::new(Place::Here, checks).summary();
        let all = || Place::Here.checks().map(|check| checked(check.name, Status::Ok, Exit::Done));
        assert_eq!(summary(all().collect()), "a run would work here");
        let warned = |mut found: Checked| {
            found.status = Status::Warning;
            found
        };
        assert_eq!(summary(all().map(warned).collect()), "a run would work here, with 7 warnings");
        assert_eq!(
            summary(vec![checked(Name::Mcp, Status::Ok, Exit::Done)]),
            "nothing is wrong in what was checked, 1 of 7 checks"
        );
        assert_eq!(
            summary(vec![checked(Name::Mcp, Status::Failed, Exit::Failed)]),
            "1 of 1 checks failed: a run would not work here"
        );
    }
}
