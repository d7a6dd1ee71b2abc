use serde_json::Value;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const TASK: &str = "apiVersion: agents.kyle.pericak.com/v1alpha1\nkind: AgentTask\nmetadata: {name: news}\n\
    spec: {agent: journalist, prompt: The news}\n";

struct Ended {
    code: i32,
    lines: Vec<Value>,
    stderr: String,
}

fn spawn_job(arguments: &[&str], stdin: &str) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_spawn-job"))
        .args(arguments)
        .env_clear()
        // No cluster: neither a kubeconfig nor a service account.
        .env("HOME", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without a look at it.
    let _ = command.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = command.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    Ended {
        code: output.status.code().unwrap(),
        lines: stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn settings() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.yaml");
    std::fs::write(&file, "image: a/b:1\nrepository: octo/blog\n").unwrap();
    (folder, file)
}

/// K15
#[test]
fn a_dry_run_needs_no_cluster_and_prints_what_would_be_made() {
    let (_folder, file) = settings();
    let arguments = ["--dry-run=client", "--config", file.to_str().unwrap()];
    let ended = spawn_job(&arguments, &format!("{TASK}---\n{}", TASK.replace("news", "olds")));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.lines.len(), 2);
    for (line, task) in ended.lines.iter().zip(["news", "olds"]) {
        assert_eq!(
            (&line["kind"], &line["task"], &line["result"]),
            (&"SpawnReport".into(), &task.into(), &"planned".into())
        );
        assert_eq!(line["namespace"], "ai-agents");
        let kinds: Vec<_> =
            line["objects"].as_array().unwrap().iter().map(|object| object["kind"].clone()).collect();
        assert_eq!(kinds, ["PersistentVolumeClaim", "Job"]);
        assert_eq!(line["objects"][1]["apiVersion"], "batch/v1");
        assert_eq!(line["objects"][1]["metadata"]["name"], line["run"]);
    }
}

/// K15
#[test]
fn one_bad_document_and_nothing_is_made() {
    let (_folder, file) = settings();
    let arguments = ["--dry-run", "--config", file.to_str().unwrap()];
    let good = TASK.replace("news", "good");
    for (bad, place, why) in [
        (TASK.replace("prompt", "promt"), "document 2 (AgentTask news)", "spec.promt: unknown field `promt`"),
        (TASK.replace("spec: {", "spec: {{"), "document 2", "is no YAML: "),
    ] {
        let ended = spawn_job(&arguments, &format!("{good}---\n{bad}"));
        assert_eq!(ended.code, 2);
        assert!(ended.stderr.contains(&format!("nothing was made: {place}: {why}")), "{}", ended.stderr);
        assert!(ended.stderr.contains("hint: kubectl explain"));
        // Each has its line.
        let [first, second] = &ended.lines[..] else { panic!("two lines: {:?}", ended.lines) };
        assert_eq!((&first["result"], &first["task"]), (&"failed".into(), &"good".into()));
        assert_eq!(first["error"], format!("nothing was made, because of {place}"));
        assert_eq!((&second["result"], &second["task"]), (&"failed".into(), &place.into()));
        assert!(second["error"].as_str().unwrap().starts_with(why), "{second}");
    }
}

/// K15
#[test]
fn empty_input_no_settings_and_no_cluster_are_told() {
    let (_folder, file) = settings();
    let file = file.to_str().unwrap();
    for (arguments, stdin, told) in [
        (&["--config", file][..], "", "stdin, which is empty"),
        (&["--config", file], "# nothing\n", "stdin, which is empty"),
        (&["--config", file], TASK, "no cluster is configured"),
        (&["--dry-run"], TASK, "no cluster is configured"),
        (&["--config", "/nowhere.yaml"], TASK, "no cluster is configured"),
        (&["--dry-run", "--config", "/nowhere.yaml"], TASK, "cannot read the settings from /nowhere.yaml"),
        (&["--dry-run", "--config", file, "--follow"], TASK, "cannot be used with"),
        (&["--run", "x"], TASK, "--run goes with --stage publish"),
    ] {
        let ended = spawn_job(arguments, stdin);
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
        assert!(ended.lines.is_empty());
    }
}

/// K3
#[test]
fn a_task_that_the_settings_do_not_fit_fails_alone() {
    let (_folder, file) = settings();
    std::fs::write(&file, "image: a/b:1\n").unwrap();
    let named = TASK.replace("prompt:", "repository: octo/blog, prompt:");
    let ended = spawn_job(&["--dry-run", "--config", file.to_str().unwrap()], &format!("{TASK}---\n{named}"));
    assert_eq!(ended.code, 2);
    assert_eq!((&ended.lines[0]["result"], &ended.lines[1]["result"]), (&"failed".into(), &"planned".into()));
    assert!(ended.stderr.contains("spec.repository"));
}

/// K1, I4
#[test]
fn the_samples_are_tasks() {
    let (_folder, file) = settings();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/samples");
    let mut made = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let sample = std::fs::read_to_string(&path).unwrap();
            let ended = spawn_job(&["--dry-run=client", "--config", file.to_str().unwrap()], &sample);
            assert_eq!(ended.code, 0, "{}: {}", path.display(), ended.stderr);
            made += 1;
        }
    }
    assert_eq!(made, 4);
}

/// K15
#[test]
fn completions_are_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let program =
            Command::new(env!("CARGO_BIN_EXE_spawn-job")).args(["--completions", shell]).output().unwrap();
        let printed = String::from_utf8(program.stdout).unwrap();
        assert!(program.status.success() && printed.contains("wait-timeout"), "{shell}: {printed}");
    }
}

/// K15
#[test]
fn a_reader_that_went_away_is_no_failure() {
    let (_folder, file) = settings();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = Command::new(env!("CARGO_BIN_EXE_spawn-job"))
        .args(["--dry-run=client", "--config", file.to_str().unwrap()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(TASK.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(0), ""));
}
