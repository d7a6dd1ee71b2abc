//! Which proxy a request goes through, as the environment says.
//!
//! `HTTPS_PROXY`, else `ALL_PROXY` (each also in lower case, which wins, as in curl). `NO_PROXY` is a list of hosts that are
//! asked directly: `example.com` and `.example.com` (both with every subdomain), `*.example.com`, `host:port`, an address, a
//! CIDR range, or `*`. A loopback host is always asked directly: the proxy's loopback is not ours. Since plain http goes to
//! loopback only, `HTTP_PROXY` is never asked for.

use std::net::IpAddr;
use url::{Host, Url};

/// The proxy's URL for `url`, if there is one. `environment` looks a variable up.
#[must_use]
pub fn choose(url: &Url, environment: impl Fn(&str) -> Option<String>) -> Option<String> {
    let set = |name: &str| {
        environment(&name.to_lowercase())
            .or_else(|| environment(name))
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    if crate::endpoint::is_loopback(url) || set("NO_PROXY").is_some_and(|list| exempt(url, &list)) {
        return None;
    }
    set("HTTPS_PROXY").or_else(|| set("ALL_PROXY"))
}

/// Whether the `NO_PROXY` list names `url`'s host.
fn exempt(url: &Url, list: &str) -> bool {
    let Some(host) = url.host() else { return false };
    list.split([',', ' ', '\t']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = entry.split_once('/') {
            return matches!((network.parse(), bits.parse()), (Ok(network), Ok(bits))
                if address(&host).is_some_and(|address| within(address, network, bits)));
        }
        if let Ok(excluded) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
            return address(&host) == Some(excluded);
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) => (name, port.parse::<u16>().ok()),
            None => (entry, None),
        };
        if port.is_some() && port != url.port_or_known_default() {
            return false;
        }
        let name = name.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
        match &host {
            Host::Domain(domain) => {
                *domain == name || domain.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.'))
            }
            Host::Ipv4(address) => address.to_string() == name,
            Host::Ipv6(address) => address.to_string() == name.trim_matches(['[', ']']),
        }
    })
}

fn address(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some((*address).into()),
    }
}

fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &str, pairs: &[(&str, &str)]) -> Option<String> {
        choose(&Url::parse(url).unwrap(), |name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn https_proxy_is_asked_before_all_proxy_and_lower_case_wins() {
        let url = "https://api.github.com";
        assert_eq!(chosen(url, &[]), None);
        assert_eq!(chosen(url, &[("HTTPS_PROXY", " ")]), None);
        assert_eq!(chosen(url, &[("ALL_PROXY", "http://a")]).as_deref(), Some("http://a"));
        assert_eq!(
            chosen(url, &[("ALL_PROXY", "http://a"), ("HTTPS_PROXY", "http://b")]).as_deref(),
            Some("http://b")
        );
        assert_eq!(
            chosen(url, &[("HTTPS_PROXY", "http://b"), ("https_proxy", "http://c")]).as_deref(),
            Some("http://c")
        );
        assert_eq!(chosen(url, &[("HTTP_PROXY", "http://b")]), None, "that one is for plain http");
    }

    #[test]
    fn loopback_is_never_proxied() {
        for url in ["http://127.0.0.1:1", "http://localhost:1", "https://[::1]:1"] {
            assert_eq!(chosen(url, &[("HTTPS_PROXY", "http://b"), ("ALL_PROXY", "http://b")]), None, "{url}");
        }
    }

    #[test]
    fn no_proxy_names_hosts_domains_ports_and_networks() {
        let direct =
            |url: &str, list: &str| chosen(url, &[("HTTPS_PROXY", "http://p"), ("NO_PROXY", list)]).is_none();
        for list in [
            "github.com",
            ".github.com",
            "*.github.com",
            "a, api.GitHub.com",
            "*",
            "api.github.com:443",
            "a b github.com",
        ] {
            assert!(direct("https://api.github.com/x", list), "{list}");
        }
        for list in ["hub.com", "github.com:8443", "api.github.com.evil.example", "10.0.0.0/8", "", "github"]
        {
            assert!(!direct("https://api.github.com/x", list), "{list}");
        }
        assert!(direct("https://10.1.2.3", "10.0.0.0/8"));
        assert!(direct("https://10.1.2.3", "10.1.2.3"));
        assert!(direct("https://10.1.2.3", "0.0.0.0/0"));
        assert!(!direct("https://11.1.2.3", "10.0.0.0/8"));
        assert!(!direct("https://11.1.2.3", "10.0.0.0/64"));
        assert!(direct("https://[fd00::1]", "fd00::/8"));
    }
}
