//! The servers that are known by name, and which agent gets which.

use crate::machine::{Machine, is_program};
use crate::problem::Problem;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A server that is known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Preset {
    /// A headless Chromium to look at pages with: the installed playwright-mcp.
    Playwright,
    /// Reads and sends messages on Discord: the program in PRESSRUN_DISCORD_MCP.
    Discord,
}

/// The agents whose work needs a server. Every other agent gets none.
const DEFAULTS: &[(&str, &[Preset])] = &[("publisher", &[Preset::Playwright])];

/// The version of `@playwright/mcp` that the runtime image has and the tests run with.
pub(crate) const PLAYWRIGHT_MCP: &str = "0.0.83";

/// What `agent` gets where nothing else is asked for.
pub(crate) fn defaults(agent: &str) -> &'static [Preset] {
    DEFAULTS.iter().find(|(name, _)| *name == agent).map_or(&[], |(_, presets)| presets)
}

/// When the browser runs without its own sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum BrowserSandbox {
    /// Without it as root, who cannot have it; with it otherwise.
    #[default]
    Auto,
    /// Always with it.
    On,
    /// Never with it: for containers that forbid user namespaces.
    Off,
}

/// What a person can choose of the presets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choices {
    /// Where the browser puts screenshots and traces.
    pub(crate) artifacts: Option<PathBuf>,
    /// The program `playwright-mcp`.
    pub(crate) playwright_mcp: Option<PathBuf>,
    /// The browser.
    pub(crate) browser: Option<PathBuf>,
    /// Whether it has its own sandbox.
    pub(crate) sandbox: BrowserSandbox,
    /// Whether another version than the pinned one is an error.
    pub(crate) pinned: bool,
    /// The program that is the Discord server.
    pub(crate) discord_mcp: Option<PathBuf>,
}

/// A preset made into a server.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// The server, as it stands in the configuration.
    pub(crate) server: Option<Value>,
    /// Why there is none.
    pub(crate) problems: Vec<Problem>,
    /// What a person should know all the same.
    pub(crate) warnings: Vec<String>,
}

impl Preset {
    /// The server's name in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Playwright => "playwright",
            Self::Discord => "discord",
        }
    }

    /// The server, with every program it needs found on `machine`.
    pub(crate) fn make(self, choices: &Choices, machine: &Machine) -> Made {
        match self {
            Self::Playwright => playwright(choices, machine),
            Self::Discord => discord(choices, machine),
        }
    }
}

fn playwright(choices: &Choices, machine: &Machine) -> Made {
    let mut made = Made::default();
    let name = Preset::Playwright.name();
    let program = match &choices.playwright_mcp {
        Some(path) => machine.program(&path_text(path)).map_err(|why| format!("--playwright-mcp {why}")),
        None => machine.on_path("playwright-mcp").ok_or_else(|| {
            format!(
                "playwright-mcp is not on the PATH: install it with `npm install --global @playwright/mcp@{PLAYWRIGHT_MCP}`, \
                 or say where it is with --playwright-mcp or PRESSRUN_PLAYWRIGHT_MCP"
            )
        }),
    };
    let browser = match &choices.browser {
        Some(path) => machine.program(&path_text(path)).map_err(|why| format!("--browser {why}")),
        None => installed_browser(machine).ok_or_else(|| {
            "no Chromium was found: install the package chromium, or say where it is with --browser or PRESSRUN_BROWSER"
                .to_owned()
        }),
    };
    if let Ok(program) = &program {
        match version_mismatch(program) {
            Some(what) if choices.pinned => made.problems.push(Problem::of(name, "command", what)),
            Some(what) => made.warnings.push(format!("{name}: {what}")),
            None => {}
        }
    }
    match (program, browser) {
        (Ok(program), Ok(browser)) => {
            made.server = Some(playwright_server(&program, &browser, choices, machine));
        }
        (program, browser) => {
            for (field, found) in [("command", program), ("args", browser)] {
                made.problems.extend(found.err().map(|why| Problem::of(name, field, why)));
            }
        }
    }
    made
}

fn playwright_server(program: &Path, browser: &Path, choices: &Choices, machine: &Machine) -> Value {
    let mut args = vec!["--headless".to_owned(), "--isolated".to_owned()];
    let artifacts = choices.artifacts.as_deref().map(|path| machine.absolute(path)).or_else(|| {
        // Otherwise they would land in the work tree, and in the commit.
        let run = machine.setting("PRESSRUN_RUN_DIR").map(|path| machine.absolute(Path::new(path)));
        Some(run.or_else(|| Some(machine.state()?.join("pressrun")))?.join("browser"))
    });
    if let Some(artifacts) = artifacts {
        args.extend(["--output-dir".to_owned(), path_text(&artifacts)]);
    }
    args.extend(["--executable-path".to_owned(), path_text(browser)]);
    let without_sandbox = match choices.sandbox {
        BrowserSandbox::Auto => machine.root,
        BrowserSandbox::On => false,
        BrowserSandbox::Off => true,
    };
    if without_sandbox {
        args.push("--no-sandbox".to_owned());
    }
    let mut server = json!({"type": "stdio", "command": path_text(program), "args": args});
    // Most of the start is Node reading 6 MB of JavaScript; from version 22 on it keeps what it made of it.
    if let Some(cache) = machine.cache() {
        server["env"] = json!({"NODE_COMPILE_CACHE": path_text(&cache.join("pressrun/node"))});
    }
    server
}

