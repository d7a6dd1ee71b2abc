//! The model: held against the real agent CLI, which goes through the proxy with a token that opens nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

use sandbox::{Agent, Failing, Sandbox, Scenario, Turn};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The sample blog in a repository of its own, on a branch beside `main`, and the agent CLI's home beside it.
struct Blog {
    directory: TempDir,
}

/// What a run of the agent CLI left.
struct Run {
    code: Option<i32>,
    events: Vec<Value>,
    stderr: String,
}

/// A tool that a test needs: `variable` has its path, or it is on the PATH.
fn tool(variable: &str, name: &str) -> PathBuf {
    let given = std::env::var_os(variable).map(PathBuf::from);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        || std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|file| file.is_file());
    given.or_else(on_path).unwrap_or_else(|| {
        panic!("this test needs {name}: source \"$(scripts/setup.sh test)\", or set {variable} to its path")
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl Blog {
    fn new() -> Self {
        let blog = Self { directory: tempfile::tempdir().unwrap() };
        let sample = root().join("config/samples/blog");
        copy(&sample, &blog.repository());
        for folder in ["home", "tmp", "browser"] {
            std::fs::create_dir(blog.path(folder)).unwrap();
        }
        // The repository's own settings stay out, its agents do not.
        copy(&sample.join(".claude/agents"), &blog.path("config/agents"));
        blog.git(&["init", "--quiet", "--initial-branch", "main"]);
        blog.git(&["add", "--all"]);
        blog.git(&["commit", "--quiet", "--message", "Begin the blog"]);
        blog.git(&["switch", "--quiet", "--create", "agent/publisher-1"]);
        blog
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn repository(&self) -> PathBuf {
        self.path("blog")
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.repository().join(name)).unwrap()
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut paths = vec![root().join("scripts")];
        paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut command = Command::new(program);
        command
            .current_dir(self.repository())
            .env_clear()
            .env("PATH", std::env::join_paths(paths).unwrap())
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "A Test")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "test@example.org")))
            .stdin(Stdio::null());
        command
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = self.command("git").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn mcp_config(&self) -> PathBuf {
        let mut arguments = vec!["--headless".to_owned(), "--isolated".to_owned()];
        arguments.extend(["--output-dir".to_owned(), self.path("browser").display().to_string()]);
        let chromium = tool("PRESSRUN_CHROMIUM", "chromium");
        arguments.extend(["--executable-path".to_owned(), chromium.display().to_string()]);
        if rustix::process::geteuid().is_root() {
            arguments.push("--no-sandbox".to_owned());
        }
        let server = json!({
            "type": "stdio",
            "command": tool("PRESSRUN_PLAYWRIGHT_MCP", "playwright-mcp"),
            "args": arguments,
        });
        let file = self.path("mcp.json");
        std::fs::write(&file, json!({"mcpServers": {"playwright": server}}).to_string()).unwrap();
        file
    }

    fn run(&self, sandbox: &Sandbox, agent: &str, prompt: &str, further: &[&str]) -> Run {
        let output = self
            .command("sh")
            // The site's server ends with the process that this names.
            .args(["-c", "PRESSRUN_PID=$$ exec \"$0\" \"$@\""])
            .arg(tool("PRESSRUN_CLAUDE", "claude"))
            .envs(sandbox.environment())
            .env("CLAUDE_CONFIG_DIR", self.path("config"))
            .env("CLAUDE_CODE_OAUTH_TOKEN", sandbox.model().token())
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1")
            .args(["-p", prompt, "--agent", agent, "--output-format", "stream-json", "--verbose"])
            .args(["--setting-sources", "user", "--strict-mcp-config", "--permission-mode", "dontAsk"])
            .args([
                "--allowedTools",
                "Agent,Read,Write,Edit,mcp__playwright,Bash(git *),Bash(start-dev-bg.sh *)",
            ])
            .args(further)
            .output()
            .unwrap();
        let events = String::from_utf8(output.stdout).unwrap();
        if let Some((_, site)) = events.split_once(r#"\",\"pid\":"#) {
            // The site's server ends with the run; it writes into this directory until then.
            let pid: String = site.chars().take_while(char::is_ascii_digit).collect();
            let ended =
                self.command("timeout").args(["30", "tail", "-f", "/dev/null", "--pid", &pid]).status();
            assert!(ended.unwrap().success(), "the site's server {pid} is still running");
        }
        Run {
            code: output.status.code(),
            events: events.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    /// The last event, which is the result.
    fn result(&self) -> &Value {
        let last = self.events.last().unwrap_or_else(|| panic!("no events; stderr: {}", self.stderr));
        assert_eq!(last["type"], "result");
        last
    }

    fn of_type(&self, kind: &str, subtype: Option<&str>) -> Vec<&Value> {
        let wanted = |event: &&Value| {
            event["type"] == kind && subtype.is_none_or(|subtype| event["subtype"] == subtype)
        };
        self.events.iter().filter(wanted).collect()
    }

    /// The last lines of what went wrong, for a failing test.
    #[track_caller]
    fn succeeded(&self, sandbox: &Sandbox) {
        assert_eq!(sandbox.violations(), Vec::<String>::new());
        assert_eq!((self.code, &self.result()["is_error"]), (Some(0), &json!(false)), "{}", self.result());
        assert_eq!(self.result()["permission_denials"], json!([]));
        assert_eq!(sandbox.model().remaining(), []);
        // Chromium asks its maker for updates and accounts; the proxy refuses.
        let of_chromium = |host: &str| host.contains("google.com:") || host.contains("googleapis.com:");
        let hosts = sandbox.hosts_asked();
        assert!(hosts.iter().all(|host| host == "api.anthropic.com:443" || of_chromium(host)), "{hosts:?}");
    }
}

fn sandbox(scenario: Scenario) -> Sandbox {
    let sandbox = Sandbox::start().unwrap();
    sandbox.model().load(scenario).unwrap();
    sandbox
}

/// One agent, the publisher, with these turns.
fn publisher(turns: impl IntoIterator<Item = Turn>) -> Scenario {
    let agent = turns.into_iter().fold(Agent::new("publisher"), Agent::turn);
    Scenario { agents: vec![agent], ..Scenario::default() }
}

/// The agents of the sample blog at work, with the real browser.
fn published(scenario: Scenario) -> (Blog, Run) {
    let topic = scenario.topic.clone();
    let sandbox = sandbox(scenario);
    let blog = Blog::new();
    let mcp = blog.mcp_config();
    let run = blog.run(&sandbox, "publisher", &topic, &["--mcp-config", &mcp.to_string_lossy()]);
    run.succeeded(&sandbox);
    (blog, run)
}

/// P5: the agents of the sample blog, from the topic to the verdict, with the real browser at the real site.
#[test]
fn a_post_is_published() {
    let (blog, run) = published(Scenario::publish());
    assert!(run.result()["result"].as_str().unwrap().ends_with("VERDICT: PASS"));
    let by_type = &run.result()["subagent_stats"]["by_type"];
    assert_eq!(
        by_type,
        &json!({"researcher": 1, "writer": 1, "reviewer": 1, "qa": 1, "security-auditor": 1})
    );

    assert_eq!(blog.git(&["status", "--short"]), "");
    let changed = blog.git(&["diff", "--name-status", "main...HEAD"]);
    assert_eq!(changed, "A\tcontent/posts/replace-a-file-in-one-step.md\n");
    let screenshot = std::fs::read(blog.path("browser/post.png")).unwrap();
    assert!(screenshot.starts_with(b"\x89PNG") && screenshot.len() > 10_000, "{} bytes", screenshot.len());
}

/// P9: what the browser sees decides.
#[test]
fn a_broken_page_is_found_in_the_browser() {
    let (blog, run) = published(Scenario::qa_fails());
    let result = run.result()["result"].as_str().unwrap();
    assert!(
        result.ends_with("VERDICT: FAIL: the page /posts/replace-a-file-in-one-step/ answers 404"),
        "{result}"
    );
    assert_eq!(blog.git(&["rev-list", "--count", "main..HEAD"]), "1\n");
}

#[test]
fn a_topic_that_makes_no_post_changes_nothing() {
    let sandbox = sandbox(Scenario::no_change());
    let blog = Blog::new();
    blog.run(&sandbox, "publisher", "Exit codes", &[]).succeeded(&sandbox);
    assert_eq!(blog.git(&["status", "--short"]), "");
}

#[test]
fn one_file_is_written_whatever_the_topic_is() {
    let sandbox = sandbox(Scenario::one_edit());
    let blog = Blog::new();
    let before = jiff::Timestamp::now();
    blog.run(&sandbox, "writer", "It's \"quoted\": a $(topic)", &[]).succeeded(&sandbox);
    let post = blog.file("content/posts/it-s-quoted-a-topic.md");
    assert!(post.contains("title: \"It's \\\"quoted\\\": a $(topic)\"\n"), "{post}");
    assert_eq!(blog.git(&["status", "--short"]), "?? content/posts/it-s-quoted-a-topic.md\n");
    assert!(sandbox.model().first_request_at().unwrap() > before);
    assert!(sandbox.model().last_request_at() > sandbox.model().first_request_at());
}

#[test]
fn an_overload_passes() {
    let sandbox = sandbox(publisher([Turn::text("done").fail(2, Failing::Overloaded)]));
    let run = Blog::new().run(&sandbox, "publisher", "a", &[]);
    run.succeeded(&sandbox);
    assert_eq!(run.of_type("system", Some("api_retry")).len(), 2);
}

#[test]
fn a_stream_that_breaks_is_asked_for_again() {
    for how in [Failing::CutAfter(700), Failing::CutAfter(0), Failing::Malformed, Failing::OverloadedInStream]
    {
        let sandbox = sandbox(publisher([Turn::text("done").fail(1, how.clone())]));
        let run = Blog::new().run(&sandbox, "publisher", "a", &[]);
        run.succeeded(&sandbox);
        assert_eq!(run.result()["result"], "done", "{how:?}");
        let messages =
            sandbox.model().requests().into_iter().filter(|request| request.path == "/v1/messages");
        assert_eq!(messages.count(), 2, "{how:?}");
    }
}

#[test]
fn a_usage_limit_says_when_it_resets() {
    let limit = Failing::UsageLimit { resets_in: 7200, claim: "five_hour".to_owned() };
    let sandbox = sandbox(publisher([Turn::text("done").fail(1, limit)]));
    let now = sandbox.clock().now().as_second();
    let run = Blog::new().run(&sandbox, "publisher", "a", &[]);
    assert_eq!((run.code, &run.result()["is_error"]), (Some(1), &json!(true)));
    assert_eq!(run.result()["api_error_status"], 429);
    let info = &run.of_type("rate_limit_event", None).last().unwrap()["rate_limit_info"];
    assert_eq!((&info["status"], &info["rateLimitType"]), (&json!("rejected"), &json!("five_hour")));
    let resets = info["resetsAt"].as_i64().unwrap();
    assert!((now + 7200..now + 7260).contains(&resets), "{resets}");
    assert_eq!(sandbox.violations(), Vec::<String>::new());
}

#[test]
fn what_the_script_does_not_foresee_is_refused_and_reported() {
    let read = || Turn::call("Read", json!({"file_path": "CLAUDE.md"}));
    for (scenario, said) in [
        (publisher([read()]), "agent publisher, turn 2: the script ends after turn 1"),
        (
            publisher([read(), Turn::text("done").expect("no such thing")]),
            "agent publisher, turn 2: expected no such thing, got: ",
        ),
        (
            Scenario { agents: vec![Agent::new("editor").turn(Turn::text("done"))], ..Scenario::default() },
            "no agent of the scenario (editor)",
        ),
    ] {
        let sandbox = sandbox(scenario);
        let run = Blog::new().run(&sandbox, "publisher", "a", &[]);
        assert_eq!((run.code, &run.result()["api_error_status"]), (Some(1), &json!(400)));
        assert!(run.result()["result"].as_str().unwrap().contains(said), "{}", run.result()["result"]);
        let violations = sandbox.violations();
        assert!(violations.len() == 1 && violations[0].contains(said), "{violations:?}");
    }
}

#[test]
fn a_wrong_token_is_refused() {
    let sandbox = sandbox(publisher([Turn::text("done")]));
    let blog = Blog::new();
    let token = sandbox.model().token();
    sandbox.model().expect_token("another");
    let output = blog
        .command(tool("PRESSRUN_CLAUDE", "claude"))
        .envs(sandbox.environment())
        .env("CLAUDE_CODE_OAUTH_TOKEN", token)
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .args(["-p", "a", "--output-format", "json"])
        .output()
        .unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &result["api_error_status"]), (Some(1), &json!(401)));
    assert_eq!(sandbox.model().remaining(), [("publisher".to_owned(), 1)]);
}

