//! GitHub's API: what an App may ask, and how it is refused.

use crate::client::{Answer, ask, ask_with, branch, jwt, seed};
use jiff::SignedDuration;
use sandbox::Sandbox;
use serde_json::{Value, json};
use tempfile::TempDir;

const REPOSITORY: &str = "octo/blog";
const PULLS: &str = "/repos/octo/blog/pulls";
const INSTALLATION: &str = "/repos/octo/blog/installation";

fn mint(sandbox: &Sandbox, body: Value) -> Answer {
    let path = format!("/app/installations/{}/access_tokens", sandbox.github().app().installation_id);
    ask(sandbox, &jwt(sandbox, json!({})), "POST", &path, Some(&body))
}

#[test]
fn a_jwt_is_judged_by_its_claims_and_the_sandboxs_clock() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.github().add_repository(REPOSITORY);
    let app_id = sandbox.github().app().app_id;
    let now = sandbox.clock().now().as_second();
    let asked = |claims: Value| ask(&sandbox, &jwt(&sandbox, claims), "GET", INSTALLATION, None);

    for good in [json!({}), json!({"iss": app_id}), json!({"iss": app_id.to_string()})] {
        let answer = asked(good.clone());
        assert_eq!(answer.status, 200, "{good}: {}", answer.body);
        assert_eq!(answer.body["id"], sandbox.github().app().installation_id);
    }
    for (bad, status, says) in [
        (json!({"iat": now + 30}), 401, "'Issued at' claim"),
        (json!({"exp": now - 1}), 401, "must be a numeric value representing the future time"),
        (json!({"exp": now + 700}), 401, "too far in the future"),
        (json!({"iat": now - 120, "exp": now + 540}), 401, "too far in the future"),
        (json!({"iss": "Iv1.another"}), 404, "Integration not found"),
    ] {
        let answer = asked(bad.clone());
        assert_eq!(answer.status, status, "{bad}");
        assert!(answer.message().contains(says), "{bad}: {}", answer.body);
        assert_eq!(answer.body["status"], status.to_string());
        assert!(answer.body["documentation_url"].is_string());
    }

    let mut forged = jwt(&sandbox, json!({}));
    let last = if forged.ends_with("AAAA") { "BBBB" } else { "AAAA" };
    forged.replace_range(forged.len() - 8..forged.len() - 4, last);
    assert_eq!(ask(&sandbox, &forged, "GET", "/app", None).status, 401);
    let early = jwt(&sandbox, json!({}));
    sandbox.clock().advance(SignedDuration::from_mins(-5));
    assert!(ask(&sandbox, &early, "GET", "/app", None).message().contains("'Issued at'"));
    sandbox.clock().advance(SignedDuration::from_mins(20));
    assert!(ask(&sandbox, &early, "GET", "/app", None).message().contains("future time"));
    assert_eq!(sandbox.violations(), [""; 0]);
}

