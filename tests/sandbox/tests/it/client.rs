//! Real clients: git, curl, and an HTTP client for the API. None of them sees this machine's configuration.

use sandbox::Sandbox;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use ureq::http;

/// A program with nothing in its environment but PATH, and a HOME.
pub(crate) fn program(name: &str, home: &Path) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home);
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "A").env(format!("GIT_{who}_EMAIL"), "a@example.com");
    }
    command.current_dir(home);
    command
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// stdout of a program that must succeed.
pub(crate) fn stdout(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A clone's directory with a commit on `main`, pushed to the bare repository past the server.
pub(crate) fn seed(home: &Path, bare: &Path) -> std::path::PathBuf {
    let work = home.join("work");
    std::fs::create_dir_all(&work).unwrap();
    let git = |arguments: &[&str]| stdout(program("git", home).current_dir(&work).args(arguments));
    git(&["init", "-q", "-b", "main"]);
    std::fs::write(work.join("a.md"), "a").unwrap();
    git(&["add", "."]);
    git(&["commit", "-qm", "begin"]);
    git(&["push", "-q", bare.to_str().unwrap(), "main"]);
    work
}

/// A branch with one commit more, on the server.
pub(crate) fn branch(home: &Path, bare: &Path, name: &str) {
    let work = home.join("work");
    let git = |arguments: &[&str]| stdout(program("git", home).current_dir(&work).args(arguments));
    git(&["switch", "-q", "-C", name, "main"]);
    git(&["commit", "-q", "--allow-empty", "-m", name]);
    git(&["push", "-q", bare.to_str().unwrap(), name]);
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// Asks GitHub's API as a well-behaved client.
pub(crate) fn ask(
    sandbox: &Sandbox,
    credentials: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    let headers = [
        ("authorization", format!("Bearer {credentials}")),
        ("accept", "application/vnd.github+json".to_owned()),
        ("x-github-api-version", "2022-11-28".to_owned()),
        ("user-agent", "test".to_owned()),
    ];
    ask_with(&headers, method, &format!("{}{path}", sandbox.github().api_url()), body).unwrap()
}

pub(crate) fn ask_with(
    headers: &[(&str, String)],
    method: &str,
    url: &str,
    body: Option<&Value>,
) -> Result<Answer, ureq::Error> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).proxy(None).user_agent("").build().into();
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let mut response = match body {
        Some(body) => agent.run(request.body(body.to_string()).unwrap())?,
        None => agent.run(request.body(()).unwrap())?,
    };
    let text = response.body_mut().read_to_string()?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
}

/// A JWT of the App, with these claims in place of the usual ones.
pub(crate) fn jwt(sandbox: &Sandbox, claims: Value) -> String {
    let now = sandbox.clock().now().as_second();
    let app = sandbox.github().app();
    let mut all = json!({"iat": now - 60, "exp": now + 540, "iss": app.client_id});
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(app.private_key_pem.as_bytes()).unwrap();
    jsonwebtoken::encode(&jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256), &all, &key).unwrap()
}
