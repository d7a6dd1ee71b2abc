//! The proxy: the only way out, and it leads to the stand-ins.
//!
//! A `CONNECT` to a host that has a stand-in is a TLS connection to it, with a certificate of the sandbox's CA; the rest is
//! refused with 403. Both are recorded, and so is plain HTTP, which is always refused.

use crate::authority::Authority;
use crate::fault::{How, Service};
use crate::server::{self, Breaking};
use crate::shared::{Request, Shared, cut, given};
use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// The stand-ins by the names they have in the world.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    pub(crate) github: Router,
    pub(crate) git: Router,
    pub(crate) discord: Router,
    pub(crate) model: Router,
}

impl Hosts {
    fn router(&self, host: &str) -> Option<Router> {
        match host {
            "api.anthropic.com" => Some(self.model.clone()),
            "api.github.com" => Some(self.github.clone()),
            "github.com" => Some(self.git.clone()),
            "discord.com" => Some(self.discord.clone()),
            // What the agent CLI asks beside the model: it starts at once where these answer, whatever they say, and
            // waits where they cannot be reached.
            _ if is_of_agent_cli(host) => Some(Router::new()),
            _ => None,
        }
    }
}

fn is_of_agent_cli(host: &str) -> bool {
    ["anthropic.com", "claude.ai", "claude.com", "statsig.com", "statsigapi.net"]
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) shared: Shared,
    pub(crate) authority: Authority,
    pub(crate) hosts: Hosts,
}

impl Proxy {
    /// Serves one connection of a client.
    pub(crate) async fn connection(self: Arc<Self>, stream: TcpStream) {
        let service = hyper::service::service_fn(move |request| {
            let proxy = Arc::clone(&self);
            async move { proxy.asked(request).await }
        });
        // A client that goes away is the client's affair.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
    }

    async fn asked(&self, request: http::Request<Incoming>) -> io::Result<Response> {
        let target = request.uri().authority().map_or_else(String::new, |authority| {
            let default = if request.uri().scheme_str() == Some("http") { 80 } else { 443 };
            format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(default))
        });
        let method = request.method().clone();
        let number = self.shared.asked(
            Service::Proxy,
            Request {
                method: method.to_string(),
                path: target.clone(),
                query: String::new(),
                headers: Vec::new(),
                body: Vec::new(),
                status: 0,
            },
        );
        let fault = self.shared.faults().of_call(Service::Proxy, method.as_str(), &target);
        let mut breaks_after = None;
        match fault {
            None => (),
            Some(How::Status { code, headers, body }) => {
                let response = given(code, &headers, body);
                self.shared.answered(number, response.status());
                return Ok(response);
            }
            Some(How::RateLimited { retry_after, .. }) => {
                let seconds = retry_after.as_secs().to_string();
                self.shared.answered(number, StatusCode::TOO_MANY_REQUESTS);
                return Ok((StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds)]).into_response());
            }
            Some(How::Disconnect) => return Err(io::ErrorKind::ConnectionAborted.into()),
            Some(How::Hang(time) | How::HoldAnswer(time)) => tokio::time::sleep(time).await,
            Some(How::CutAfter(bytes)) => breaks_after = Some(bytes),
        }
        let response = if method == Method::CONNECT {
            self.connect(request, &target, breaks_after)
        } else {
            let refusal = refused(&format!("plain HTTP to {target}"));
            match breaks_after {
                Some(bytes) => refusal.map(|body| cut(body, bytes)),
                None => refusal,
            }
        };
        self.shared.answered(number, response.status());
        Ok(response)
    }

    fn connect(
        &self,
        mut request: http::Request<Incoming>,
        target: &str,
        breaks_after: Option<usize>,
    ) -> Response {
        let known = target.strip_suffix(":443").and_then(|host| Some((host, self.hosts.router(host)?)));
        let Some((host, router)) = known else { return refused(target) };
        let server = match self.authority.server(host).with_context(|| format!("a certificate for {host}")) {
            Ok(server) => server,
            Err(error) => return (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
        };
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(tunnel) = upgrade.await else { return };
            let acceptor = TlsAcceptor::from(server);
            let stream = Breaking { stream: TokioIo::new(tunnel), left: breaks_after.unwrap_or(usize::MAX) };
            // A client that does not trust the CA says so itself.
            if let Ok(stream) = acceptor.accept(stream).await {
                server::connection(stream, router).await;
            }
        });
        Response::new(Body::empty())
    }
}

fn refused(what: &str) -> Response {
    (StatusCode::FORBIDDEN, format!("{what}: not in the sandbox\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_only_ends_alike_is_not_the_agent_clis() {
        for host in ["anthropic.com", "statsig.anthropic.com", "claude.ai", "api.statsig.com"] {
            assert!(is_of_agent_cli(host), "{host}");
        }
        for host in ["notanthropic.com", "claude.ai.example", "example.com"] {
            assert!(!is_of_agent_cli(host), "{host}");
        }
    }
}
