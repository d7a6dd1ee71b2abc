use crate::place::{Place, Ran};
use agent_task::Outcome;

/// P2
#[test]
fn work_lands_on_a_branch_of_its_own_and_main_stays() {
    let place = Place::new();
    let main = place.git(["rev-parse", "main"]);
    let record_file = place.path("record.json");
    let script = "echo new >new.md; rm index.md; echo x >ignored; mkdir -p a/b; echo deep >a/b/c";
    let ran = place.run(&["--prompt", "a topic", "--record", record_file.to_str().unwrap()], script);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let record = ran.record();
    assert_eq!(record.outcome, Outcome::Success);
    let branch = record.branch.clone().unwrap();
    assert_eq!(branch, format!("agent/writer-{}", record.started_at.as_second()));
    assert_eq!(record.base_commit.as_deref(), Some(main.as_str()));
    assert_eq!(record.head.as_deref(), Some(place.git(["rev-parse", &branch]).as_str()));
    assert_eq!((record.commits, record.files_changed), (1, 3));
    let files: Vec<_> = record.files.iter().map(|file| format!("{} {}", file.status, file.path)).collect();
    assert_eq!(files, ["added a/b/c", "deleted index.md", "added new.md"]);
    let body = place.git(["log", "-1", "--format=%B", &branch]);
    assert_eq!(body, format!("writer: work that was left uncommitted\n\nPressrun-Run: {}", record.run));

    assert_eq!(place.git(["rev-parse", "main"]), main);
    assert_eq!(place.branch(), "main");
    assert!(
        place.is_clean() && place.work().join("index.md").exists() && !place.work().join("new.md").exists()
    );
    assert_eq!(std::fs::read_to_string(record_file).unwrap(), ran.stdout);
}

/// P2
#[test]
fn runs_of_one_second_get_branches_of_their_own() {
    let place = Place::new();
    // A branch for each second that the run can start in.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for second in now..now + 60 {
        place.git(["branch", &format!("agent/writer-{second}")]);
    }
    let record = place.run(&[], "touch a").record();
    assert_eq!(record.branch.unwrap(), format!("agent/writer-{}-2", record.started_at.as_second()));

    place.git(["update-ref", "refs/remotes/origin/agent/given", "HEAD"]);
    let record = place.run(&["--branch", "agent/given"], "touch a").record();
    assert_eq!(record.branch.as_deref(), Some("agent/given-2"), "taken in origin");
}

/// P2
#[test]
fn two_clones_at_once_share_nothing() {
    let (one, two) = (Place::new(), Place::new());
    let runs = [&one, &two].map(|place| {
        let mut command = place.run_with(&[], "touch a");
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    });
    let [first, second] = runs.map(|run| Ran::of(run.wait_with_output().unwrap()).record());
    assert_ne!(first.run, second.run, "the names may be the same, the runs are not: push tells them apart");
    assert_eq!((first.commits, second.commits), (1, 1));
}

#[test]
fn commits_of_the_command_and_what_it_left_are_both_there() {
    let place = Place::new();
    let script = "echo 1 >one; git add one; git commit --quiet -m one; echo 2 >two";
    let record = place.run(&[], script).record();
    assert_eq!((record.commits, record.files_changed), (2, 2));
}

#[test]
fn nothing_left_is_no_change() {
    let place = Place::new();
    let ran = place.run(&["--exit-code"], "echo x >ignored");
    assert_eq!((ran.code, ran.record().outcome), (Some(0), Outcome::NoChange));
}

/// P2
#[test]
fn work_on_a_detached_head_or_another_branch_is_brought_home() {
    for away in [
        "git checkout --quiet --detach",
        "git switch --quiet -c feature",
        "git switch --quiet main",
        "git branch -m renamed",
    ] {
        let place = Place::new();
        let main = place.git(["rev-parse", "main"]);
        let script =
            format!("{away} && echo 1 >one && git add one && git commit --quiet -m one && echo 2 >two");
        let ran = place.run(&[], &script);
        let record = ran.record();
        assert_eq!((record.outcome, record.commits), (Outcome::Success, 2), "{away}: {}", ran.stderr);
        assert_eq!(place.git(["rev-parse", &record.branch.unwrap()]), record.head.unwrap(), "{away}");
        assert_eq!(place.git(["rev-parse", "main"]), main, "{away}: the base is put back");
        assert_eq!(place.branch(), "main", "{away}");
        assert!(place.is_clean(), "{away}");
    }
}

