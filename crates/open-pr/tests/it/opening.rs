use crate::hub::{BRANCH, Hub, REPOSITORY};
use crate::process::{open_pr, shell};
use sandbox::{Fault, How, Service};
use serde_json::{Value, json};

fn answer(method: &str, path: &str, code: u16, body: &str) -> Fault {
    Fault {
        method: Some(method.to_owned()),
        path_prefix: path.to_owned(),
        ..Fault::next(Service::GitHub, How::Status { code, headers: Vec::new(), body: body.to_owned() })
    }
}

/// P7
#[test]
fn a_pull_request_is_opened_from_the_branch_into_the_base() {
    let hub = Hub::new();
    let ended = hub.run(&hub.record("A post about lighthouses."));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));

    let pulls = hub.pull_requests();
    let [pull] = pulls.as_slice() else { panic!("{pulls:?}") };
    assert_eq!((pull.head.as_str(), pull.base.as_str()), (BRANCH, "main"));
    assert_eq!((pull.state.as_str(), pull.draft, &pull.head_sha), ("open", false, &hub.head));
    assert_eq!(pull.title, "A post about lighthouses");
    for part in [
        "```text\nA post about lighthouses.\n```",
        "| Outcome | `success`: the work is done |",
        "| Branch | `agent/publisher-1790635538` into `main` |",
        "| Cost | $0.42 |",
        "| Turns | 14 |",
        "| Duration | 3 min 05 s |",
        "| `posts/x.md` | `added` |",
    ] {
        assert!(pull.body.contains(part), "{part} is not in\n{}", pull.body);
    }
    let mut expected = hub.record("A post about lighthouses.");
    expected["pullRequest"] = json!({
        "number": pull.number, "url": format!("https://github.com/octo/blog/pull/{}", pull.number), "state": "open",
        "draft": false, "operation": "created",
    });
    let record = ended.document();
    for (name, value) in expected.as_object().unwrap() {
        if name != "report" {
            assert_eq!(&record[name], value, "{name}");
        }
    }
    assert_eq!(hub.sandbox.violations(), Vec::<String>::new());
}

/// P7
#[test]
fn a_pipe_made_by_hand_is_enough() {
    let hub = Hub::new();
    let script = format!(
        r#"printf '%s' '{{"kind":"RunRecord","run":"r-1-000000","agent":"publisher","prompt":"By hand","outcome":"success",
            "base":"main","startedAt":"2026-11-22T22:00:00Z","push":{{"repository":"{REPOSITORY}","branch":"{BRANCH}",
            "head":"{}","operation":"created"}}}}' | open-pr | cat"#,
        hub.head
    );
    let ended = shell(&script)
        .env("GITHUB_API_URL", &hub.sandbox.github().api_url())
        .env("GITHUB_TOKEN", &hub.token)
        .run("");
    assert_eq!(ended.document()["pullRequest"]["operation"], "created", "{}", ended.stderr);
    assert_eq!(hub.pull_requests()[0].title, "By hand");
}

/// P7
#[test]
fn a_second_time_finds_the_first_ones() {
    let hub = Hub::new();
    let [first, second] = [(); 2].map(|()| hub.run(&hub.record("A post")).document()["pullRequest"].clone());
    assert_eq!([&first["operation"], &second["operation"]], ["created", "existing"]);
    assert_eq!(first["number"], second["number"]);
    assert_eq!(hub.pull_requests().len(), 1);
    assert_eq!(hub.calls().len(), 3, "nothing is written the second time: {:?}", hub.calls());
}