#[test]
fn both_forms_of_the_key_are_the_same_key() {
    let sandbox = Sandbox::start().unwrap();
    let app = sandbox.github().app();
    assert!(app.private_key_pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    assert!(app.private_key_pkcs8_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let sign = |pem: &str| {
        let key = jsonwebtoken::EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
        jsonwebtoken::encode(&header, &json!({"x": 1}), &key).unwrap()
    };
    assert_eq!(sign(&app.private_key_pem), sign(&app.private_key_pkcs8_pem));
}

#[test]
fn a_token_is_minted_for_what_was_asked_and_no_more_than_is_installed() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.github().add_repository(REPOSITORY);
    sandbox.github().add_repository("octo/other");
    sandbox.github().add_foreign_repository("octo/secret");

    let minted = mint(&sandbox, json!({"repositories": ["blog"], "permissions": {"contents": "write"}}));
    assert_eq!(minted.status, 201);
    let token = minted.body["token"].as_str().unwrap();
    assert!(token.starts_with("ghs_") && token.contains('.') && token.len() > 500);
    assert_eq!(minted.body["permissions"], json!({"contents": "write", "metadata": "read"}));
    assert_eq!(minted.body["repository_selection"], "selected");
    assert_eq!(minted.body["repositories"][0]["full_name"], REPOSITORY);
    let expires: jiff::Timestamp = minted.body["expires_at"].as_str().unwrap().parse().unwrap();
    let life = expires.duration_since(sandbox.clock().now());
    assert!(life <= SignedDuration::from_hours(1) && life > SignedDuration::from_mins(59), "{life}");

    assert_eq!(ask(&sandbox, token, "GET", "/repos/octo/blog", None).body["default_branch"], "main");
    assert_eq!(ask(&sandbox, token, "GET", "/repos/octo/other", None).status, 404);
    let narrow = ask(&sandbox, token, "GET", PULLS, None);
    assert_eq!((narrow.status, narrow.message()), (403, "Resource not accessible by integration"));

    for (bad, says) in [
        (json!({"repositories": ["nowhere"]}), "at least one repository that does not exist"),
        (json!({"repositories": ["secret"]}), "at least one repository that does not exist"),
        (json!({"repositories": ["octo/blog"]}), "at least one repository that does not exist"),
        (json!({"permissions": {"administration": "write"}}), "permissions requested are not granted"),
        (json!({"permissions": {"metadata": "write"}}), "permissions requested are not granted"),
    ] {
        let answer = mint(&sandbox, bad.clone());
        assert_eq!(answer.status, 422, "{bad}");
        assert!(answer.message().contains(says), "{bad}: {}", answer.body);
    }
    let jwt = jwt(&sandbox, json!({}));
    assert_eq!(ask(&sandbox, &jwt, "GET", "/repos/octo/secret/installation", None).status, 404);
    assert_eq!(ask(&sandbox, &jwt, "POST", "/app/installations/1/access_tokens", None).status, 404);

    let wide = mint(&sandbox, json!({})).body["token"].as_str().unwrap().to_owned();
    assert_eq!(ask(&sandbox, &wide, "GET", "/repos/octo/other", None).status, 200);
    assert_eq!(ask(&sandbox, &wide, "GET", "/repos/octo/secret", None).status, 404);
}

#[test]
fn a_token_ends_when_it_expires_or_is_revoked() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.github().add_repository(REPOSITORY);
    let token = sandbox.github().mint(REPOSITORY, &[]);
    let read = |token: &str| ask(&sandbox, token, "GET", "/repos/octo/blog", None);
    assert_eq!(read(&token).status, 200);
    assert_eq!(ask(&sandbox, &token, "DELETE", "/installation/token", None).status, 204);
    assert_eq!((read(&token).status, read(&token).message()), (401, "Bad credentials"));

    let token = sandbox.github().mint(REPOSITORY, &[]);
    sandbox.clock().advance(SignedDuration::from_mins(59));
    assert_eq!(read(&token).status, 200);
    sandbox.clock().advance(SignedDuration::from_mins(2));
    assert_eq!((read(&token).status, read(&token).message()), (401, "Bad credentials"));
}

#[test]
fn a_pull_request_is_opened_found_changed_and_labelled() {
    let (sandbox, home) = (Sandbox::start().unwrap(), TempDir::new().unwrap());
    let bare = sandbox.github().add_repository(REPOSITORY);
    seed(home.path(), &bare);
    branch(home.path(), &bare, "agent/x-1");
    let token = sandbox.github().mint(REPOSITORY, &[("pull_requests", "write"), ("contents", "read")]);
    let asked =
        |method: &str, path: &str, body: Option<Value>| ask(&sandbox, &token, method, path, body.as_ref());

    let new = json!({"title": "T", "head": "agent/x-1", "base": "main", "body": "B", "draft": true});
    let opened = asked("POST", PULLS, Some(new.clone()));
    assert_eq!((opened.status, &opened.body["number"]), (201, &json!(1)), "{}", opened.body);
    assert_eq!(opened.body["html_url"], "https://github.com/octo/blog/pull/1");
    let again = asked("POST", PULLS, Some(new));
    assert_eq!((again.status, again.message()), (422, "Validation Failed"));
    let exists = "A pull request already exists for octo:agent/x-1.";
    assert_eq!(
        again.body["errors"],
        json!([{"resource": "PullRequest", "code": "custom", "message": exists}])
    );

    let found = |query: &str| asked("GET", &format!("{PULLS}?{query}"), None).body.as_array().unwrap().len();
    assert_eq!(found("state=open&head=octo:agent/x-1&base=main"), 1);
    assert_eq!(found("head=octo:agent/x-2"), 0);
    assert_eq!(found("head=other:agent/x-1"), 0);
    assert_eq!(found("state=closed"), 0);

    let labelled =
        asked("POST", "/repos/octo/blog/issues/1/labels", Some(json!({"labels": ["agent", "agent"]})));
    assert_eq!((labelled.status, labelled.body[0]["name"].as_str()), (200, Some("agent")));
    let changed = asked("PATCH", &format!("{PULLS}/1"), Some(json!({"title": "U", "state": "closed"})));
    assert_eq!((&changed.body["title"], &changed.body["state"]), (&json!("U"), &json!("closed")));

    let pull = sandbox.github().pull_requests(REPOSITORY).remove(0);
    assert_eq!((pull.title.as_str(), pull.body.as_str(), pull.state.as_str()), ("U", "B", "closed"));
    assert!(pull.draft);
    assert_eq!(pull.labels, ["agent"]);
    assert_eq!(Some(pull.head_sha), sandbox.github().branch(REPOSITORY, "agent/x-1"));
    assert_eq!(sandbox.violations(), [""; 0]);
}

