use crate::place::{Place, Ran};
use crate::pushing::{Published, REPOSITORY, given, piped};
use agent_task::{Outcome, RunRecord};
use sandbox::{Fault, How, Service, Trap};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// Where a trap leaves its mark, when it goes off.
fn mark(place: &Place, name: &str) -> String {
    std::fs::create_dir_all(place.path("ran")).unwrap();
    format!("touch {}", place.path("ran").join(name).display())
}

/// The traps that have gone off.
fn marks(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.path("ran")).into_iter().flatten();
    let mut marks: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    marks.sort();
    marks
}

const HOOKS: [&str; 6] = [
    "pre-push",
    "post-checkout",
    "post-rewrite",
    "reference-transaction",
    "post-index-change",
    "fsmonitor-watchman",
];

fn executable(path: &Path, script: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// What a workspace can set that would run something or send the push elsewhere, and with what arguments an ordinary git
/// falls for it (none where that takes more than this test has).
fn traps(place: &Place, trap: &Trap, server: &str) -> Vec<(&'static str, String, Vec<String>)> {
    let folder = place.path("hooks");
    for hook in HOOKS {
        executable(&folder.join(hook), &mark(place, "core.hooksPath"));
    }
    // Some are run without a shell.
    let script = |key: &str| {
        let path = place.path("scripts").join(key);
        executable(&path, &mark(place, key));
        path.display().to_string()
    };
    let (included, key) = (place.path("included"), "includeIf.gitdir:**.path");
    std::fs::write(&included, format!("[core]\n\taskPass = {}\n", script(key))).unwrap();
    let arguments = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let push = arguments(&format!("push {server}/{REPOSITORY}.git HEAD:refs/heads/agent/plain"));
    let file = |how: &str| arguments(&format!("cat-file --{how} HEAD:a.txt"));
    let own = |key: &'static str, tries: Vec<String>| (key, mark(place, key), tries);
    vec![
        own("core.fsmonitor", arguments("status")),
        own("core.sshCommand", arguments("ls-remote ssh://127.0.0.1/x")),
        ("core.gitProxy", script("core.gitProxy"), arguments("ls-remote git://127.0.0.1/x")),
        ("core.hooksPath", folder.display().to_string(), arguments("update-ref refs/x HEAD")),
        ("core.askPass", script("core.askPass"), push.clone()),
        own("core.alternateRefsCommand", vec![]),
        ("credential.helper", format!("!{}", mark(place, "credential.helper")), push.clone()),
        own("filter.f.clean", arguments("hash-object a.txt")),
        own("filter.f.smudge", file("filters")),
        own("filter.g.process", arguments("cat-file --filters HEAD:b.dat")),
        own("diff.d.textconv", file("textconv")),
        own("gpg.program", vec![]),
        ("push.gpgSign", "if-asked".to_owned(), vec![]),
        ("push.recurseSubmodules", "on-demand".to_owned(), vec![]),
        own("uploadpack.packObjectsHook", vec![]),
        (key, included.display().to_string(), push.clone()),
        ("include.path", included.display().to_string(), vec![]),
        ("http.sslVerify", "false".to_owned(), vec![]),
        ("http.followRedirects", "true".to_owned(), vec![]),
        ("http.proxy", trap.url(), push.clone()),
        ("http.cookieFile", "/etc/passwd".to_owned(), vec![]),
        ("url.TRAP.insteadOf", "http".to_owned(), push.clone()),
        ("url.TRAP.pushInsteadOf", "http".to_owned(), push),
    ]
}

const ATTRIBUTES: &str =
    "printf '*.txt filter=f diff=d\\n*.dat filter=g\\n' >.gitattributes; echo x >a.txt; echo x >b.dat";

/// The key with the address of the trap in it, where it belongs.
fn with_address(key: &str, trap: &Trap) -> String {
    key.replace("TRAP", &format!("{}/", trap.url()))
}

/// What every test of a good record ends with: one reference is pushed, to where the run says.
fn pushed_alone(published: &Published, record: &RunRecord, ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let branch = record.branch.as_deref().unwrap();
    assert_eq!(published.branches(), [format!("heads/{branch}"), "heads/main".to_owned()]);
    assert_eq!(published.remote(branch), record.head);
    let [push] = &published.sandbox.github().git_pushes()[..] else { panic!("one push") };
    assert_eq!(push.updates.len(), 1);
    assert_eq!(push.repository, REPOSITORY);
}

#[test]
fn an_ordinary_git_falls_for_the_traps() {
    let published = Published::new();
    let place = &published.place;
    let trap = Trap::start().unwrap();
    let record = published.record(ATTRIBUTES);
    place.git(["switch", "--quiet", record.branch.as_deref().unwrap()]);
    for (key, value, tries) in traps(place, &trap, &published.sandbox.github().server_url()) {
        if tries.is_empty() {
            continue;
        }
        let heard = trap.heard().len();
        let set = format!("{}={value}", with_address(key, &trap));
        let mut git = place.hermetic("git");
        let ran =
            Ran::of(git.args(["-c", &set]).args(&tries).env("GIT_TERMINAL_PROMPT", "0").output().unwrap());
        let went_off = marks(place).iter().any(|mark| mark == key) || trap.heard().len() > heard;
        assert!(went_off, "{key}: git {tries:?}: {}", ran.stderr);
    }
}

#[test]
fn nothing_of_the_workspace_runs_and_nothing_is_redirected() {
    let published = Published::new();
    let place = &published.place;
    let trap = Trap::start().unwrap();
    let record = published.record(ATTRIBUTES);
    for hook in HOOKS {
        executable(&place.work().join(".git/hooks").join(hook), &mark(place, hook));
    }
    for (key, value, _) in traps(place, &trap, &published.sandbox.github().server_url()) {
        place.git(["config", "--add", &with_address(key, &trap), &value]);
    }
    let ran = published.push(&record);
    assert_eq!((marks(place), trap.heard()), (vec![], vec![]));
    pushed_alone(&published, &record, &ran);
}

/// Neither do those of the person's home and of the environment: a job has none that it needs, or somebody else's.
#[test]
fn no_other_configuration_is_heard() {
    let published = Published::new();
    let place = &published.place;
    let trap = Trap::start().unwrap();
    let record = published.record("echo x >new");
    let redirect = format!("url.{}/.insteadOf", trap.url());
    let text = format!(
        "[url \"{}/\"]\n\tinsteadOf = http\n[core]\n\thooksPath = {}\n[credential]\n\thelper = !{}\n",
        trap.url(),
        place.path("hooks").display(),
        mark(place, "home"),
    );
    executable(&place.path("hooks/pre-push"), &mark(place, "home-hook"));
    std::fs::create_dir_all(place.path("home/.config/git")).unwrap();
    for file in ["home/.gitconfig", "home/.config/git/config", "system"] {
        std::fs::write(place.path(file), &text).unwrap();
    }
    std::fs::write(place.path("home/.netrc"), "default login x password from-netrc\n").unwrap();
    let mut command = published.command(place);
    command.env_remove("GIT_CONFIG_NOSYSTEM").env_remove("GIT_CONFIG_GLOBAL");
    let ours = mark(place, "environment");
    for (name, value) in [
        ("GIT_CONFIG_SYSTEM", place.path("system").to_str().unwrap()),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", &redirect),
        ("GIT_CONFIG_VALUE_0", "http"),
        ("GIT_CONFIG_PARAMETERS", &format!("'{redirect}'='http'")),
        ("GIT_ASKPASS", &ours),
        ("SSH_ASKPASS", &ours),
        ("GIT_SSH_COMMAND", &ours),
        ("GIT_PROXY_COMMAND", &ours),
        ("GIT_EXTERNAL_DIFF", &ours),
        ("GIT_DIR", place.path("nowhere").to_str().unwrap()),
        ("GIT_OBJECT_DIRECTORY", place.path("nowhere").to_str().unwrap()),
        ("GIT_ALTERNATE_OBJECT_DIRECTORIES", "/elsewhere"),
        ("GIT_EXEC_PATH", place.path("hooks").to_str().unwrap()),
        ("GIT_TRACE_CURL", place.path("trace").to_str().unwrap()),
    ] {
        command.env(name, value);
    }
    let ran = piped(&mut command, &record);
    assert_eq!((marks(place), trap.heard()), (vec![], vec![]));
    assert!(!place.path("trace").exists(), "a trace with the token in it");
    pushed_alone(&published, &record, &ran);
}

#[test]
fn the_token_is_not_taken_along_to_where_the_server_points() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let trap = Trap::start().unwrap();
    let location = format!("{}/{REPOSITORY}.git/info/refs?service=git-receive-pack", trap.url());
    published.sandbox.fail(Fault {
        times: 99,
        ..Fault::next(
            Service::Git,
            How::Status { code: 301, headers: vec![("location".into(), location)], body: String::new() },
        )
    });
    let ran = published.push(&record);
    assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!((trap.heard(), ran.record().push), (vec![], None));
}

