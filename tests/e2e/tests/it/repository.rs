//! A repository that wants the login, or at least to run something. What it is filled with depends on whom it is to fool.

use anyhow::ensure;
use e2e::{Ended, World};
use sandbox::{Request, Scenario, Trap};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What stands in a file outside of the clone.
pub(crate) const CANARY: &str = "canary-of-a-file-outside-of-the-clone";

/// A world with such a repository.
pub(crate) struct Hostile {
    pub(crate) world: World,
    /// Where the repository would have everything sent.
    pub(crate) trap: Trap,
    /// A file outside of the clone.
    pub(crate) outside: PathBuf,
}

impl Hostile {
    /// The writer does this; the repository is filled with these files.
    pub(crate) fn new(
        turns: &Value,
        files: impl FnOnce(&Self) -> anyhow::Result<Files>,
    ) -> anyhow::Result<Self> {
        let world = World::without_scenario()?;
        let judge = json!([{ "text": "Fine.\n\nVERDICT: PASS" }]);
        let scenario: Scenario = serde_json::from_value(json!({
            "agents": [
                { "name": "writer", "marker": "the writer of this blog", "turns": turns },
                { "name": "qa", "marker": "the judge of this blog", "turns": judge },
            ],
        }))?;
        world.sandbox.model().load(scenario)?;
        std::fs::create_dir(world.path("ran"))?;
        let outside = world.path("home/outside.md");
        std::fs::write(&outside, CANARY)?;
        let hostile = Self { world, trap: Trap::start()?, outside };
        hostile.commit(&files(&hostile)?)?;
        Ok(hostile)
    }

    /// Writes the files into the clone, and commits them: they are what the repository has.
    fn commit(&self, files: &Files) -> anyhow::Result<()> {
        let clone = self.world.clone_path();
        for (name, text) in files {
            let file = clone.join(name);
            std::fs::create_dir_all(file.parent().unwrap_or(&clone))?;
            std::fs::write(&file, text)?;
            if text.starts_with("#!") {
                std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))?;
            }
        }
        let remote = self.world.remote.to_string_lossy().into_owned();
        for arguments in [
            &["add", "--all", "--force"][..],
            &["commit", "--quiet", "--message=Fight back"],
            &["push", "--quiet", &remote, "main"],
        ] {
            self.world.git(&clone, arguments)?;
        }
        Ok(())
    }

    /// A command that shows that it ran.
    pub(crate) fn mark(&self, name: &str) -> String {
        format!("touch {}", self.world.path("ran").join(name).display())
    }

    /// What ran, by its mark.
    fn marks(&self) -> anyhow::Result<BTreeSet<String>> {
        let entries = std::fs::read_dir(self.world.path("ran"))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Asserts that this program, in the clone, sends the login to the trap and runs what leaves this mark.
    pub(crate) fn fools(&self, program: &mut Command, login: &str, mark: &str) -> anyhow::Result<()> {
        program.current_dir(self.world.clone_path()).stdout(Stdio::null()).stderr(Stdio::null());
        let _running = Group(program.process_group(0).spawn()?);
        ensure!(self.trap.hears(login, Duration::from_secs(120)), "heard: {:?}", self.trap.heard());
        // What runs does so beside the first requests.
        let began = Instant::now();
        while !self.marks()?.contains(mark) {
            ensure!(began.elapsed() < Duration::from_secs(60), "only {:?} ran", self.marks()?);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Asserts that nothing of the repository's ran, and that nothing was sent to the trap.
    pub(crate) fn got_nothing(&self) -> anyhow::Result<()> {
        assert_eq!((self.marks()?, self.trap.heard()), (BTreeSet::new(), vec![]));
        Ok(())
    }

    /// Asserts that a run delivered all the same, and that whatever left the machine is what should. The requests to the model.
    pub(crate) fn is_overcome(&self, ended: &Ended) -> anyhow::Result<Vec<Request>> {
        let sandbox = &self.world.sandbox;
        assert_eq!(ended.code, 0, "{:#?}\n{}", ended.record(), ended.stderr);
        self.got_nothing()?;
        assert_eq!(sandbox.model().remaining(), Vec::new(), "turns of the script that nobody asked for");
        let hosts: BTreeSet<_> = sandbox.hosts_asked().into_iter().collect();
        let services = ["api.anthropic.com:443", "api.github.com:443", "discord.com:443", "github.com:443"];
        assert_eq!(hosts, services.map(str::to_owned).into());

        let asked = sandbox.model().requests();
        for request in &asked {
            assert_eq!(request.header("x-from-the-repository"), None);
            assert!(!holds(request, CANARY), "a file from outside of the clone is in the prompt");
            for secret in ["ghs_", "PRIVATE KEY", "api/webhooks/"] {
                assert!(!holds(request, secret), "{secret} in a request to the model");
            }
        }
        let others = [sandbox.github().requests(), sandbox.discord().requests()].concat();
        assert!(others.len() >= 4, "{}", others.len());
        let login = sandbox.model().token();
        for request in &others {
            assert!(!holds(request, &login), "the login in {} {}", request.method, request.path);
        }
        assert_eq!(self.world.run_branches()?.len(), 1);
        assert_eq!(sandbox.violations(), Vec::<String>::new());
        Ok(asked)
    }
}

/// Names in the clone, and texts. One that begins with `#!` can be run.
pub(crate) type Files = Vec<(&'static str, String)>;

/// Whether anything in a request holds this.
pub(crate) fn holds(request: &Request, text: &str) -> bool {
    let contains = |bytes: &[u8]| bytes.windows(text.len()).any(|found| found == text.as_bytes());
    request.headers.iter().any(|(_, value)| value.contains(text))
        || contains(&request.body)
        || request.path.contains(text)
        || request.query.contains(text)
}

/// What the writer does in a whole run, up to its last words: it reads, asks the judge, and writes.
pub(crate) fn work() -> [Value; 3] {
    [
        json!({ "calls": [
            { "tool": "Read", "input": { "file_path": "CLAUDE.md" } },
            { "tool": "Bash", "input": { "command": "git status --short", "description": "Look" } },
        ] }),
        json!({ "calls": [{ "tool": "Agent", "input": { "subagent_type": "qa", "description": "Judge", "prompt": "Judge it." } }] }),
        json!({ "calls": [{ "tool": "Write", "input": { "file_path": "content/posts/{{slug}}.md", "content": "---\ntitle: x\n---\n" } }] }),
    ]
}

/// Ends with everything that it started when it goes.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        // It may have gone by itself.
        let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}