/// P7
#[test]
fn one_that_somebody_opens_in_between_is_found() {
    let hub = Hub::new();
    hub.run(&hub.record("A post"));
    hub.sandbox.fail(answer("GET", "/repos/octo/blog/pulls", 200, "[]"));
    let ended = hub.run(&hub.record("A post"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.document()["pullRequest"]["operation"], "existing");
    assert_eq!(hub.pull_requests().len(), 1);
}

/// P7
#[test]
fn a_closed_one_does_not_count() {
    let hub = Hub::new();
    hub.run(&hub.record("A post"));
    hub.change(1, &json!({"state": "closed"}));
    let ended = hub.run(&hub.record("A post"));
    assert_eq!(ended.document()["pullRequest"]["operation"], "created", "{}", ended.stderr);
    let states: Vec<_> = hub.pull_requests().into_iter().map(|pull| (pull.number, pull.state)).collect();
    assert_eq!(states, [(1, "closed".to_owned()), (2, "open".to_owned())]);
}

/// P7, P9
#[test]
fn an_unfinished_run_opens_a_draft_which_the_finished_one_refreshes() {
    let mut hub = Hub::new();
    let ended = hub.run(&hub.unfinished("A post"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let record = ended.document();
    assert_eq!((&record["outcome"], &record["pullRequest"]["draft"]), (&json!("turn-limit"), &json!(true)));
    let draft = hub.pull_requests().remove(0);
    assert_eq!((draft.title.as_str(), draft.draft), ("[unfinished] A post", true));
    assert!(
        draft.body.contains("The run ended at the stage `writer`: the turn limit was reached."),
        "{}",
        draft.body
    );

    hub.work_on();
    let ended = hub.run(&hub.record("A post"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        ended.stderr,
        "open-pr: https://github.com/octo/blog/pull/1 stays a draft: mark it as ready for review on its page\n"
    );
    let finished = hub.pull_requests().remove(0);
    assert_eq!((finished.title.as_str(), &finished.head_sha), ("A post", &hub.head));
    assert!(finished.body.contains("`success`") && !finished.body.contains("writer"), "{}", finished.body);
    assert_eq!(ended.document()["pullRequest"]["draft"], true, "the record says how it is");
    assert_eq!(hub.sandbox.violations(), Vec::<String>::new());
}

#[test]
fn what_a_person_wrote_stays() {
    let hub = Hub::new();
    hub.run(&hub.unfinished("A post"));
    hub.change(1, &json!({"title": "Lighthouses", "body": "Mine now."}));
    let ended = hub.run(&hub.record("A post"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let pull = hub.pull_requests().remove(0);
    assert_eq!((pull.title.as_str(), pull.body.as_str()), ("Lighthouses", "Mine now."));
}

#[test]
fn labels_are_put_on_it() {
    let hub = Hub::new();
    let ended =
        hub.open_pr().args(&["--label", "agent", "--label", "blog"]).run(hub.record("A post").to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(hub.pull_requests()[0].labels, ["agent", "blog"]);
    assert_eq!(hub.sandbox.violations(), Vec::<String>::new());
}

#[test]
fn a_label_that_is_refused_is_a_warning() {
    let hub = Hub::new();
    hub.sandbox.fail(answer(
        "POST",
        "/repos/octo/blog/issues",
        403,
        r#"{"message":"Resource not accessible"}"#,
    ));
    let ended = hub.open_pr().args(&["--label", "agent"]).run(hub.record("A post").to_string());
    assert_eq!((ended.code, &ended.document()["outcome"]), (Some(0), &json!("success")));
    assert!(ended.stderr.starts_with("open-pr: warning: labelling the pull request"), "{}", ended.stderr);
}

#[test]
fn where_there_are_no_drafts_it_is_opened_ready_for_review() {
    let hub = Hub::new();
    let refusal = r#"{"message":"Draft pull requests are not supported in this repository."}"#;
    hub.sandbox.fail(answer("POST", "/repos/octo/blog/pulls", 422, refusal));
    let ended = hub.run(&hub.unfinished("A post"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("warning: this repository has no drafts"), "{}", ended.stderr);
    let pull = hub.pull_requests().remove(0);
    assert_eq!((pull.draft, pull.title.as_str()), (false, "[unfinished] A post"));
}

#[test]
fn a_draft_is_what_was_asked_for() {
    let hub = Hub::new();
    hub.open_pr().args(&["--draft", "always"]).run(hub.record("A post").to_string());
    assert!(hub.pull_requests()[0].draft);
    let hub = Hub::new();
    hub.open_pr().args(&["--draft", "never"]).run(hub.unfinished("A post").to_string());
    assert!(!hub.pull_requests()[0].draft);
}

#[test]
fn a_dry_run_asks_nobody() {
    let hub = Hub::new();
    let ended =
        hub.open_pr().args(&["--dry-run", "--label", "agent"]).run(hub.unfinished("A post").to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let plan = ended.document();
    assert_eq!(
        [
            &plan["repository"],
            &plan["branch"],
            &plan["base"],
            &plan["draft"],
            &plan["title"],
            &plan["labels"]
        ],
        [
            &json!(REPOSITORY),
            &json!(BRANCH),
            &json!("main"),
            &json!(true),
            &json!("[unfinished] A post"),
            &json!(["agent"])
        ]
    );
    assert_eq!(hub.calls(), Vec::<String>::new());
}

fn merged(hub: &Hub, record: &Value) -> Value {
    let ended = hub.open_pr().args(&["--merged", "--repo", REPOSITORY]).run(record.to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.document()
}

/// P7: what a person has merged has had its pull request.
#[test]
fn one_that_was_merged_at_the_runs_head_counts() {
    let mut hub = Hub::new();
    hub.run(&hub.record("A post"));
    let record = hub.record("A post");
    let open = merged(&hub, &record);
    assert!(open["push"].is_null() && open["pullRequest"].is_null(), "{open}");
    hub.sandbox.github().merge(REPOSITORY, 1);
    let found = merged(&hub, &record);
    assert_eq!(
        (&found["pullRequest"]["state"], &found["push"]["head"]),
        (&json!("merged"), &json!(hub.head))
    );
    let calls = hub.calls().len();
    assert_eq!(hub.run(&record).document()["pullRequest"], found["pullRequest"]);
    assert_eq!(hub.calls().len() - calls, 1, "it is not touched");

    // What came after that is not merged.
    hub.work_on();
    let more = hub.record("A post");
    assert!(merged(&hub, &more)["pullRequest"].is_null());
    assert_eq!(hub.run(&more).document()["pullRequest"]["number"], 2);
}

/// P7: what cannot be known keeps nothing from being pushed.
#[test]
fn what_github_does_not_say_is_not_merged() {
    let hub = Hub::new();
    hub.sandbox.fail(answer("GET", "/repos/octo/blog/pulls", 401, "{}"));
    assert!(merged(&hub, &hub.record("A post"))["pullRequest"].is_null());
}

#[test]
fn github_is_asked_through_the_proxy_under_its_own_name() {
    let hub = Hub::new();
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), format!("{}\n", hub.token)).unwrap();
    let mut open_pr = open_pr()
        .env("GITHUB_API_URL", "")
        .env("GITHUB_REPOSITORY", "")
        .env("GITHUB_TOKEN_FILE", token.path().to_str().unwrap());
    for (name, value) in hub.sandbox.environment() {
        open_pr = open_pr.env(&name, &value);
    }
    let ended = open_pr.run(hub.record("A post").to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(hub.pull_requests().len(), 1);
    assert!(hub.sandbox.hosts_asked().iter().all(|host| host == "api.github.com:443"));
}

#[test]
fn an_agents_text_notifies_nobody_and_closes_nothing() {
    let hub = Hub::new();
    let mut record = hub.record("Fixes #12 for @octocat\n```\n<script>alert(1)</script>\n# Heading");
    record["report"]["result"] = "closes GH-3, cc @octo/team https://github.com/octo/blog/issues/4".into();
    let ended = hub.run(&record);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let pull = hub.pull_requests().remove(0);
    for text in [&pull.title, &pull.body] {
        for acting in ["#12", "@octocat", "GH-3", "@octo/team", "/issues/4"] {
            assert!(!text.contains(acting), "{acting} acts in\n{text}");
        }
    }
    assert!(
        pull.body.contains("\n````text\nFixes "),
        "the fence is longer than the one inside: {}",
        pull.body
    );
}

#[test]
fn a_secret_of_the_environment_is_not_published() {
    let hub = Hub::new();
    let mut record = hub.record("A post about hunter2-hunter2");
    record["report"]["result"] = "I found hunter2-hunter2 in the environment".into();
    let ended = hub.open_pr().env("CLAUDE_CODE_OAUTH_TOKEN", "hunter2-hunter2").run(record.to_string());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let pull = hub.pull_requests().remove(0);
    assert!(
        !pull.title.contains("hunter2") && !pull.body.contains("hunter2"),
        "{}\n{}",
        pull.title,
        pull.body
    );
}
