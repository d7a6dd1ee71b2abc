//! `start-dev-bg.sh` by itself.

use e2e::World;
use serde_json::Value;
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

fn script() -> String {
    e2e::workspace().join("scripts/start-dev-bg.sh").to_string_lossy().into_owned()
}

/// Whether a process is there and not only waiting to be reaped.
fn is_alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// P14
#[test]
fn a_server_answers_when_its_address_is_printed_and_ends_with_its_owner() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    let mut owner = world.command("cat").stdin(Stdio::piped()).spawn()?;
    let output = world
        .command(&script())
        .env("PRESSRUN_PID", owner.id().to_string())
        .args(["--", "python3", "-m", "http.server", "--bind", "127.0.0.1", "{port}"])
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let server: Value = serde_json::from_slice(&output.stdout)?;
    let pid = server["pid"].as_u64().unwrap();
    let url = server["url"].as_str().unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    assert!(is_alive(pid));
    TcpStream::connect(&address)?;

    // The owner is killed the hard way; what is waited for is the server's end itself.
    owner.kill()?;
    owner.wait()?;
    let ended =
        world.command("timeout").args(["20", "tail", "-f", "/dev/null", &format!("--pid={pid}")]).status()?;
    assert!(ended.success(), "the server outlives its owner");
    assert!(TcpStream::connect(&address).is_err());
    Ok(())
}

/// P14
#[test]
fn a_port_in_use_is_a_clear_error() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let output = world.command(&script()).args(["--port", &port, "--", "sleep", "60"]).output()?;
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr)?;
    assert!(stderr.contains(&format!("port {port} is in use")), "{stderr}");
    Ok(())
}

/// P14
#[test]
fn a_server_that_dies_or_never_answers_is_a_clear_error_and_leaves_no_process() -> anyhow::Result<()> {
    let world = World::without_scenario()?;
    let output =
        world.command(&script()).args(["--", "sh", "-c", "echo no such theme >&2; exit 3"]).output()?;
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr)?;
    assert!(stderr.contains("ended before it answered") && stderr.contains("no such theme"), "{stderr}");

    let pid_file = world.path("pid");
    let silent = format!("echo $$ > {}; exec sleep 600", pid_file.display());
    let output = world.command(&script()).args(["--timeout", "1", "--", "sh", "-c", &silent]).output()?;
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr)?;
    assert!(stderr.contains("nothing answers at http://127.0.0.1:"), "{stderr}");
    let pid = std::fs::read_to_string(&pid_file)?;
    assert!(!is_alive(pid.trim().parse()?), "the server is still there");
    Ok(())
}
