//! What is wrong with a configuration: all of it at once, each with the place where a person mends it.

use piece::Fault;
use redact::Redactor;
use std::fmt::{self, Write as _};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// The server's name in the configuration; none where it is about the document.
    server: Option<String>,
    /// Path of the field below the server, as `headers.Authorization` or `args[2]`.
    field: String,
    /// What is wrong and what to do, without any value that may be a secret.
    what: String,
}

impl Problem {
    /// Something about a field of a server. An empty `field` is the server itself.
    pub(crate) fn of(server: &str, field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { server: Some(server.to_owned()), field: field.into(), what: what.into() }
    }

    /// Something about the document around the servers.
    pub(crate) fn around(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { server: None, field: field.into(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.server, self.field.as_str()) {
            (None, "") => {}
            (None, field) => write!(f, "field '{field}': ")?,
            (Some(server), "") => write!(f, "server '{server}': ")?,
            (Some(server), field) => write!(f, "server '{server}', field '{field}': ")?,
        }
        f.write_str(&self.what)
    }
}

/// Nothing wrong, or one fault that lists every problem, each once and on a line of its own. A name may hold a secret that was
/// pasted in the wrong place.
///
/// # Errors
/// A usage fault.
pub(crate) fn settle(mut problems: Vec<Problem>, redactor: &Redactor) -> Result<(), Fault> {
    problems.sort();
    problems.dedup();
    let mut text = match problems.len() {
        0 => return Ok(()),
        1 => "the MCP configuration cannot be used:".to_owned(),
        many => format!("the MCP configuration cannot be used, for {many} reasons:"),
    };
    for problem in &problems {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {problem}");
    }
    Err(Fault::usage(redactor.redact_text(&text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_task::Secret;

    #[test]
    fn every_problem_is_told_once_with_its_place() {
        let problems = vec![
            Problem::of("web", "url", "missing"),
            Problem::of("web", "url", "missing"),
            Problem::around("mcpServer", "unknown"),
            Problem::of("web", "", "is a list"),
            Problem::of("web", "hunter2-hunter2", "unknown"),
        ];
        let secret = Secret::new("hunter2-hunter2");
        let redactor = Redactor::new([("PASSWORD", &secret)]);
        assert_eq!(
            settle(problems, &redactor).unwrap_err().message(),
            "the MCP configuration cannot be used, for 4 reasons:\n  field 'mcpServer': unknown\n  \
             server 'web': is a list\n  server 'web', field '[redacted:PASSWORD]': unknown\n  \
             server 'web', field 'url': missing"
        );
        assert!(settle(Vec::new(), &redactor).is_ok());
    }
}