#[test]
fn going_back_to_the_base_after_committing_is_fine() {
    let place = Place::new();
    let script = "echo 1 >one && git add one && git commit --quiet -m one && git switch --quiet main";
    let record = place.run(&[], script).record();
    assert_eq!((record.outcome, record.commits), (Outcome::Success, 1));
    assert_eq!(place.branch(), "main");
}

/// P2
#[test]
fn a_base_that_was_moved_along_is_put_back_under_the_work_tree_too() {
    let place = Place::new();
    let main = place.git(["rev-parse", "main"]);
    let script = "echo 1 >one && git add one && git commit --quiet -m one && git branch -f main && \
        echo 2 >one && git commit --quiet -am two && git switch --quiet main";
    let ran = place.run(&[], script);
    assert_eq!((ran.record().outcome, ran.record().commits), (Outcome::Success, 2), "{}", ran.stderr);
    assert_eq!((place.branch(), place.git(["rev-parse", "main"])), ("main".to_owned(), main));
    assert!(place.is_clean(), "{}", ran.stderr);
}

#[test]
fn work_in_two_places_is_kept_in_both() {
    let place = Place::new();
    let script =
        "echo 1 >one && git add one && git commit --quiet -m one && git switch --quiet main && echo 2 >two";
    let record = place.run(&[], script).record();
    assert_eq!((record.outcome, record.unfinished), (Outcome::WorkspaceInvalid, true));
    let branch = record.branch.unwrap();
    assert_eq!(place.git(["show", &format!("{branch}:one")]), "1");
    assert_eq!(place.git(["show", &format!("{branch}-left:two")]), "2");
    assert_eq!(place.branch(), "main", "where it was before the run");
    assert!(record.error.unwrap().contains(&format!("{branch}-left")));
}

#[test]
fn a_rewritten_history_is_kept_and_said() {
    let place = Place::new();
    place.git(["commit", "--quiet", "--allow-empty", "--message=second"]);
    let script = "git reset --quiet --hard HEAD~1 && echo 1 >one";
    let record = place.run(&[], script).record();
    assert_eq!(record.outcome, Outcome::WorkspaceInvalid);
    assert!(record.error.unwrap().contains("no longer descends"));
    assert_eq!(place.git(["show", &format!("{}:one", record.branch.unwrap())]), "1");

    let place = Place::new();
    let record = place.run(&[], "git checkout --quiet --orphan new && echo 1 >one").record();
    assert_eq!(record.outcome, Outcome::WorkspaceInvalid);
    let branch = record.branch.unwrap();
    assert_eq!(place.git(["show", &format!("{branch}-left:one")]), "1");
}

#[test]
fn a_merge_with_conflicts_is_committed_as_it_stands_and_said() {
    let place = Place::new();
    let script = "git switch --quiet -c side && echo side >index.md && git commit --quiet -am side && \
        git switch --quiet - && echo ours >index.md && git commit --quiet -am ours && ! git merge side";
    let record = place.run(&[], script).record();
    assert_eq!((record.outcome, record.unfinished), (Outcome::WorkspaceInvalid, true));
    let left = place.git(["show", &format!("{}:index.md", record.branch.unwrap())]);
    assert!(left.contains("<<<<<<<") && left.contains("side"), "{left}");
    assert!(!place.work().join(".git/MERGE_HEAD").exists());
    assert_eq!(place.branch(), "main");
}

