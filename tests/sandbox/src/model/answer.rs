//! The API's answers: a message at once or as a stream of events, and errors.

use super::scenario::Usage;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

/// About so many bytes of a text are one delta; the real ones are as short.
const DELTA: usize = 48;

/// A message of the model, complete.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) model: String,
    /// `text` and `tool_use` blocks.
    pub(super) content: Vec<Value>,
    pub(super) stop_reason: String,
    pub(super) usage: Usage,
}

/// What breaks a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// An error event after the first block has begun.
    Overloaded,
    /// An event that is no JSON, there.
    Malformed,
}

impl Message {
    /// As one JSON document.
    pub(super) fn whole(&self) -> Response {
        let mut message = self.head();
        message["content"] = json!(self.content);
        message["stop_reason"] = json!(self.stop_reason);
        message["usage"] = self.usage(self.usage.output);
        axum::Json(message).into_response()
    }

    /// As events.
    pub(super) fn stream(&self, flaw: Option<Flaw>) -> Response {
        let mut message = self.head();
        message["usage"] = self.usage(1);
        let mut events = vec![
            event("message_start", &json!({"type": "message_start", "message": message})),
            event("ping", &json!({"type": "ping"})),
        ];
        for (index, block) in self.content.iter().enumerate() {
            if let Some(flaw) = flaw {
                events.push(match flaw {
                    Flaw::Overloaded => event("error", &error("overloaded_error", "Overloaded")),
                    Flaw::Malformed => {
                        Bytes::from_static(b"event: content_block_start\ndata: {\"type\":\"content_bl\n\n")
                    }
                });
                return streamed(events);
            }
            events.extend(block_events(index, block));
        }
        events.push(event(
            "message_delta",
            &json!({
                "type": "message_delta",
                "delta": {"stop_reason": self.stop_reason, "stop_sequence": null},
                "usage": self.usage(self.usage.output),
            }),
        ));
        events.push(event("message_stop", &json!({"type": "message_stop"})));
        streamed(events)
    }

    fn head(&self) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": [],
            "stop_reason": null, "stop_sequence": null,
        })
    }

    fn usage(&self, output: u64) -> Value {
        json!({
            "input_tokens": self.usage.input,
            "cache_creation_input_tokens": self.usage.cache_creation,
            "cache_read_input_tokens": self.usage.cache_read,
            "output_tokens": output,
            "service_tier": "standard",
        })
    }
}

fn block_events(index: usize, block: &Value) -> Vec<Bytes> {
    let (begun, deltas) = if block["type"] == "tool_use" {
        let mut begun = block.clone();
        begun["input"] = json!({});
        let input = block["input"].to_string();
        let deltas = pieces(&input).map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
        (begun, deltas.collect::<Vec<_>>())
    } else {
        let text = block["text"].as_str().unwrap_or_default();
        let deltas = pieces(text).map(|piece| json!({"type": "text_delta", "text": piece}));
        (json!({"type": "text", "text": ""}), deltas.collect())
    };
    let start = json!({"type": "content_block_start", "index": index, "content_block": begun});
    let mut events = vec![event("content_block_start", &start)];
    for delta in deltas {
        let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
        events.push(event("content_block_delta", &delta));
    }
    events.push(event("content_block_stop", &json!({"type": "content_block_stop", "index": index})));
    events
}

/// A text in pieces, none of which ends inside a character.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = (DELTA..rest.len()).find(|&end| rest.is_char_boundary(end)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

fn event(name: &str, data: &Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

fn streamed(events: Vec<Bytes>) -> Response {
    let headers = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")];
    (headers, Body::new(Events(events.into()))).into_response()
}

/// A body of unknown length, event by event.
struct Events(VecDeque<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(|event| Ok(hyper::body::Frame::data(event))))
    }
}

/// An error in the API's shape.
pub(super) fn error(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_sandbox"})
}

/// An answer that is an error. Its type follows from the code.
pub(super) fn refusal(code: u16, kind: Option<&str>, message: Option<&str>) -> Response {
    let (usual_kind, usual_message) = match code {
        401 => ("authentication_error", "Invalid authentication credentials"),
        403 => ("permission_error", "Your account does not have permission to use this model"),
        404 => ("not_found_error", "Not found"),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => (
            "rate_limit_error",
            "This request would exceed your account's rate limit. Please try again later.",
        ),
        500 => ("api_error", "Internal server error"),
        529 => ("overloaded_error", "Overloaded"),
        400..500 => ("invalid_request_error", "The request is not valid"),
        _ => ("api_error", "The service is temporarily unavailable"),
    };
    let body = error(kind.unwrap_or(usual_kind), message.unwrap_or(usual_message));
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(body)).into_response()
}

/// The subscription's limit is reached, until `resets` (seconds since 1970). What the agent CLI makes of it is a
/// `rate_limit_event`, and no further try.
pub(super) fn usage_limit(claim: &str, resets: i64, now: i64) -> Response {
    let headers = [
        ("anthropic-ratelimit-unified-status", "rejected".to_owned()),
        ("anthropic-ratelimit-unified-reset", resets.to_string()),
        ("anthropic-ratelimit-unified-representative-claim", claim.to_owned()),
        ("retry-after", (resets - now).max(0).to_string()),
    ];
    (headers.map(|(name, value)| (http::HeaderName::from_static(name), value)), refusal(429, None, None))
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let text = "ä".repeat(100);
        assert_eq!(pieces(&text).collect::<String>(), text);
        assert!(pieces(&text).count() > 3);
        assert_eq!(pieces("").count(), 0);
    }
}
