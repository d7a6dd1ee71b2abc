//! Servers that are downloaded when they start. Nothing is, in a run: what is pinned and installed is known to work, needs no
//! registry, and is the same tomorrow.

use std::path::Path;

/// What of this command line is downloaded when it runs, as the end of a sentence; nothing where it is installed.
pub(crate) fn fetched<'a>(command: &'a str, args: &'a [String]) -> Option<String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    by(command, &words).or_else(|| {
        let loose = words.iter().find(|word| word.ends_with("@latest"))?;
        Some(format!("{loose} is whatever a registry has when the run starts"))
    })
}

fn by(command: &str, args: &[&str]) -> Option<String> {
    let program = Path::new(command).file_name().and_then(|name| name.to_str()).unwrap_or(command);
    let first = args.iter().copied().find(|word| !word.starts_with('-')).unwrap_or_default();
    let runs = |name: &str| Some(format!("{name} downloads the server when the run starts"));
    match program {
        "npx" | "bunx" | "pnpx" | "uvx" => runs(program),
        "npm" | "pnpm" | "yarn" | "bun" if matches!(first, "exec" | "x" | "dlx") => {
            runs(&format!("{program} {first}"))
        }
        "uv" if first == "tool" => runs("uv tool run"),
        "pipx" if first == "run" => runs("pipx run"),
        "deno"
            if args.iter().any(|word| ["npm:", "jsr:", "https:"].iter().any(|at| word.starts_with(at))) =>
        {
            runs("deno run")
        }
        "env" => {
            let rest = args.iter().position(|word| !word.starts_with('-') && !word.contains('='))?;
            by(args[rest], &args[rest + 1..])
        }
        "sh" | "bash" | "dash" | "zsh" => script(args)?.split([';', '&', '|', '\n']).find_map(|command| {
            let mut words =
                command.split_whitespace().skip_while(|word| *word == "exec" || word.contains('='));
            by(words.next()?, &words.collect::<Vec<_>>())
        }),
        _ => None,
    }
}

/// The script of `sh -c SCRIPT`. What is in it, the shell expands, not the agent CLI.
fn script<'a>(args: &[&'a str]) -> Option<&'a str> {
    let option = args
        .iter()
        .position(|word| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'))?;
    args.get(option + 1).copied()
}

/// The index of the argument that is a shell's script.
pub(crate) fn script_index(command: &str, args: &[String]) -> Option<usize> {
    let program = Path::new(command).file_name()?.to_str()?;
    if !matches!(program, "sh" | "bash" | "dash" | "zsh") {
        return None;
    }
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let script = script(&words)?;
    args.iter().position(|arg| std::ptr::eq(arg.as_str(), script))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &[&str]) -> Option<String> {
        let args: Vec<String> = line[1..].iter().map(|word| (*word).to_owned()).collect();
        fetched(line[0], &args)
    }

    #[test]
    fn what_is_downloaded_at_the_start_is_seen() {
        for line in [
            &["npx", "-y", "@playwright/mcp"][..],
            &["/usr/bin/npx", "x"],
            &["uvx", "mcp-server-fetch"],
            &["npm", "exec", "x"],
            &["pnpm", "dlx", "x"],
            &["uv", "tool", "run", "x"],
            &["env", "A=b", "npx", "x"],
            &["sh", "-c", "cd /x && exec npx -y y"],
            &["bash", "-ec", "A=1 uvx y"],
            &["deno", "run", "-A", "npm:x"],
            &["server", "x@latest"],
        ] {
            assert!(of(line).is_some(), "{line:?}");
        }
        for line in [
            &["playwright-mcp", "--headless"][..],
            &["node", "server.js"],
            &["npm", "start"],
            &["uv", "run", "server.py"],
            &["python3", "-m", "npx"],
            &["sh", "-c", "echo npx"],
            &["env"],
        ] {
            assert_eq!(of(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_shells_script_is_told_from_its_other_arguments() {
        let args = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(script_index("sh", &args(&["-e", "-c", "echo $A", "$B"])), Some(2));
        assert_eq!(script_index("sh", &args(&["script.sh"])), None);
        assert_eq!(script_index("node", &args(&["-c", "x"])), None);
    }
}