#[test]
fn a_merge_without_conflicts_is_finished() {
    let place = Place::new();
    let script = "git switch --quiet -c side && echo side >side.md && git add . && git commit --quiet -m side && \
        git switch --quiet - && echo ours >index.md && git commit --quiet -am ours && git merge --no-commit side";
    let record = place.run(&[], script).record();
    assert_eq!((record.outcome, record.commits), (Outcome::Success, 3));
    assert_eq!(place.git(["log", "-1", "--format=%p", &record.head.unwrap()]).split(' ').count(), 2);
}

#[test]
fn hooks_and_filters_of_the_repository_do_not_run() {
    let place = Place::new();
    let ran = place.path("ran");
    let script = format!(
        "for hook in pre-commit post-commit post-checkout reference-transaction; do \
           printf '#!/bin/sh\\ntouch {0}' >.git/hooks/$hook; chmod +x .git/hooks/$hook; done; \
         git config filter.f.clean 'touch {0}; cat'; git config core.fsmonitor 'touch {0}'; \
         echo '*.txt filter=f' >.gitattributes; echo x >a.txt",
        ran.display()
    );
    let record = place.run(&[], &script).record();
    assert_eq!((record.outcome, record.commits), (Outcome::Success, 1));
    assert!(!ran.exists());
}

#[test]
fn a_tree_that_cannot_be_committed_stays_as_it_is() {
    let place = Place::new();
    let ran = place.run(&[], "echo x >left; rm -rf .git/objects; touch .git/objects");
    let record = ran.record();
    assert_eq!(ran.code, Some(0));
    assert_eq!((record.outcome, record.stage.unwrap().as_str()), (Outcome::CommitFailed, "commit"));
    assert_eq!(std::fs::read_to_string(place.work().join("left")).unwrap(), "x\n");
}

#[test]
fn a_repository_that_was_turned_away_from_its_tree_is_not_committed_to() {
    let place = Place::new();
    let other = place.path("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("private"), "x").unwrap();
    let record =
        place.run(&[], &format!("git config core.worktree {}; echo x >left", other.display())).record();
    assert_eq!(record.outcome, Outcome::CommitFailed);
    assert!(place.work().join("left").exists());
}

#[test]
fn the_branch_is_kept_where_asked() {
    let place = Place::new();
    let record = place.run(&["--keep-branch"], "touch a").record();
    assert_eq!(place.branch(), record.branch.unwrap());
}

/// A repository in the work tree, with a commit of its own and something that is not committed.
const CLONED: &str = "git init --quiet themes/x && cd themes/x && echo theme >theme.css && git add . && \
    git -c user.name=a -c user.email=a@b.c commit --quiet -m theme && mkdir .github && echo more >.github/more && cd ../..";

/// P2: a clone in the work tree is the agent's work. Its files are committed as any other, its history is kept beside.
#[test]
fn a_repository_in_the_work_tree_is_committed_as_files() {
    let place = Place::new();
    let script = format!(
        "{CLONED}; git init --quiet empty; git init --quiet themes/x/deep; echo d >themes/x/deep/d; echo post >post.md"
    );
    let ran = place.run(&["--branch", "agent/nested", "--run", "writer-1-aaaaaa"], &script);
    let record = ran.record();
    assert_eq!((record.outcome, record.commits), (Outcome::Success, 1), "{}", ran.stderr);
    let files: Vec<_> = record.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["post.md", "themes/x/.github/more", "themes/x/deep/d", "themes/x/theme.css"]);
    assert_eq!((place.branch().as_str(), place.is_clean()), ("main", true), "{}", ran.stderr);
    let aside = place.work().join(".git/pressrun-nested/writer-1-aaaaaa/themes/x/.git");
    assert_eq!(place.git_in(&aside, ["log", "--format=%s"]), "theme");
    assert!(ran.stderr.contains("themes/x"), "{}", ran.stderr);
    assert_eq!(place.run(&[], "echo next >next").code, Some(0), "it is in nobody's way");
}