fn discord(choices: &Choices, machine: &Machine) -> Made {
    let name = Preset::Discord.name();
    let program = choices.discord_mcp.as_ref().map_or_else(
        || {
            Err("no program is named: install an MCP server for Discord with its version pinned, and put the path of its \
                 program into PRESSRUN_DISCORD_MCP"
                .to_owned())
        },
        |path| machine.program(&path_text(path)).map_err(|why| format!("PRESSRUN_DISCORD_MCP {why}")),
    );
    match program {
        Ok(program) => Made {
            server: Some(json!({
                "type": "stdio",
                "command": path_text(&program),
                "env": {"DISCORD_BOT_TOKEN": "${DISCORD_BOT_TOKEN}"},
            })),
            ..Made::default()
        },
        Err(why) => Made { problems: vec![Problem::of(name, "command", why)], ..Made::default() },
    }
}

/// What is wrong with the version of the package that `program` belongs to. npm links a program to a script beside the
/// `package.json`, so that is one read and no process.
fn version_mismatch(program: &Path) -> Option<String> {
    let installed = || -> Option<String> {
        let manifest = program.canonicalize().ok()?.parent()?.join("package.json");
        let manifest: Value = serde_json::from_slice(&std::fs::read(manifest).ok()?).ok()?;
        (manifest["name"] == "@playwright/mcp").then(|| manifest["version"].as_str().map(str::to_owned))?
    };
    match installed() {
        Some(version) if version == PLAYWRIGHT_MCP => None,
        Some(version) => {
            Some(format!("playwright-mcp is version {version}, and {PLAYWRIGHT_MCP} is expected"))
        }
        None => Some(format!(
            "the version of {} cannot be told, and {PLAYWRIGHT_MCP} is expected: no package.json of @playwright/mcp is beside it",
            program.display()
        )),
    }
}

/// Names of the browser, the free one first.
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

fn installed_browser(machine: &Machine) -> Option<PathBuf> {
    BROWSERS.iter().find_map(|name| machine.on_path(name)).or_else(|| {
        let shipped = machine.setting("PLAYWRIGHT_BROWSERS_PATH").map(PathBuf::from);
        let browsers = shipped.or_else(|| Some(machine.cache()?.join("ms-playwright")))?;
        downloaded_browser(&browsers)
    })
}

/// The newest Chromium below the folder that Playwright keeps its browsers in, as its official image does.
fn downloaded_browser(browsers: &Path) -> Option<PathBuf> {
    const PLACES: &[(&str, &[&str])] = &[
        ("chromium-", &["chrome-linux64/chrome", "chrome-linux/chrome"]),
        (
            "chromium_headless_shell-",
            &[
                "chrome-headless-shell-linux64/chrome-headless-shell",
                "chrome-linux64/headless_shell",
                "chrome-linux/headless_shell",
            ],
        ),
    ];
    let folders: Vec<PathBuf> =
        browsers.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    PLACES.iter().find_map(|(prefix, programs)| {
        let mut found: Vec<(u32, &PathBuf)> = folders
            .iter()
            .filter_map(|path| Some((path.file_name()?.to_str()?.strip_prefix(prefix)?.parse().ok()?, path)))
            .collect();
        found.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        found
            .iter()
            .flat_map(|(_, folder)| programs.iter().map(|program| folder.join(program)))
            .find(|path| is_program(path))
    })
}

