//! The git server: the real one (`git http-backend`), behind GitHub's rules on who may do what.

use super::token::Level;
use super::{Hub, report, repository};
use crate::fault::Service;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde::Serialize;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// One push: what was asked in one call, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GitPush {
    /// `owner/name`.
    pub repository: String,
    /// Each ref.
    pub updates: Vec<RefUpdate>,
}

/// What a push wanted of a ref.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefUpdate {
    /// The ref's full name.
    pub reference: String,
    /// Where it was; zeros where it did not exist.
    pub old: String,
    /// Where it was to go; zeros to delete it.
    pub new: String,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
    /// Whether it lost commits.
    pub forced: bool,
}

pub(super) fn router(hub: &Arc<Hub>) -> Router {
    Router::new().fallback(serve).with_state(Arc::clone(hub))
}

/// What git's smart protocol asks for (gitprotocol-http).
struct Call {
    repository: String,
    /// What follows the repository in the path.
    rest: String,
    pushing: bool,
}

impl Call {
    fn of(request: &Request) -> Option<Self> {
        let path = request.uri().path().strip_prefix('/')?;
        let mut parts = path.splitn(3, '/');
        let (owner, name, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let service = match (request.method(), rest) {
            (&Method::GET, "info/refs") => request.uri().query()?.strip_prefix("service=")?,
            (&Method::POST, "git-upload-pack" | "git-receive-pack") => rest,
            _ => return None,
        };
        let pushing = match service {
            "git-upload-pack" => false,
            "git-receive-pack" => true,
            _ => return None,
        };
        let repository = format!("{owner}/{}", name.strip_suffix(".git").unwrap_or(name));
        Some(Self { repository, rest: rest.to_owned(), pushing })
    }
}

async fn serve(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let Some(call) = Call::of(&request) else {
        // Its pages need a person's login.
        return (StatusCode::NOT_FOUND, "Not Found\n").into_response();
    };
    if let Err(refusal) = admit(&hub, &call, request.headers()) {
        return *refusal;
    }
    let result = if call.pushing && request.method() == Method::POST {
        push(&hub, &call, request).await
    } else {
        backend(&hub, &call, request, &[]).await.map(|answer| answer.into_response(Body::new))
    };
    result.unwrap_or_else(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response())
}

/// Checks the password, which is an installation token. git shows the text of a refusal to its user.
fn admit(hub: &Hub, call: &Call, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let unauthorized = |text: &'static str| {
        let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"GitHub\"")];
        Box::new((StatusCode::UNAUTHORIZED, ask, text).into_response())
    };
    let Some((user, password)) = basic(headers) else { return Err(unauthorized("Repository not found.")) };
    let refused = "Invalid username or token. Password authentication is not supported for Git operations.";
    let token = hub.token(&password).ok_or_else(|| unauthorized(refused))?;
    if user != "x-access-token" {
        hub.shared
            .violation(Service::Git, format_args!("the user of a token is {user:?}, not x-access-token"));
    }
    let missing = || Box::new((StatusCode::NOT_FOUND, "Repository not found.").into_response());
    hub.reach(&token, &call.repository).ok_or_else(missing)?;
    if call.pushing && !token.allows("contents", Level::Write) {
        let refusal = (StatusCode::FORBIDDEN, "Write access to repository not granted.");
        return Err(Box::new(refusal.into_response()));
    }
    // Without any right on the contents the repository is not there to be read.
    if token.allows("contents", Level::Read) { Ok(()) } else { Err(missing()) }
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// What the backend said, and its output from there on.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    output: BufReader<ChildStdout>,
}