/// P2: also where it was made around files that are tracked.
#[test]
fn a_repository_around_tracked_files_hides_nothing() {
    let place = Place::new();
    std::fs::create_dir(place.work().join("posts")).unwrap();
    place.write("posts/old.md", "old\n");
    place.git(["add", "."]);
    place.git(["commit", "--quiet", "--message=posts"]);
    let ran = place.run(
        &[],
        "cd posts && git init --quiet && git -c user.name=a -c user.email=a@b.c commit --quiet --allow-empty -m x && echo new >new.md",
    );
    let record = ran.record();
    let files: Vec<_> = record.files.iter().map(|file| format!("{} {}", file.status, file.path)).collect();
    assert_eq!(
        (record.outcome, files),
        (Outcome::Success, vec!["added posts/new.md".to_owned()]),
        "{}",
        ran.stderr
    );
    assert_eq!(place.git(["show", &format!("{}:posts/old.md", record.branch.unwrap())]), "old");
    assert!(place.is_clean(), "{}", ran.stderr);
}

/// P2
#[test]
fn a_submodule_stays_one() {
    let place = Place::new();
    let other = Place::new();
    let add = format!(
        "git -c protocol.file.allow=always submodule --quiet add {} themes/x",
        other.work().display()
    );
    for script in [add.clone(), format!("{add} && git rm --quiet --cached themes/x")] {
        let ran = place.run(&[], &format!("{script}; echo post >post.md"));
        let record = ran.record();
        assert_eq!(record.outcome, Outcome::Success, "{}", ran.stderr);
        let tree = place.git(["ls-tree", "--format=%(objectmode) %(path)", "-r", &record.branch.unwrap()]);
        assert!(
            tree.contains("160000 themes/x") && tree.contains("100644 post.md"),
            "{tree}\n{}",
            ran.stderr
        );
        assert!(!place.work().join(".git/pressrun-nested").exists());
        place.git(["switch", "--quiet", "--force", "main"]);
        place.git(["clean", "--quiet", "-ffdx"]);
        std::fs::remove_dir_all(place.work().join(".git/modules")).unwrap();
    }
}

/// What is ignored is nobody's work, a repository or not.
#[test]
fn a_repository_that_is_ignored_stays_where_it_is() {
    let place = Place::new();
    let ran = place.run(
        &[],
        "git init --quiet ignored && echo x >ignored/x && git init --quiet a/ignored && echo post >post.md",
    );
    assert_eq!((ran.record().outcome, ran.record().files_changed), (Outcome::Success, 1), "{}", ran.stderr);
    assert!(place.work().join("ignored/.git").exists() && place.work().join("a/ignored/.git").exists());
}

/// P3: nothing of it runs, and none of its links is followed.
#[test]
fn a_hostile_repository_in_the_work_tree_does_nothing() {
    let place = Place::new();
    let (ran, outside) = (place.path("ran"), place.path("outside"));
    let script = format!(
        "{CLONED}; cd themes/x; git config core.fsmonitor 'touch {0}'; git config filter.f.clean 'touch {0}; cat'; \
         git config core.worktree {1}; echo '* filter=f' >.gitattributes; \
         for hook in pre-commit post-index-change; do printf '#!/bin/sh\\ntouch {0}' >.git/hooks/$hook; chmod +x .git/hooks/$hook; done; \
         cd ../..; mkdir -p {1}/repo linked named; git init --quiet {1}/repo; ln -s {1}/repo/.git linked/.git; echo l >linked/l; \
         echo 'gitdir: {1}/repo/.git' >named/.git; echo n >named/n; ln -s {1} link; echo post >post.md",
        ran.display(),
        outside.display()
    );
    let run = place.run(&[], &script);
    let record = run.record();
    assert_eq!(record.outcome, Outcome::Success, "{}", run.stderr);
    let files: Vec<_> = record.files.iter().map(|file| file.path.as_str()).collect();
    let theme = ["themes/x/.gitattributes", "themes/x/.github/more", "themes/x/theme.css"];
    assert_eq!(files, [&["link", "linked/l", "named/n", "post.md"][..], &theme].concat());
    assert!(!ran.exists(), "something of it ran");
    assert!(outside.join("repo/.git/HEAD").exists(), "a link was followed");
    assert_eq!((place.branch().as_str(), place.is_clean()), ("main", true), "{}", run.stderr);
}

