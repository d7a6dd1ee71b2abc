//! The proxy: what gets through, what does not, and what is left behind.

use crate::client::{program, run, stdout};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sandbox::{Fault, How, Sandbox, Service};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn curl(sandbox: &Sandbox, home: &Path) -> Command {
    let mut curl = program("curl", home);
    curl.envs(sandbox.environment()).args(["-sS", "--max-time", "20"]);
    curl
}

fn status(sandbox: &Sandbox, url: &str) -> String {
    let home = TempDir::new().unwrap();
    let mut curl = curl(sandbox, home.path());
    stdout(curl.args(["-o", "/dev/null", "-w", "%{http_code} %{http_version}", url]))
}

#[test]
fn the_real_names_reach_the_stand_ins_over_tls() {
    let sandbox = Sandbox::start().unwrap();
    assert_eq!(status(&sandbox, "https://api.github.com/app"), "401 1.1");
    assert_eq!(
        status(&sandbox, "https://github.com/octo/blog.git/info/refs?service=git-upload-pack"),
        "401 1.1"
    );
    assert_eq!(status(&sandbox, &sandbox.discord().webhook_url_real()), "200 1.1");
    assert_eq!(status(&sandbox, "https://statsig.anthropic.com/v1/x"), "404 1.1");
    assert_eq!(sandbox.github().requests()[0].path, "/app");
    let hosts = ["api.github.com:443", "github.com:443", "discord.com:443", "statsig.anthropic.com:443"];
    assert_eq!(sandbox.hosts_asked(), hosts);
}

#[test]
fn every_other_host_is_refused_and_recorded() {
    let (sandbox, home) = (Sandbox::start().unwrap(), TempDir::new().unwrap());
    for url in ["https://example.com/", "https://api.github.com:8443/", "https://notanthropic.com/"] {
        let output = run(curl(&sandbox, home.path()).arg(url));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("403"), "{url}: {said}");
    }
    assert_eq!(status(&sandbox, "http://example.com/x"), "403 1.1");
    let hosts = ["example.com:443", "api.github.com:8443", "notanthropic.com:443", "example.com:80"];
    assert_eq!(sandbox.hosts_asked(), hosts);
}

#[test]
fn only_who_trusts_the_ca_gets_through() {
    let (sandbox, home) = (Sandbox::start().unwrap(), TempDir::new().unwrap());
    let mut curl = program("curl", home.path());
    curl.args(["-sS", "--proxy", &sandbox.proxy_url(), "https://api.github.com/app"]);
    let output = run(&mut curl);
    assert_eq!(output.status.code(), Some(60), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(sandbox.github().requests().is_empty());
}

#[test]
fn a_tunnel_can_be_refused_broken_and_cut() {
    let (sandbox, home) = (Sandbox::start().unwrap(), TempDir::new().unwrap());
    let code = || run(curl(&sandbox, home.path()).arg("https://api.github.com/app")).status.code();
    let unavailable = How::Status { code: 502, headers: Vec::new(), body: String::new() };
    for (how, expected) in [(unavailable, 56), (How::Disconnect, 56), (How::CutAfter(10), 35)] {
        sandbox.fail(Fault::next(Service::Proxy, how.clone()));
        assert_eq!(code(), Some(expected), "{how:?}");
    }
    assert_eq!(code(), Some(0));
}

/// The processes that were started with this text in their environment.
fn processes_with(text: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let environments = processes.filter_map(|process| std::fs::read(process.path().join("environ")).ok());
    environments.filter(|environment| String::from_utf8_lossy(environment).contains(text)).count()
}

#[test]
fn nothing_is_left_after_the_end() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.github().add_repository("octo/blog");
    let token = sandbox.github().mint("octo/blog", &[("contents", "write")]);
    let directory = sandbox.ca_file().parent().unwrap().to_owned();
    let address = sandbox.github().server_url().strip_prefix("http://").unwrap().to_owned();

    // A push that never ends: the server asks for the body once git reads it.
    let mut stalled = TcpStream::connect(&address).unwrap();
    let basic = BASE64_STANDARD.encode(format!("x-access-token:{token}"));
    write!(
        stalled,
        "POST /octo/blog.git/git-receive-pack HTTP/1.1\r\nhost: {address}\r\nauthorization: Basic {basic}\r\n\
         content-type: application/x-git-receive-pack-request\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n"
    )
    .unwrap();
    let mut line = String::new();
    BufReader::new(stalled.try_clone().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    let name = directory.to_str().unwrap();
    assert!(processes_with(name) > 0);

    drop(sandbox);
    assert_eq!(processes_with(name), 0);
    assert!(TcpStream::connect(&address).is_err());
    assert!(!directory.exists());
}
