//! `check` and servers at a URL.

use crate::http_server::{HttpServer, Received, reply};
use crate::machine::Machine;
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Mutex;

const JSON: &str = "Content-Type: application/json\r\n";

fn response(request: &Received) -> Option<Value> {
    let result = match request.body["method"].as_str()? {
        "initialize" => {
            json!({"protocolVersion": "2025-03-26", "capabilities": {"tools": {}}, "serverInfo": {"name": "web"}})
        }
        "tools/list" => json!({"tools": [{"name": "look"}]}),
        _ => return None,
    };
    Some(json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result}))
}

/// P4, P13
#[test]
fn streamable_http_is_spoken_with_session_version_and_events() {
    let server = HttpServer::start(|request, stream| match (request.method.as_str(), response(request)) {
        ("DELETE", _) => reply(stream, "204 No Content", "", ""),
        (_, None) => reply(stream, "202 Accepted", "", ""),
        (_, Some(response)) if request.body["method"] == "initialize" => {
            reply(stream, "200 OK", &format!("{JSON}Mcp-Session-Id: session-1\r\n"), &response.to_string());
        }
        (_, Some(response)) => {
            // An open stream, as long as the client listens: what it waits for is in the second event.
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n";
            let other = json!({"jsonrpc": "2.0", "method": "notifications/message"});
            let _ = stream
                .write_all(format!("{head}data: {other}\n\nevent: message\ndata: {response}\n\n").as_bytes());
            let _ = std::io::Read::read(stream, &mut [0]);
        }
    });
    let machine = Machine::new().with("WEB_TOKEN", "value-of-web-token");
    let config = json!({
        "type": "http", "url": server.url("/mcp?key=${WEB_TOKEN}"), "headers": {"Authorization": "Bearer ${WEB_TOKEN}"},
    });
    let (code, report, stderr) = machine.check(&config, &[]);
    assert_eq!((code, &report["tools"]), (0, &json!(["look"])), "{stderr}");
    let received = server.received();
    let methods: Vec<&str> =
        received.iter().map(|r| r.body["method"].as_str().unwrap_or(&r.method)).collect();
    assert_eq!(methods, ["initialize", "notifications/initialized", "tools/list", "DELETE"]);
    for (index, request) in received.iter().enumerate() {
        assert_eq!(request.path, "/mcp?key=value-of-web-token");
        assert_eq!(request.header("authorization"), Some("Bearer value-of-web-token"));
        if request.method == "POST" {
            assert_eq!(request.header("accept"), Some("application/json, text/event-stream"));
        }
        assert_eq!(request.header("mcp-session-id"), (index > 0).then_some("session-1"));
        assert_eq!(request.header("mcp-protocol-version"), (index > 0).then_some("2025-03-26"));
    }
    assert!(!stderr.contains("value-of") && !report.to_string().contains("value-of"));
}

/// P13
#[test]
fn the_older_http_with_events_is_spoken_too() {
    let events: Mutex<Option<TcpStream>> = Mutex::new(None);
    let server = HttpServer::start(move |request, stream| {
        if request.method == "GET" {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
            // Kept before it is told of: the first message comes at once.
            *events.lock().unwrap() = Some(stream.try_clone().unwrap());
            stream
                .write_all(format!("{head}event: endpoint\ndata: /messages?session=1\n\n").as_bytes())
                .unwrap();
            let _ = std::io::Read::read(stream, &mut [0]);
            return;
        }
        reply(stream, "202 Accepted", "", "");
        if let Some(response) = response(request) {
            let text = format!("event: message\ndata: {response}\n\n");
            events.lock().unwrap().as_mut().unwrap().write_all(text.as_bytes()).unwrap();
        }
    });
    let (code, report, stderr) =
        Machine::new().check(&json!({"type": "sse", "url": server.url("/sse")}), &[]);
    assert_eq!((code, &report["tools"]), (0, &json!(["look"])), "{stderr}");
    let paths: Vec<String> = server.received().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/sse", "/messages?session=1", "/messages?session=1", "/messages?session=1"]);
}

/// P9
#[test]
fn a_refusal_and_a_broken_network_have_their_exit_codes() {
    for (status, headers, body, code, expected) in [
        ("401 Unauthorized", "", "", 4, "answered 401: it wants credentials"),
        ("403 Forbidden", "", "", 4, "answered 403"),
        ("503 Unavailable", "", "", 3, "answered 503"),
        ("429 Too Many Requests", "", "", 3, "answered 429"),
        ("404 Not Found", "", "", 1, "answered 404: look at the path of url, or try the type \"sse\""),
        ("302 Found", "Location: http://127.0.0.1:9/stolen\r\n", "", 1, "answered 302, a redirect"),
        (
            "200 OK",
            "Content-Type: text/html\r\n",
            "<p>hi",
            1,
            "answered with text/html, not with JSON or events",
        ),
        ("200 OK", JSON, "{", 1, "is not the JSON it says it is"),
        ("200 OK", JSON, r#"{"jsonrpc":"2.0","id":77,"result":{}}"#, 1, "has no response"),
        ("200 OK", "Content-Type: text/event-stream\r\n", "", 1, "ended its answer without a response"),
    ] {
        let server = HttpServer::start(move |_, stream| reply(stream, status, headers, body));
        let config = json!({"type": "http", "url": server.url("/path-that-is-secret")});
        let (exit, report, stderr) = Machine::new().check(&config, &["--timeout", "60s"]);
        let error = report["error"].as_str().unwrap();
        assert!(error.contains(expected), "{status}: {error}");
        assert_eq!(exit, code, "{error}");
        assert!(!stderr.contains("path-that-is-secret"), "{stderr}");
    }
}

#[test]
fn nobody_there_and_no_answer_are_worth_a_retry() {
    let silent = HttpServer::start(|_, stream| {
        let _ = std::io::Read::read(stream, &mut [0]);
    });
    for (url, expected) in [
        ("http://127.0.0.1:1/mcp".to_owned(), "no connection to 127.0.0.1:1"),
        (silent.url("/mcp"), "within 300ms"),
    ] {
        let (exit, report, _) =
            Machine::new().check(&json!({"type": "http", "url": url}), &["--timeout", "300ms"]);
        assert!(report["error"].as_str().unwrap().contains(expected), "{report}");
        assert_eq!(exit, 3);
    }
}

#[test]
fn events_that_send_messages_to_another_host_are_refused() {
    let server = HttpServer::start(|_, stream| {
        let events = "event: endpoint\ndata: http://127.0.0.2:1/messages\n\n";
        reply(stream, "200 OK", "Content-Type: text/event-stream\r\n", events);
    });
    let (exit, report, _) = Machine::new().check(&json!({"type": "sse", "url": server.url("/sse")}), &[]);
    assert_eq!(exit, 1);
    assert!(
        report["error"].as_str().unwrap().ends_with("wants messages to be sent to another host"),
        "{report}"
    );
}
