//! The key in every form in which people have it.

use crate::world::{Done, PROGRAM, World};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

fn with_key(world: &World, key: &str) -> Done {
    Done::of(world.command(PROGRAM).args(["--repo", "octo/blog"]).env("GITHUB_APP_PRIVATE_KEY", key), "")
}

#[test]
fn every_form_of_the_key_signs() {
    let world = World::new();
    let app = world.sandbox.github().app();
    for pem in [&app.private_key_pem, &app.private_key_pkcs8_pem] {
        for key in [
            pem.clone(),
            pem.replace('\n', "\r\n"),
            pem.replace('\n', "\\n"),
            pem.replace('\n', " "),
            format!("\"{pem}\""),
            BASE64_STANDARD.encode(pem),
            BASE64_STANDARD.encode(pem.replace('\n', "\r\n")),
        ] {
            assert_eq!(with_key(&world, &key).json()["repository"], "octo/blog");
        }
    }
    world.no_violations();
}

#[test]
fn a_key_comes_from_a_file_too() {
    let world = World::new();
    let file = world.home.path().join("app.pem");
    std::fs::write(&file, &world.sandbox.github().app().private_key_pem).unwrap();
    let done = Done::of(
        world
            .command(PROGRAM)
            .args(["--repo", "octo/blog"])
            .env_remove("GITHUB_APP_PRIVATE_KEY")
            .env("GITHUB_APP_PRIVATE_KEY_FILE", &file),
        "",
    );
    assert_eq!(done.json()["repository"], "octo/blog");
}

#[test]
fn a_key_that_is_none_is_denied_and_not_shown() {
    let world = World::new();
    let pem = &world.sandbox.github().app().private_key_pem;
    let damaged = pem.replacen("MII", "MIJ", 1);
    for key in ["hunter2-hunter2", &pem[..400], &damaged, &pem.replace("RSA PRIVATE", "EC PRIVATE")] {
        let done = with_key(&world, key);
        done.fails(4, &["GITHUB_APP_PRIVATE_KEY: it is", "hint: download a private key"]);
        assert!(!done.stderr.contains("hunter2"));
        assert!(world.key_lines().iter().all(|line| !done.stderr.contains(line)));
    }
    assert!(world.sandbox.github().requests().is_empty());
}

#[test]
fn missing_credentials_are_named() {
    let world = World::new();
    let done = Done::of(world.bare(PROGRAM).args(["--repo", "octo/blog"]), "");
    done.fails(4, &["GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY is not set", "hint: set GITHUB_APP_ID"]);
    let both = Done::of(
        world.command(PROGRAM).args(["--repo", "octo/blog"]).env("GITHUB_APP_PRIVATE_KEY_FILE", "/x"),
        "",
    );
    both.fails(4, &["GITHUB_APP_PRIVATE_KEY and GITHUB_APP_PRIVATE_KEY_FILE are both set"]);
}

#[test]
fn neither_key_nor_jwt_shows_on_the_command_line_or_in_the_output() {
    let world = World::new();
    let child = world
        .command(PROGRAM)
        .args(["--repo", "octo/blog"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Readable until the child is waited for: at worst empty, when it has ended already.
    let argv = std::fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap();
    let done = Done::from(child.wait_with_output().unwrap());
    let token = done.json()["token"].as_str().unwrap().to_owned();
    assert!(!argv.contains(&token) && !done.stderr.contains(&token));
    let jwts = world.sandbox.github().requests();
    for jwt in jwts.iter().filter_map(|request| request.header("authorization")?.strip_prefix("Bearer ")) {
        assert!(!done.stdout.contains(jwt) && !done.stderr.contains(jwt));
    }
    for line in world.key_lines() {
        assert!([&argv, &done.stdout, &done.stderr].iter().all(|text| !text.contains(&line)));
    }
}