/// Without the agent CLI: what no client of ours does.
mod by_hand {
    use super::*;
    use ureq::http;

    fn ask(sandbox: &Sandbox, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let mut request =
            http::Request::builder().method("POST").uri(format!("{}{path}", sandbox.model().url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = agent.run(request.body(body.to_string()).unwrap()).unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap())
    }

    const RIGHT: [(&str, &str); 4] = [
        ("authorization", "Bearer sk-ant-oat01-sandbox-opens-nothing"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "oauth-2025-04-20"),
        ("content-type", "application/json"),
    ];

    fn body() -> Value {
        json!({
            "model": "m", "max_tokens": 100, "system": "You are the publisher of this blog.",
            "messages": [{"role": "user", "content": "Write: a post"}],
        })
    }

    #[test]
    fn a_message_comes_whole_too() {
        let turn = Turn::call("Bash", json!({"command": "echo {{slug}}"}));
        let sandbox = sandbox(publisher([turn]));
        let (status, message) = ask(&sandbox, "/v1/messages", &RIGHT, &body());
        assert_eq!((status, &message["stop_reason"]), (200, &json!("tool_use")));
        assert_eq!(message["content"][0]["input"], json!({"command": "echo write-a-post"}));
        assert_eq!(ask(&sandbox, "/v1/messages/count_tokens", &RIGHT, &body()).0, 200);
        assert_eq!(ask(&sandbox, "/v1/models", &RIGHT, &body()).1["error"]["type"], "not_found_error");
        assert_eq!(sandbox.violations(), Vec::<String>::new());
    }

    #[test]
    fn a_request_shows_the_token_and_the_version_and_no_api_key() {
        let sandbox = sandbox(publisher([Turn::text("done")]));
        for missing in 0..RIGHT.len() {
            let mut headers = RIGHT.to_vec();
            let (name, _) = headers.remove(missing);
            let (status, error) = ask(&sandbox, "/v1/messages", &headers, &body());
            let wanted = match name {
                "authorization" | "anthropic-beta" => (401, "authentication_error"),
                _ => (400, "invalid_request_error"),
            };
            assert_eq!((status, error["error"]["type"].as_str().unwrap()), wanted, "{name}");
        }
        let mut headers = RIGHT.to_vec();
        headers.push(("x-api-key", "sk-ant-api03-opens-nothing"));
        assert_eq!(ask(&sandbox, "/v1/messages", &headers, &body()).0, 401);
        assert_eq!(sandbox.violations().len(), 3, "{:?}", sandbox.violations());
        assert_eq!(sandbox.model().remaining(), [("publisher".to_owned(), 1)]);
    }

    #[test]
    fn an_agents_second_conversation_may_go_another_way() {
        let conversation = |text: &str| Agent::new("qa").turn(Turn::text(text));
        let agents = vec![conversation("VERDICT: FAIL: no page"), conversation("VERDICT: PASS")];
        let sandbox = sandbox(Scenario { agents, ..Scenario::default() });
        let said = |id: &str| {
            let mut headers = RIGHT.to_vec();
            headers.push(("x-claude-code-session-id", "s"));
            headers.push(("x-claude-code-agent-id", id));
            let mut body = body();
            body["system"] = json!([{"type": "text", "text": "You are the qa of this blog."}]);
            ask(&sandbox, "/v1/messages", &headers, &body).1["content"][0]["text"].clone()
        };
        assert_eq!(said("a"), "VERDICT: FAIL: no page");
        assert_eq!([said("b"), said("c")], ["VERDICT: PASS", "VERDICT: PASS"]);
        assert_eq!(sandbox.model().remaining(), []);
    }
}
