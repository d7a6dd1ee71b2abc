//! Where the command's outputs go: redacted, to our own, to the transcript, and into the report.

use crate::handover::Answers;
use crate::run::say;
use crate::supervision::Sink;
use agent_log::{EventStream, Surroundings, View};
use agent_task::AgentReport;
use anyhow::Context as _;
use piece::Fault;
use redact::{Redactor, Stream};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// So much of stderr's end is kept for the error text.
const TAIL: usize = 8 * 1024;

/// The file that all of it is kept in.
pub(crate) struct Transcript {
    /// None once it could not be written to: what came after a gap would be misread.
    file: Option<File>,
    path: PathBuf,
}

/// Opens the transcript to append to; only its owner may read it.
pub(crate) fn transcript(path: &Path) -> anyhow::Result<Transcript> {
    let file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| Fault::usage(format!("cannot write the transcript {}", path.display())))?;
    Ok(Transcript { file: Some(file), path: path.to_owned() })
}

impl Transcript {
    /// A full disk does not end the run: the work is worth more than the transcript.
    fn write(&mut self, text: &[u8]) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(text)
        {
            self.file = None;
            say(&format!("the transcript {} ends here: {error}", self.path.display()));
        }
    }
}

/// Text for people: goes to stderr and to the transcript, line by line.
pub(crate) struct Text {
    redaction: Stream<'static>,
    transcript: Option<Transcript>,
    tail: Vec<u8>,
    clean: Vec<u8>,
}

impl Text {
    pub(crate) fn new(redactor: &'static Redactor, transcript: Option<Transcript>) -> Self {
        Self { redaction: redactor.stream(), transcript, tail: Vec::new(), clean: Vec::new() }
    }

    /// Lets out what was held back, and gives the end of it all.
    pub(crate) fn finish(mut self) -> String {
        self.redaction.finish(&mut self.clean);
        self.let_out();
        String::from_utf8_lossy(&self.tail).into_owned()
    }

    fn let_out(&mut self) {
        // Nobody may be reading; the run is worth more than the view of it.
        let _ = std::io::stderr().write_all(&self.clean);
        if let Some(transcript) = &mut self.transcript {
            transcript.write(&self.clean);
        }
        self.tail.append(&mut self.clean);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }
}

impl Sink for Text {
    fn take(&mut self, piece: &[u8]) {
        self.redaction.push_lines(piece, &mut self.clean);
        self.let_out();
    }
}

/// The agent CLI's events: to stdout, to the transcript and into the report.
pub(crate) struct AgentEvents {
    stream: EventStream<'static, Box<dyn View + Send>>,
    transcript: Option<Transcript>,
    printed: bool,
    clean: Vec<u8>,
}

impl AgentEvents {
    pub(crate) fn new(
        redactor: &'static Redactor,
        transcript: Option<Transcript>,
        printed: bool,
        view: Box<dyn View + Send>,
    ) -> Self {
        Self { stream: EventStream::new(redactor, view), transcript, printed, clean: Vec::new() }
    }

    pub(crate) fn finish(mut self, surroundings: Surroundings<'_>) -> AgentReport {
        self.stream.end(&mut self.clean);
        self.let_out();
        self.stream.finish(surroundings, &mut self.clean)
    }

    fn let_out(&mut self) {
        if self.printed {
            let mut stdout = std::io::stdout().lock();
            // A reader that went away does not end the run: its record is still to be written.
            self.printed = stdout.write_all(&self.clean).and_then(|()| stdout.flush()).is_ok();
        }
        if let Some(transcript) = &mut self.transcript {
            transcript.write(&self.clean);
        }
        self.clean.clear();
        // One long line must not keep its memory for the rest of the run.
        self.clean.shrink_to(1 << 20);
    }
}

impl Sink for AgentEvents {
    fn take(&mut self, piece: &[u8]) {
        self.stream.feed(piece, &mut self.clean);
        self.let_out();
    }
}

/// The command's stdout.
pub(crate) enum Stdout {
    Events(Box<AgentEvents>),
    /// Of an agent that is asked before it gets its prompt.
    Answers(Box<Answers<AgentEvents>>),
    Text(Text),
}

impl Sink for Stdout {
    fn take(&mut self, piece: &[u8]) {
        match self {
            Self::Events(events) => events.take(piece),
            Self::Answers(answers) => answers.take(piece),
            Self::Text(text) => text.take(piece),
        }
    }
}
