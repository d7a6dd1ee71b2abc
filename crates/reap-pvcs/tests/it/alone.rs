use crate::process::Reap;
use cluster::Cluster;

/// K5
#[test]
fn the_helps_examples_work_when_pasted() {
    let cluster = Cluster::shared_control_plane();
    let help = Reap::new().args(&["--help"]).run();
    assert_eq!(help.code, Some(0));
    let (_, examples) = help.stdout.split_once("\nExamples:\n").unwrap();
    for example in examples.lines() {
        let ended = Reap::shell(example).kubeconfig(cluster.kubeconfig()).run();
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{example}");
    }
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let completions = Reap::new().args(&["--completions", shell]).run();
        assert!(completions.code == Some(0) && completions.stdout.contains("keep-failed"), "{shell}");
    }
}

/// K5
#[test]
fn a_reader_that_went_away_is_no_failure() {
    let ended = Reap::on(Cluster::shared_control_plane(), "default").run_unread();
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
}

/// K5
#[test]
fn wrong_usage_does_nothing_and_says_why() {
    for (args, why) in [
        (&["--keep-failed", "soon"][..], "72h"),
        (&["--host-path-root", "/"], "not '/'"),
        (&["--host-path-root", "/nowhere/at/all"], "/nowhere/at/all"),
        (&["--claims-only", "--host-path-root", "/srv"], "cannot be used with"),
        (&["surplus"], "unexpected argument"),
    ] {
        let ended = Reap::new().args(args).run();
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(why), "{args:?}: {ended:?}");
    }
}

/// K5
#[test]
fn no_cluster_is_wrong_usage_and_one_that_does_not_answer_is_worth_a_retry() {
    let ended = Reap::new().run();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("hint: set KUBECONFIG"), "{ended:?}");

    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: a, contexts: [{{name: a, context: {{cluster: a, user: a}}}}], \
         clusters: [{{name: a, cluster: {{server: 'http://127.0.0.1:{port}'}}}}], users: [{{name: a, user: {{}}}}]}}"
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let ended = Reap::new().kubeconfig(&kubeconfig).run();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("the API server cannot be reached"), "{ended:?}");
}