/// JSON holds text: what is not UTF-8 in a path is replaced, and the program then not found.
fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn program(folder: &Path, path: &str) -> PathBuf {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A folder with playwright-mcp as npm installs it, and a machine that finds it.
    fn installed(version: &str, variables: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let folder = tempfile::tempdir().unwrap();
        let script = program(folder.path(), "lib/cli.js");
        std::fs::write(
            folder.path().join("lib/package.json"),
            json!({"name": "@playwright/mcp", "version": version}).to_string(),
        )
        .unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(script, folder.path().join("bin/playwright-mcp")).unwrap();
        let path = folder.path().join("bin");
        let mut all = vec![("PATH", path.to_str().unwrap()), ("HOME", "/home/me")];
        all.extend_from_slice(variables);
        let machine = Machine::with(&all, Path::new("/work"));
        (folder, machine)
    }

    fn args(made: &Made) -> Vec<&str> {
        made.server.as_ref().unwrap()["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|arg| arg.as_str().unwrap())
            .collect()
    }

    /// P5
    #[test]
    fn the_publisher_gets_the_browser_and_others_nothing() {
        assert_eq!(defaults("publisher"), [Preset::Playwright]);
        assert_eq!(defaults("researcher"), []);
    }

    /// P5
    #[test]
    fn playwright_is_headless_isolated_and_keeps_its_files_out_of_the_work_tree() {
        let (folder, machine) = installed(PLAYWRIGHT_MCP, &[]);
        let chromium = program(folder.path(), "bin/chromium");
        let made = Preset::Playwright.make(&Choices::default(), &machine);
        assert!(made.problems.is_empty() && made.warnings.is_empty(), "{made:?}");
        let chromium = chromium.to_str().unwrap();
        let artifacts = "/home/me/.local/state/pressrun/browser";
        assert_eq!(
            args(&made),
            ["--headless", "--isolated", "--output-dir", artifacts, "--executable-path", chromium]
        );
        let server = made.server.unwrap();
        assert_eq!(server["command"], folder.path().join("bin/playwright-mcp").to_str().unwrap());
        assert_eq!(server["env"]["NODE_COMPILE_CACHE"], "/home/me/.cache/pressrun/node");

        let choices = Choices { artifacts: Some("shots".into()), ..Choices::default() };
        let made = Preset::Playwright.make(&choices, &machine);
        assert_eq!(args(&made)[3], "/work/shots");
    }

    #[test]
    fn the_browsers_sandbox_is_left_out_for_root_or_where_asked() {
        let (folder, mut machine) = installed(PLAYWRIGHT_MCP, &[]);
        program(folder.path(), "bin/chromium");
        for (root, sandbox, without) in [
            (false, BrowserSandbox::Auto, false),
            (true, BrowserSandbox::Auto, true),
            (true, BrowserSandbox::On, false),
            (false, BrowserSandbox::Off, true),
        ] {
            machine.root = root;
            let made = Preset::Playwright.make(&Choices { sandbox, ..Choices::default() }, &machine);
            assert_eq!(args(&made).contains(&"--no-sandbox"), without, "{root} {sandbox:?}");
        }
    }

    #[test]
    fn another_version_is_a_warning_or_an_error() {
        let (folder, machine) = installed("0.0.1", &[]);
        program(folder.path(), "bin/chromium");
        let made = Preset::Playwright.make(&Choices::default(), &machine);
        assert!(made.server.is_some());
        assert_eq!(made.warnings, ["playwright: playwright-mcp is version 0.0.1, and 0.0.83 is expected"]);
        let made = Preset::Playwright.make(&Choices { pinned: true, ..Choices::default() }, &machine);
        assert_eq!(
            made.problems[0].to_string(),
            "server 'playwright', field 'command': playwright-mcp is version 0.0.1, and 0.0.83 is expected"
        );
    }

    #[test]
    fn the_newest_of_playwrights_own_browsers_is_taken_where_there_is_no_other() {
        let browsers = tempfile::tempdir().unwrap();
        program(browsers.path(), "chromium-999/chrome-linux/chrome");
        let newest = program(browsers.path(), "chromium-1200/chrome-linux64/chrome");
        program(browsers.path(), "chromium_headless_shell-2000/chrome-linux/headless_shell");
        std::fs::create_dir(browsers.path().join("chromium-1300")).unwrap();
        let (_folder, machine) =
            installed(PLAYWRIGHT_MCP, &[("PLAYWRIGHT_BROWSERS_PATH", browsers.path().to_str().unwrap())]);
        let made = Preset::Playwright.make(&Choices::default(), &machine);
        assert_eq!(args(&made)[5], newest.to_str().unwrap());
    }

    #[test]
    fn what_is_not_installed_is_said_with_how_to_install_it() {
        let machine = Machine::with(&[], Path::new("/"));
        let told: Vec<String> = [Preset::Playwright, Preset::Discord]
            .iter()
            .flat_map(|preset| preset.make(&Choices::default(), &machine).problems)
            .map(|problem| problem.to_string())
            .collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].contains("npm install --global @playwright/mcp@0.0.83"));
        assert!(told[1].contains("install the package chromium"));
        assert!(told[2].contains("PRESSRUN_DISCORD_MCP"));
    }

    #[test]
    fn discord_has_its_token_by_reference() {
        let folder = tempfile::tempdir().unwrap();
        let choices =
            Choices { discord_mcp: Some(program(folder.path(), "discord-mcp")), ..Choices::default() };
        let made =
            Preset::Discord.make(&choices, &Machine::with(&[("DISCORD_BOT_TOKEN", "x")], Path::new("/")));
        assert_eq!(made.server.unwrap()["env"]["DISCORD_BOT_TOKEN"], "${DISCORD_BOT_TOKEN}");
    }
}
