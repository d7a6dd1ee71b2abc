//! An error that knows its exit code and what to do about it.

use agent_task::Exit;
use std::borrow::Cow;
use std::fmt;

/// What failed, on what, how the process ends, and (as the hint) what to do. Put it where the cause is known,
/// or around a cause with [`anyhow::Context::context`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    exit: Exit,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
}

impl Fault {
    /// A fault that ends the process with `exit`.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<Cow<'static, str>>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// It failed, and would fail again.
    #[must_use]
    pub fn failed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// It was called wrongly; nothing was begun.
    #[must_use]
    pub fn usage(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// It failed for a reason that passes.
    #[must_use]
    pub fn retry(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Exit::Retry, message)
    }

    /// Credentials or a permission are missing or wrong.
    #[must_use]
    pub fn denied(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Exit::Denied, message)
    }

    /// Adds what to do: one sentence for the person at the terminal.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What to do, if it was said.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What failed.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