/// P2, P9: a file that git takes from nobody stays in the tree, and that is told. All else is committed.
#[test]
fn what_git_refuses_does_not_keep_the_rest_from_being_committed() {
    let place = Place::new();
    let ran = place.run(&[], "echo x >git~1 && mkfifo pipe && echo post >post.md");
    let record = ran.record();
    assert_eq!((record.outcome, record.commits), (Outcome::WorkspaceInvalid, 1), "{}", ran.stderr);
    assert!(record.error.as_ref().unwrap().contains("git~1"), "{record:?}");
    assert_eq!(place.git(["show", &format!("{}:post.md", record.branch.unwrap())]), "post");
    assert!(place.work().join("git~1").exists());
}

/// P9: what the agent has committed is pushed, also where what it left cannot be committed.
#[test]
fn the_agents_own_commits_are_recorded_where_the_rest_cannot_be_committed() {
    let place = Place::new();
    let commit = "echo 1 >one && git add one && git commit --quiet -m one && echo 2 >two";
    for (away, moved) in
        [("", false), ("git switch --quiet -c away &&", true), ("git switch --quiet --detach &&", true)]
    {
        let ran = place.run(&[], &format!("{away} {commit}; git config core.worktree /nowhere"));
        place.git(["config", "--unset", "core.worktree"]);
        let record = ran.record();
        assert_eq!(
            (record.outcome, record.commits, record.files_changed),
            (Outcome::CommitFailed, 1, 1),
            "{}",
            ran.stderr
        );
        assert_eq!(place.git(["rev-parse", &record.branch.unwrap()]), record.head.unwrap(), "{moved}");
        assert!(place.work().join("two").exists());
        place.git(["add", "--all"]);
        place.git(["reset", "--quiet", "--hard", "main"]);
        place.git(["switch", "--quiet", "main"]);
    }
}

/// A clone with a file that goes through a filter, as with git-lfs.
fn filtered() -> Place {
    let place = Place::new();
    place.write(".gitattributes", "*.bin filter=f\n");
    place.write("old.bin", "old\n");
    place.git(["add", "."]);
    place.git(["commit", "--quiet", "--message=files"]);
    place
}

/// P2: what was not there before is only taken away, for which no filter is needed.
#[test]
fn a_run_that_adds_a_filtered_file_goes_back() {
    let place = filtered();
    let ran = place.run(&[], "echo new >new.bin");
    assert_eq!((place.branch().as_str(), place.is_clean()), ("main", true), "{}", ran.stderr);
    assert_eq!(place.run(&[], "touch a").record().base_commit.unwrap(), place.git(["rev-parse", "main"]));
}

/// P2: where it cannot go back, no other run begins at its work.
#[test]
fn no_run_begins_where_one_could_not_go_back() {
    let place = filtered();
    for script in ["echo new >old.bin", "echo x >git~1; echo post >post.md"] {
        let ran = place.run(&["--branch", "agent/stays"], script);
        assert_eq!(ran.record().commits, 1);
        let branch = place.branch();
        assert!(branch.starts_with("agent/stays") && ran.stderr.contains("stays on"), "{}", ran.stderr);
        for options in [&[][..], &["--dry-run"]] {
            let next = place.run(options, "touch a");
            assert_eq!(next.code, Some(2), "{}", next.stderr);
            for part in [branch.as_str(), &ran.record().run, "go back to main", "git switch"] {
                assert!(next.stderr.contains(part), "'{part}' in {}", next.stderr);
            }
        }
        let _ = std::fs::remove_file(place.work().join("git~1"));
        place.git(["switch", "--quiet", "main"]);
        let next = place.run(&[], "touch a").record();
        assert_eq!((next.base_commit, next.commits), (Some(place.git(["rev-parse", "main"])), 1));
        // Whoever goes there since does so on purpose.
        place.git(["switch", "--quiet", &branch]);
        assert_eq!(place.run(&[], "touch a").code, Some(0));
        place.git(["switch", "--quiet", "main"]);
    }
}
