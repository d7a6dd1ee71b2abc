use crate::place::Place;
use crate::pushing::{Published, REPOSITORY, piped};
use agent_task::{Outcome, RunRecord};

/// What a workspace can set that would run something, or send the push elsewhere.
fn traps(place: &Place) -> Vec<(&'static str, String)> {
    let touch = format!("touch {}", place.path("ran").display());
    vec![
        ("core.fsmonitor", touch.clone()),
        ("core.sshCommand", touch.clone()),
        ("core.gitProxy", touch.clone()),
        ("core.hooksPath", place.path("hooks").display().to_string()),
        ("core.askPass", touch.clone()),
        ("core.alternateRefsCommand", touch.clone()),
        ("core.pager", touch.clone()),
        ("credential.helper", format!("!{touch}; cat >{}", place.path("asked").display())),
        ("filter.f.clean", touch.clone()),
        ("filter.f.smudge", touch.clone()),
        ("filter.f.process", touch.clone()),
        ("gpg.program", touch.clone()),
        ("push.gpgSign", "true".to_owned()),
        ("http.proxy", "http://127.0.0.1:9".to_owned()),
        ("http.sslVerify", "false".to_owned()),
        ("uploadpack.packObjectsHook", touch),
        ("include.path", place.path("included").display().to_string()),
        ("url.http://127.0.0.1:9/.insteadOf", "http".to_owned()),
        ("url.http://127.0.0.1:9/.pushInsteadOf", "http".to_owned()),
    ]
}

#[test]
fn nothing_of_the_workspace_runs_and_nothing_is_redirected() {
    let published = Published::new();
    let place = &published.place;
    let record = published.record("echo '*.txt filter=f' >.gitattributes; echo x >a.txt");
    for folder in ["hooks", "work/.git/hooks"] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
        for hook in
            ["pre-push", "post-checkout", "reference-transaction", "post-index-change", "fsmonitor-watchman"]
        {
            let path = place.path(folder).join(hook);
            std::fs::write(&path, format!("#!/bin/sh\ntouch {}\n", place.path("ran").display())).unwrap();
            std::process::Command::new("chmod").arg("+x").arg(path).status().unwrap();
        }
    }
    for (key, value) in traps(place) {
        place.git(["config", "--add", key, &value]);
    }
    let ran = published.push(&record);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!place.path("ran").exists(), "something ran");
    assert!(!place.path("asked").exists(), "a helper was asked");
    let branch = record.branch.unwrap();
    assert_eq!(published.branches(), [format!("heads/{branch}"), "heads/main".to_owned()]);
    assert_eq!(published.remote(&branch), record.head);
    let [push] = &published.sandbox.github().git_pushes()[..] else { panic!("one push") };
    assert_eq!(push.updates.len(), 1);
}

fn refused(published: &Published, record: &RunRecord, saying: &str) {
    let ran = published.push(record);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let told = ran.record();
    assert_eq!(told.outcome, Outcome::WorkspaceInvalid, "{}", ran.stderr);
    assert!(told.error.as_ref().unwrap().contains(saying), "{:?}", told.error);
    assert_eq!(told.push, None);
    assert_eq!(published.sandbox.github().git_pushes(), []);
}

#[test]
fn objects_from_elsewhere_are_refused() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let other = Place::new();
    let alternates = published.place.work().join(".git/objects/info/alternates");
    std::fs::write(&alternates, format!("{}\n", other.work().join(".git/objects").display())).unwrap();
    refused(&published, &record, "takes objects from elsewhere");
}

#[test]
fn a_history_of_its_own_is_refused() {
    let published = Published::new();
    let mut record = published.record("echo x >new");
    let branch = record.branch.clone().unwrap();
    published.place.git(["switch", "--quiet", "--orphan", "other"]);
    published.place.git(["commit", "--quiet", "--allow-empty", "--message=other"]);
    published.place.git(["branch", "--force", &branch, "other"]);
    record.base_commit = None;
    refused(&published, &record, "no history in common");
}

#[test]
fn a_branch_that_does_not_descend_from_where_it_began_is_refused() {
    let published = Published::new();
    published.place.git(["commit", "--quiet", "--allow-empty", "--message=second"]);
    let record = published.record("echo x >new");
    let branch = record.branch.clone().unwrap();
    published.place.git(["switch", "--quiet", "--detach", "main~1"]);
    published.place.git(["commit", "--quiet", "--allow-empty", "--message=other"]);
    published.place.git(["branch", "--force", &branch, "HEAD"]);
    refused(&published, &record, "does not descend");
}

#[test]
fn a_branch_that_is_not_there_is_refused() {
    let published = Published::new();
    let mut record = published.record("echo x >new");
    record.branch = Some("agent/none".to_owned());
    refused(&published, &record, "no branch agent/none");
    let branch = published.place.work().join(".git/refs/heads/agent/link");
    std::os::unix::fs::symlink("/etc/passwd", branch).unwrap();
    record.branch = Some("agent/link".to_owned());
    refused(&published, &record, "is no file");
}

#[test]
fn the_record_cannot_choose_what_is_not_its_own() {
    let published = Published::new();
    let good = published.record("echo x >new");
    let tries: [&dyn Fn(&mut RunRecord); 6] = [
        &|record| record.branch = Some("main".into()),
        &|record| record.branch = Some("agent/x:refs/heads/main".into()),
        &|record| record.branch = Some("agent/../main".into()),
        &|record| record.base = "--upload-pack=touch".into(),
        &|record| record.base = "other".into(),
        &|record| record.run = "x/../../main".into(),
    ];
    for change in tries {
        let mut record = good.clone();
        change(&mut record);
        let ran = piped(published.command(&published.place).args(["--allow-base", "main"]), &record);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    }
    assert_eq!(published.sandbox.github().git_pushes(), []);
}

#[test]
fn a_hundred_thousand_branches_do_no_harm() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let commit = published.place.git(["rev-parse", "main"]);
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    for number in 0..100_000 {
        packed.push_str(&format!("{commit} refs/heads/x/{number:06}\n"));
    }
    std::fs::write(published.place.work().join(".git/packed-refs"), packed).unwrap();
    assert_eq!(published.push(&record).code, Some(0));
    assert_eq!(published.branches().len(), 2);
}

#[test]
fn another_repository_is_not_reached_with_the_token() {
    let published = Published::new();
    published.sandbox.github().add_repository("octo/other");
    let record = published.record("echo x >new");
    let mut command = published.place.program();
    command
        .args(["push", "--repo", "octo/other", "--server-url", &published.sandbox.github().server_url()])
        .env("GITHUB_TOKEN", &published.token);
    let ran = piped(&mut command, &record);
    assert_eq!((ran.code, ran.record().push), (Some(1), None), "{}", ran.stderr);
    assert!(!ran.stderr.contains(REPOSITORY));
}
