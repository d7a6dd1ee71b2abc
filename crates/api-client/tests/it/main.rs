//! The client against a scripted server on loopback, with a clock that does not wait.

#![allow(clippy::unwrap_used)] // in the functions around the tests

mod server;

use agent_task::{Exit, Secret};
use api_client::clock::Clock;
use api_client::retry::{Policy, Stop};
use api_client::{Client, Error, Method, Request, Url, endpoint};
use piece::Fault;
use server::{Answer, Server};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Time passes only by waiting.
#[derive(Default, Clone)]
struct Still(Arc<Mutex<Duration>>);

impl Clock for Still {
    fn now(&self) -> jiff::Timestamp {
        "2026-11-22T22:00:00Z".parse().unwrap()
    }

    fn uptime(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }

    fn chance(&self) -> f64 {
        0.0
    }
}

struct World {
    server: Server,
    client: Client,
    clock: Still,
    told: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new(answers: &[Answer]) -> Self {
        let (clock, told) = (Still::default(), Arc::<Mutex<Vec<String>>>::default());
        let lines = Arc::clone(&told);
        let client = Client::new("test", "1.2.3")
            .with_clock(clock.clone())
            .with_progress(move |line| lines.lock().unwrap().push(line.to_owned()))
            .with_environment(|_| None);
        Self { server: Server::start(answers), client, clock, told }
    }

    fn request(&self, method: Method) -> Request {
        Request::new(method, self.server.url("/hooks/s3cret?x=s3cret")).bearer(&Secret::new("s3cret"))
    }

    fn fault(&self, request: &Request) -> (Fault, Error) {
        let error = self.client.send(&Policy::github(), request).unwrap_err();
        let fault = Fault::from(error.clone());
        assert!(!fault.to_string().contains("s3cret"), "{fault}");
        (fault, error)
    }

    fn waited(&self) -> Duration {
        self.clock.uptime()
    }
}

const OK: Answer = Answer::Text("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
const BAD_GATEWAY: Answer = Answer::Text("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");

#[test]
fn a_request_names_its_piece_and_carries_its_token() {
    let world = World::new(&[OK]);
    let request = world.request(Method::POST).json(&serde_json::json!({"a": 1})).unwrap();
    let answer = world.client.send(&Policy::github(), &request).unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"{}"[..]));
    let seen = world.server.requests();
    let seen = seen[0].to_ascii_lowercase();
    for words in [
        "post /hooks/s3cret?x=s3cret http/1.1\r\n",
        "\r\nuser-agent: pressrun-test/1.2.3\r\n",
        "\r\nauthorization: bearer s3cret\r\n",
        "\r\ncontent-type: application/json\r\n",
    ] {
        assert!(seen.contains(words), "{words:?} is not in {seen}");
    }
    assert!(seen.ends_with("{\"a\":1}"), "{seen}");
}

#[test]
fn refusals_and_redirects_are_answers_and_are_not_followed() {
    const MOVED: Answer = Answer::Text(
        "HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/elsewhere\r\ncontent-length: 0\r\n\r\n",
    );
    const MISSING: Answer = Answer::Text("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let world = World::new(&[MOVED, MISSING]);
    for status in [301, 404] {
        let answer = world.client.send(&Policy::github(), &world.request(Method::GET)).unwrap();
        assert_eq!(answer.status.as_u16(), status);
    }
    assert_eq!((world.server.requests().len(), world.waited()), (2, Duration::ZERO));
}

#[test]
fn waits_are_told_and_end_with_an_answer() {
    const LIMIT: Answer = Answer::Text("HTTP/1.1 429 Slow\r\nretry-after: 12\r\ncontent-length: 0\r\n\r\n");
    let world = World::new(&[LIMIT, BAD_GATEWAY, OK]);
    let answer = world.client.send(&Policy::github(), &world.request(Method::GET)).unwrap();
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(
        *world.told.lock().unwrap(),
        ["GitHub answered 429: waiting 12 s", "GitHub answered 502: waiting 0.5 s"]
    );
    assert_eq!(world.waited(), Duration::from_millis(12_500));
}

#[test]
fn a_server_that_stays_broken_ends_with_3_within_the_total() {
    let world = World::new(&[BAD_GATEWAY; 40]);
    let (fault, _) = world.fault(&world.request(Method::POST));
    assert_eq!(fault.exit(), Exit::Retry);
    assert!(fault.to_string().starts_with("GitHub answered 502 ("), "{fault}");
    assert!(fault.to_string().ends_with("gave up within the 2 min allowed"), "{fault}");
    assert!(world.waited() <= Duration::from_secs(120) && world.waited() > Duration::from_secs(100));
}

#[test]
fn a_break_after_sending_leaves_a_post_alone_unless_a_replay_is_safe() {
    let world = World::new(&[Answer::Close, OK]);
    let (fault, error) = world.fault(&world.request(Method::POST));
    assert_eq!(fault.exit(), Exit::Retry);
    assert!(matches!(error, Error::Exhausted { stop: Stop::MaybeDone, attempts: 1, maybe_done: true, .. }));
    assert_eq!(world.server.requests().len(), 1);

    for method in [Method::POST, Method::GET] {
        let world = World::new(&[Answer::Close, OK]);
        let mut request = world.request(method.clone());
        if method == Method::POST {
            request = request.replay_is_safe();
        }
        let answer = world.client.send(&Policy::github(), &request).unwrap();
        assert_eq!((answer.status.as_u16(), world.server.requests().len()), (200, 2), "{method}");
    }
}

#[test]
fn a_host_that_is_not_there_is_asked_again_in_any_case() {
    // A port that was free a moment ago, and that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = World::new(&[]);
    let request = Request::new(Method::POST, endpoint::parse("X", &format!("http://{free}/s3cret")).unwrap());
    let (fault, error) = world.fault(&request);
    assert!(
        fault
            .to_string()
            .starts_with(&format!("GitHub could not be reached at {free}: connection refused ("))
    );
    assert!(matches!(error, Error::Exhausted { attempts: 2.., maybe_done: false, .. }));
}

#[test]
fn a_body_without_end_is_cut_off() {
    let world = World::new(&[Answer::Endless]);
    let (fault, _) = world.fault(&world.request(Method::GET));
    assert_eq!(fault.exit(), Exit::Failed);
    assert!(fault.to_string().contains("body that is too long"), "{fault}");
}

#[test]
fn plain_http_to_another_machine_is_not_sent() {
    let world = World::new(&[]);
    let url = Url::parse("http://example.com/s3cret").unwrap();
    let (fault, _) = world.fault(&Request::new(Method::GET, url));
    assert_eq!(fault.exit(), Exit::Usage);
}