#[test]
fn a_pull_request_that_cannot_be_is_refused_as_github_does() {
    let (sandbox, home) = (Sandbox::start().unwrap(), TempDir::new().unwrap());
    let bare = sandbox.github().add_repository(REPOSITORY);
    seed(home.path(), &bare);
    branch(home.path(), &bare, "x");
    let token = sandbox.github().mint(REPOSITORY, &[("pull_requests", "write")]);
    let error = |body: Value| {
        let answer = ask(&sandbox, &token, "POST", PULLS, Some(&body));
        assert_eq!(answer.status, 422, "{body}: {}", answer.body);
        answer.body["errors"][0].clone()
    };
    let field = |field: &str| json!({"resource": "PullRequest", "field": field, "code": "invalid"});
    assert_eq!(error(json!({"title": "T", "head": "nowhere", "base": "main"})), field("head"));
    assert_eq!(error(json!({"title": "T", "head": "x", "base": "nowhere"})), field("base"));
    assert_eq!(
        error(json!({"title": "T", "head": "main", "base": "main"}))["message"],
        "No commits between main and main"
    );
    assert_eq!(error(json!({"head": "x", "base": "main"}))["code"], "missing_field");
    let long = error(json!({"title": "T".repeat(257), "head": "x", "base": "main"}));
    assert_eq!(long["message"], "title is too long (maximum is 256 characters)");

    let reader = sandbox.github().mint(REPOSITORY, &[("pull_requests", "read")]);
    let new = json!({"title": "T", "head": "x", "base": "main"});
    assert_eq!(ask(&sandbox, &reader, "POST", PULLS, Some(&new)).status, 403);
    assert_eq!(ask(&sandbox, "ghs_wrong", "POST", PULLS, Some(&new)).status, 401);
    assert!(sandbox.github().pull_requests(REPOSITORY).is_empty());
}

#[test]
fn what_github_lets_pass_is_a_violation() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.github().add_repository(REPOSITORY);
    let token = sandbox.github().mint(REPOSITORY, &[]);
    let url = format!("{}{PULLS}", sandbox.github().api_url());
    let bearer = ("authorization", format!("Bearer {token}"));
    let agent = ("user-agent", "t".to_owned());

    let nobody = ask_with(std::slice::from_ref(&bearer), "GET", &url, None).unwrap();
    assert_eq!(nobody.status, 403);
    assert!(nobody.body.as_str().unwrap().contains("User-Agent header"));
    assert_eq!(ask_with(&[bearer.clone(), agent.clone()], "GET", &url, None).unwrap().status, 200);
    let version = ("x-github-api-version", "1999-01-01".to_owned());
    assert_eq!(ask_with(&[bearer, agent, version], "GET", &url, None).unwrap().status, 400);
    ask(&sandbox, &token, "GET", &format!("{PULLS}?head=branch"), None);
    ask(&sandbox, &token, "POST", PULLS, Some(&json!({"titel": "T"})));

    let seen = sandbox.violations().join("\n");
    for expected in [
        "no User-Agent",
        "Accept is",
        "no X-GitHub-Api-Version",
        "head=branch is not OWNER:BRANCH",
        "unknown field \"titel\"",
    ] {
        assert!(seen.contains(expected), "{expected} not in:\n{seen}");
    }
}

#[test]
fn every_answer_says_what_is_left_of_the_quota() {
    let sandbox = Sandbox::start().unwrap();
    for path in ["/app", "/nowhere"] {
        let answer = ask(&sandbox, "x", "GET", path, None);
        let number = |name: &str| answer.headers[name].to_str().unwrap().parse::<i64>().unwrap();
        assert!((1..5000).contains(&number("x-ratelimit-remaining")));
        assert!(number("x-ratelimit-reset") > sandbox.clock().now().as_second());
    }
    let requests = sandbox.github().requests();
    let seen: Vec<_> = requests.iter().map(|request| (request.path.as_str(), request.status)).collect();
    assert_eq!(seen, [("/app", 401), ("/nowhere", 404)]);
    assert_eq!(requests[0].header("authorization"), Some("Bearer x"));
    assert_eq!(
        ask(&sandbox, "x", "GET", "/api/v3/app", None).message(),
        "A JSON web token could not be decoded"
    );
}
