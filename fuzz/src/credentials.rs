//! git's credential protocol: who asks decides who gets a token.

use mint_gh_token::Description;
use url::Url;

/// Only a host that is the configured one to the letter is answered, and only for a repository that GitHub could have.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let asked = Description::parse(text);
    for (server, hosts) in [
        ("https://github.com", &["github.com", "github.com:443"][..]),
        ("http://127.0.0.1:8080/git", &["127.0.0.1:8080"]),
    ] {
        let Ok(server) = Url::parse(server) else { continue };
        if asked.is_about(&server) {
            // The last one counts, as git's own helpers have it.
            let value = |name: &str| {
                let lines = text.lines().take_while(|line| !line.is_empty());
                lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).last()
            };
            assert_eq!(value("protocol"), Some(server.scheme()));
            let host = value("host").unwrap_or_default().to_ascii_lowercase();
            assert!(hosts.contains(&host.as_str()), "{host:?} is not {server}");
        }
        if let Some(repository) = asked.repository(&server) {
            let name = repository.full_name();
            agent_task::names::owner_and_name(&name).expect("it has two parts");
            let path = format!("/repos/{name}/installation");
            assert_eq!(server.join(&path).expect("it is an address").path(), path, "another is asked for");
        }
    }
}