#[test]
fn no_host_but_the_server_is_asked() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let mut command = published.place.program();
    command
        .args(["push", "--repo", REPOSITORY])
        .envs(published.sandbox.environment())
        .env("GITHUB_TOKEN", &published.token);
    let ran = piped(&mut command, &record);
    pushed_alone(&published, &record, &ran);
    let hosts: std::collections::BTreeSet<_> = published.sandbox.hosts_asked().into_iter().collect();
    assert_eq!(hosts.into_iter().collect::<Vec<_>>(), ["github.com:443"]);
    assert_eq!(published.sandbox.violations(), [""; 0]);
}

#[test]
fn a_submodule_is_not_gone_into() {
    let published = Published::new();
    let place = &published.place;
    let url = format!("ext::sh -c '{}'", mark(place, "ext"));
    std::fs::write(place.path("modules"), format!("[submodule \"s\"]\n\tpath = s\n\turl = {url}\n")).unwrap();
    let record = published.record(&format!(
        "cp {} .gitmodules; git add .gitmodules; git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),s; \
         git commit --quiet --message=submodule; git config submodule.s.url \"$(git config -f .gitmodules submodule.s.url)\"; \
         git config protocol.ext.allow always; git config push.recurseSubmodules on-demand; \
         git config fetch.recurseSubmodules yes; git init --quiet .git/modules/s",
        place.path("modules").display()
    ));
    let ran = published.push(&record);
    assert_eq!(marks(place), [""; 0]);
    pushed_alone(&published, &record, &ran);
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

/// An ordinary git finds the branch at `tip` to have the history of main, and is wrong.
fn no_history(published: &Published, mut record: RunRecord, tip: &str) {
    let place = &published.place;
    place.git(["branch", "--force", record.branch.as_deref().unwrap(), tip]);
    let main = place.git(["rev-parse", "main"]);
    assert_eq!(place.git(["merge-base", tip, "main"]), main, "an ordinary git believes it");
    record.base_commit = None;
    refused(published, &record, "no history in common");
}

/// A commit like `like`, but without a parent.
fn orphan(place: &Place, like: &str, message: &str) -> String {
    let tree = format!("{like}^{{tree}}");
    place.git(["commit-tree", "-m", message, &tree])
}

#[test]
fn replaced_and_grafted_parents_are_no_history() {
    let published = Published::new();
    let place = &published.place;
    let record = published.record("echo x >new");
    let head = record.head.clone().unwrap();
    let lonely = orphan(place, &head, "other");
    place.git(["replace", "--graft", &lonely, "main"]);
    let main = place.git(["rev-parse", "main"]);
    place.write(".git/info/grafts", &format!("{lonely} {main}\n"));
    no_history(&published, record, &lonely);
}

#[test]
fn a_commit_graph_that_lies_about_parents_is_not_believed() {
    let published = Published::new();
    let place = &published.place;
    let record = published.record("echo x >new");
    let head = record.head.clone().unwrap();
    place.git(["commit-graph", "write", "--reachable"]);
    // git reads the commit that it is asked for, and its ancestors from the graph, which finds them by their first byte and
    // then by their order: one with the same first byte takes the head's place.
    let lonely = (0..5000)
        .map(|number| orphan(place, &head, &number.to_string()))
        .find(|commit| commit[..2] == head[..2])
        .unwrap();
    let tip = place.git(["commit-tree", "-m", "tip", "-p", &lonely, &format!("{head}^{{tree}}")]);
    let graph = place.work().join(".git/objects/info/commit-graph");
    let mut bytes = std::fs::read(&graph).unwrap();
    let id = |text: &str| {
        (0..20).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect::<Vec<_>>()
    };
    let at = bytes.windows(20).position(|found| found == id(&head)).unwrap();
    bytes[at..at + 20].copy_from_slice(&id(&lonely));
    std::fs::remove_file(&graph).unwrap();
    std::fs::write(&graph, bytes).unwrap();
    no_history(&published, record, &tip);
}

#[test]
fn an_index_over_packs_that_lies_about_objects_is_not_believed() {
    let published = Published::new();
    let place = &published.place;
    let record = published.record("echo x >new");
    let head = record.head.clone().unwrap();
    let lonely = orphan(place, &head, "other");
    place.git(["branch", "lonely", &lonely]);
    place.git(["repack", "-a", "-d", "--quiet"]);
    place.git(["multi-pack-index", "write"]);
    // Its tip is checked against its name, what is before it is not: there the head's content stands for the one without a
    // parent.
    let tip = place.git(["commit-tree", "-m", "tip", "-p", &lonely, &format!("{head}^{{tree}}")]);
    let index = place.work().join(".git/objects/pack/multi-pack-index");
    let mut bytes = std::fs::read(&index).unwrap();
    let number = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let chunk = |bytes: &[u8], name: &[u8]| {
        let entries = bytes[12..].chunks(12).take_while(|entry| entry[..4] != [0; 4]);
        let entry = entries.into_iter().find(|entry| entry[..4] == *name).unwrap();
        number(entry, 8)
    };
    let (names, offsets) = (chunk(&bytes, b"OIDL"), chunk(&bytes, b"OOFF"));
    let place_of = |bytes: &[u8], commit: &str| {
        let ids =
            bytes[names..].chunks(20).map(|id| id.iter().map(|b| format!("{b:02x}")).collect::<String>());
        ids.into_iter().position(|id| id == commit).unwrap() * 8 + offsets
    };
    let (from, to) = (place_of(&bytes, &head), place_of(&bytes, &lonely));
    bytes.copy_within(from..from + 8, to);
    std::fs::remove_file(&index).unwrap();
    std::fs::write(&index, bytes).unwrap();
    no_history(&published, record, &tip);
}

#[test]
fn a_repository_that_is_elsewhere_is_refused() {
    let published = Published::new();
    let place = &published.place;
    let record = published.record("echo x >new");
    let git = place.work().join(".git");
    for (name, saying) in [
        ("objects/pack", "leads elsewhere"),
        ("refs/heads/agent", "is no folder"),
        ("refs/heads", "is no folder"),
        ("refs", "is no folder"),
        ("objects", "is no folder"),
        ("", "is neither a folder nor a file"),
    ] {
        let (here, elsewhere) = (place.work().join(Path::new(".git").join(name)), place.path("elsewhere"));
        let here = if name.is_empty() { git.clone() } else { here };
        std::fs::rename(&here, &elsewhere).unwrap();
        symlink(&elsewhere, &here).unwrap();
        refused(&published, &record, saying);
        std::fs::remove_file(&here).unwrap();
        std::fs::rename(&elsewhere, &here).unwrap();
    }
    // One object of somebody else's, whose name the agent knows.
    let other = Place::new();
    let theirs = other.git(["rev-parse", "HEAD:index.md"]);
    let file = format!("objects/{}/{}", &theirs[..2], &theirs[2..]);
    std::fs::remove_file(git.join(&file)).unwrap();
    symlink(other.work().join(".git").join(&file), git.join(&file)).unwrap();
    refused(&published, &record, "leads elsewhere");
}

#[test]
fn a_repository_that_says_that_it_is_elsewhere_is_refused() {
    let published = Published::new();
    let place = &published.place;
    let record = published.record("echo x >new");
    let other = Place::new();
    let elsewhere = other.work().join(".git").display().to_string();
    for (file, text, saying) in [
        ("commondir", elsewhere.as_str(), "says that the repository is elsewhere"),
        ("shallow", "../../elsewhere", "no list of commits"),
    ] {
        place.write(&format!(".git/{file}"), text);
        refused(&published, &record, saying);
        std::fs::remove_file(place.work().join(".git").join(file)).unwrap();
    }
    symlink(other.work().join(".git/HEAD"), place.work().join(".git/shallow")).unwrap();
    refused(&published, &record, "is no file");
}

#[test]
fn the_token_is_told_for_its_server_alone() {
    let place = Place::new();
    let told = |question: &str| {
        let mut command = place.program();
        command
            .args(["git-credential", "get"])
            .envs([("PRESSRUN_CREDENTIAL_SERVER", "https://github.com"), ("GITHUB_TOKEN", "ghs_of-the-run")]);
        given(&mut command, question.as_bytes()).stdout
    };
    let answer = told("protocol=https\nhost=github.com\n\n");
    assert_eq!(answer, "username=x-access-token\npassword=ghs_of-the-run\n");
    for other in [
        "protocol=https\nhost=evil.example\n\n",
        "protocol=https\nhost=github.com.evil.example\n\n",
        "protocol=https\nhost=github.com:8443\n\n",
        "protocol=https\nhost=me@github.com\n\n",
        "protocol=http\nhost=github.com\n\n",
        "host=github.com\n\n",
        "",
    ] {
        assert_eq!(told(other), "", "{other}");
    }
}

/// A file is read in pieces by everything that touches it: with less memory than it has bytes. The kernel sees to it.
#[test]
fn an_object_of_a_gibibyte_is_pushed_in_little_memory() {
    let published = Published::new();
    let record = published.record("yes 'a line of a large file' | head -c 1073741824 >large");
    let input = published.place.path("record.json");
    std::fs::write(&input, serde_json::to_vec(&record).unwrap()).unwrap();
    let limited = published.command(&published.place);
    let mut command = published.place.hermetic("sh");
    command
        .args(["-c", "ulimit -d 73728; exec \"$@\"", "sh"])
        .arg(limited.get_program())
        .args(limited.get_args())
        .env("GITHUB_TOKEN", &published.token)
        .stdin(std::fs::File::open(input).unwrap());
    let ran = Ran::of(command.output().unwrap());
    pushed_alone(&published, &record, &ran);
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
fn a_hundred_thousand_branches_and_odd_ones_do_no_harm() {
    let published = Published::new();
    let record = published.record("echo x >new");
    let commit = published.place.git(["rev-parse", "main"]);
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    for number in 0..100_000 {
        packed.push_str(&format!("{commit} refs/heads/x/{number:06}\n"));
    }
    for odd in [
        "../../../main",
        "agent/x:refs/heads/main",
        "--mirror",
        "$(touch ran)",
        "agent/\u{7f}\u{1b}[2J",
        "HEAD",
    ] {
        packed.push_str(&format!("{commit} refs/heads/{odd}\n"));
    }
    packed.push_str("no commit at all\n\u{0}\n");
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
