use crate::place::Ran;
use crate::pushing::{Published, piped};
use agent_task::{Outcome, RunRecord, Stage};

const LOGIN: &str = "sk-ant-oat01-this-is-the-login-token-of-the-run";
const WEBHOOK: &str =
    "https://discord.com/api/webhooks/123456789012345678/aB3dE5gH7jK9mN1pQ3sT5vX7zB9dF1hJ3lN5pR7tV9xZ";
/// Looks like a token, and nobody knows it.
const STRANGER: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";

fn push(published: &Published, record: &RunRecord, options: &[&str]) -> Ran {
    let key = published.place.path("key.pem");
    std::fs::write(&key, &published.sandbox.github().app().private_key_pem).unwrap();
    let mut command = published.command(&published.place);
    command
        .args(options)
        .env("CLAUDE_CODE_OAUTH_TOKEN", LOGIN)
        .env("DISCORD_WEBHOOK_URL", WEBHOOK)
        .env("GITHUB_APP_PRIVATE_KEY_FILE", key);
    piped(&mut command, record)
}

/// Nothing is pushed, and the value is not told.
fn stopped(published: &Published, ran: &Ran, told: &str, value: &str) {
    assert_eq!(ran.code, Some(1), "{told}: {}", ran.stderr);
    let record = ran.record();
    assert_eq!((record.outcome, record.stage), (Outcome::SecretInDiff, Some(Stage::new(Stage::PUSH))));
    assert!(record.error.as_ref().unwrap().contains(told), "{told}: {:?}", record.error);
    assert_eq!((record.push, published.sandbox.github().git_pushes()), (None, vec![]));
    assert!(!ran.stdout.contains(value) && !ran.stderr.contains(value), "{told}: {}", ran.stderr);
}

#[test]
fn a_known_secret_is_found_wherever_it_stands() {
    let published = Published::new();
    let key = published.sandbox.github().app().private_key_pem.lines().nth(3).unwrap().to_owned();
    let path_of_webhook = WEBHOOK.rsplit('/').next().unwrap();
    let token = published.token.clone();
    for (script, told, value) in [
        (format!("mkdir a; echo 'my {LOGIN}' >a/post.md"), "CLAUDE_CODE_OAUTH_TOKEN in a/post.md", LOGIN),
        (format!("printf '\\0\\1%s\\377' {token} >image.png"), "GITHUB_TOKEN in image.png", &token),
        (format!("echo {LOGIN} | base64 -w0 >x"), "CLAUDE_CODE_OAUTH_TOKEN in x", LOGIN),
        (format!("echo 'the login is {LOGIN}' | base64 >x"), "CLAUDE_CODE_OAUTH_TOKEN in x", LOGIN),
        (format!("echo 'x {key}' >notes"), "GITHUB_APP_PRIVATE_KEY in notes", &key),
        (format!("echo '{WEBHOOK}' >notes"), "DISCORD_WEBHOOK_URL in notes", path_of_webhook),
        (format!("mkdir d; echo x >d/{LOGIN}"), "CLAUDE_CODE_OAUTH_TOKEN in a file's name in d/", LOGIN),
        (format!("echo x >{LOGIN}"), "CLAUDE_CODE_OAUTH_TOKEN in a file's name", LOGIN),
        (
            format!("git commit --quiet --allow-empty --message='with {LOGIN}'"),
            "CLAUDE_CODE_OAUTH_TOKEN in the message or author of commit",
            LOGIN,
        ),
        (
            format!(
                "echo {LOGIN} >gone; git add gone; git commit --quiet --message=x; git rm --quiet gone; echo x >y"
            ),
            "CLAUDE_CODE_OAUTH_TOKEN in gone",
            LOGIN,
        ),
    ] {
        let record = published.record(&script);
        assert!(record.commits > 0, "{told}: {:?}", record.error);
        stopped(&published, &push(&published, &record, &["--allow-secret-shapes"]), told, value);
    }
}

#[test]
fn a_secret_in_the_branch_name_is_found() {
    let published = Published::new();
    let branch = format!("agent/{LOGIN}");
    let record = published.place.run(&["--branch", &branch], "echo x >y").record();
    let ran = push(&published, &record, &[]);
    assert_eq!((ran.code, ran.record().outcome), (Some(1), Outcome::SecretInDiff), "{}", ran.stderr);
    assert_eq!(published.sandbox.github().git_pushes(), []);
}

#[test]
fn a_token_that_nobody_told_us_of_is_found_by_its_shape() {
    let published = Published::new();
    let record = published.record(&format!("echo 'export X={STRANGER}' >.env"));
    let ran = push(&published, &record, &[]);
    stopped(&published, &ran, "github-token in .env", STRANGER);
    assert!(ran.stderr.contains("hint: ") && ran.stderr.contains("--allow-secret-shapes"), "{}", ran.stderr);
    assert_eq!(push(&published, &record, &["--allow-secret-shapes"]).code, Some(0));
}

#[test]
fn what_is_no_secret_or_published_already_is_pushed() {
    let published = Published::new();
    let place = &published.place;
    place.write("old", &format!("{STRANGER}\n"));
    place.git(["add", "old"]);
    place.git(["commit", "--quiet", "--message=of somebody else"]);
    published.push_main();
    let record = published.record(
        "mv old moved; { echo 'ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'; \
         echo 'Authorization: Bearer 0123456789abcdef0123456789'; echo 'password=hunter2hunter2'; \
         echo '-----BEGIN RSA PRIVATE KEY-----'; echo 'MIIEow...'; \
         echo '-----END RSA PRIVATE KEY-----'; } >post.md",
    );
    let ran = push(&published, &record, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn the_end_of_a_large_file_is_searched_too() {
    let published = Published::new();
    let record = published.record(&format!("{{ yes | head -c 20000000; echo {LOGIN}; }} >large"));
    stopped(&published, &push(&published, &record, &[]), "CLAUDE_CODE_OAUTH_TOKEN in large", LOGIN);
}

/// P9: the first ones, where there are many.
#[test]
fn only_so_many_places_are_told() {
    let published = Published::new();
    let record = published.record(&format!("for n in $(seq 40); do echo $n {LOGIN} >file$n; done"));
    let ran = push(&published, &record, &[]);
    stopped(&published, &ran, "CLAUDE_CODE_OAUTH_TOKEN in file1;", LOGIN);
    assert_eq!(ran.record().error.unwrap().matches(" in file").count(), 5);
}
