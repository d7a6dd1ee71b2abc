//! A server that gives its answers in order, one a connection, and remembers what it was sent.

use api_client::{Url, endpoint};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// These bytes.
    Text(&'static str),
    /// None: the connection closes once the request is read.
    Close,
    /// A good status, and a body until the client has enough.
    Endless,
}

pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (seen, answers) = (Arc::clone(&requests), answers.to_vec());
        let thread = std::thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let Some(request) = read(&stream) else { return };
                seen.lock().unwrap().push(request);
                reply(stream, answer);
            }
        });
        Self { address, requests, thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        endpoint::parse("the server", &format!("http://{}{path}", self.address)).unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A connection without a request ends a server that still waits for one.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A request with its body; nothing where the client has closed.
fn read(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    let mut length = 0;
    loop {
        let start = text.len();
        if reader.read_line(&mut text).unwrap() == 0 {
            return None;
        }
        let line = text[start..].to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    text.push_str(&String::from_utf8(body).unwrap());
    Some(text)
}

fn reply(mut stream: TcpStream, answer: Answer) {
    match answer {
        Answer::Text(text) => {
            let closing = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            stream.write_all(closing.as_bytes()).unwrap();
        }
        Answer::Close => {}
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            while stream.write_all(&[b'x'; 64 * 1024]).is_ok() {}
        }
    }
}