impl Answer {
    fn into_response(self, body: impl FnOnce(Output) -> Body) -> Response {
        let mut response = Response::new(body(Output { from: self.output }));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A push goes through the hooks, which say in a directory what they saw and refused.
async fn push(hub: &Arc<Hub>, call: &Call, request: Request) -> io::Result<Response> {
    let credentials = basic(request.headers()).map(|(_, password)| password).unwrap_or_default();
    let workflows = hub.token(&credentials).is_some_and(|token| token.allows("workflows", Level::Write));
    let seen = tempfile::Builder::new().prefix("push-").tempdir_in(hub.home())?;
    let rules = hub.rules_file();
    let environment: [(&str, &Path); 3] = [
        ("SANDBOX_PUSH", seen.path()),
        ("SANDBOX_RULES", &rules),
        ("SANDBOX_WORKFLOWS", Path::new(if workflows { "write" } else { "none" })),
    ];
    let mut answer = backend(hub, call, request, &environment).await?;
    // The answer to a push is a report, and short.
    let mut body = Vec::new();
    answer.output.read_to_end(&mut body).await?;
    let reasons: HashMap<String, String> = read_lines(&seen.path().join("refused"))
        .filter_map(|line| line.split_once('\t').map(|(name, why)| (name.to_owned(), why.to_owned())))
        .collect();
    let (body, results) = report::with_reasons(&body, &reasons).unwrap_or((body, Vec::new()));
    let results: HashMap<String, Result<(), String>> = results.into_iter().collect();

    let path = hub.state().path(&call.repository).unwrap_or_default();
    let mut updates = Vec::new();
    for line in read_lines(&seen.path().join("commands")) {
        let [old, new, reference] = line
            .split(' ')
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|parts| io::Error::other(format!("the pre-receive hook wrote {parts:?}")))?;
        let refused = match results.get(&reference) {
            Some(result) => result.clone().err(),
            None => Some("no result was reported".to_owned()),
        };
        let forced = refused.is_none() && repository::is_forced(&hub.shared, &path, &old, &new).await;
        updates.push(RefUpdate { reference, old, new, refused, forced });
    }
    if !updates.is_empty() {
        hub.state().pushes.push(GitPush { repository: call.repository.clone(), updates });
        hub.shared.changed();
    }
    answer.headers.remove(header::CONTENT_LENGTH);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

fn read_lines(file: &Path) -> impl Iterator<Item = String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Runs `git http-backend` (a CGI program, RFC 3875) up to the end of its headers; request and answer stream.
async fn backend(
    hub: &Hub,
    call: &Call,
    request: Request,
    environment: &[(&str, &Path)],
) -> io::Result<Answer> {
    let (parts, body) = request.into_parts();
    let mut command = Command::new("git");
    command.arg("http-backend").env_clear().envs(repository::environment(hub.home()));
    command
        .env("GIT_PROJECT_ROOT", hub.home().join("repositories"))
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{}.git/{}", call.repository, call.rest))
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("REMOTE_USER", hub.app.bot())
        .env("REMOTE_ADDR", "127.0.0.1")
        .envs(environment.iter().copied());
    // A body without a length is read to its end.
    for (name, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-length", "CONTENT_LENGTH"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        if let Some(value) = parts.headers.get(name).and_then(|value| value.to_str().ok()) {
            command.env(variable, value);
        }
    }
    // A group of its own: git starts others, which end with it.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let running = hub.shared.stopping();
    let mut child = command.spawn()?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    tokio::spawn(until_gone(child, hub.home().join("git.log"), running));
    tokio::spawn(feed(input, body));
    let mut output = BufReader::new(output);
    let (status, headers) = cgi_headers(&mut output).await?;
    Ok(Answer { status, headers, output })
}

/// Waits for the process and all that it started, which is killed when the sandbox stops; keeps what they said.
async fn until_gone(mut child: Child, log: PathBuf, mut stopping: tokio::sync::watch::Receiver<bool>) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    let stderr = child.stderr.take();
    // stderr ends when the last process that has it is gone.
    let ended = async move {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.read_to_end(&mut said).await;
        }
        let _ = child.wait().await;
        said
    };
    tokio::pin!(ended);
    let ended_itself = tokio::select! {
        said = &mut ended => Some(said),
        () = async { let _ = stopping.wait_for(|stopping| *stopping).await; } => None,
    };
    let said = match ended_itself {
        Some(said) => said,
        None => {
            if let Some(group) = group {
                // It may have ended by itself by now.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            ended.await
        }
    };
    if let Ok(mut log) = OpenOptions::new().create(true).append(true).open(log) {
        let _ = io::Write::write_all(&mut log, &said);
    }
}

/// Gives the request's body to the process; one that stops reading has its reasons.
async fn feed(mut input: ChildStdin, mut body: Body) {
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        if input.write_all(&data).await.is_err() {
            return;
        }
    }
    let _ = input.shutdown().await;
}

async fn cgi_headers(output: &mut BufReader<ChildStdout>) -> io::Result<(StatusCode, HeaderMap)> {
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).await? == 0 {
            return Err(io::Error::other("git http-backend ended without an answer"));
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((status, headers));
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            status = code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        } else if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
}

/// A process's output as a body, sent on as it comes.
struct Output {
    from: BufReader<ChildStdout>,
}

impl hyper::body::Body for Output {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut space = [0; 16 * 1024];
        let mut buffer = ReadBuf::new(&mut space);
        std::task::ready!(Pin::new(&mut self.from).poll_read(cx, &mut buffer))?;
        let data = Bytes::copy_from_slice(buffer.filled());
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }
}
