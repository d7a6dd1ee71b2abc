//! A place where nobody should turn up: what a hostile repository names as its own server.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// No head of a request is longer.
const HEARD_MAX: usize = 64 * 1024;

const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Listens on 127.0.0.1 and keeps what it hears. It answers every request with 503. Dropping it stops it.
#[derive(Debug)]
pub struct Trap {
    address: SocketAddr,
    heard: Arc<Heard>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Heard {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    texts: Vec<String>,
    stopped: bool,
}

impl Trap {
    /// Starts to listen.
    ///
    /// # Errors
    /// There is no port, or no thread.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let heard = Arc::new(Heard::default());
        let listening = Arc::clone(&heard);
        let thread = std::thread::Builder::new().name("trap".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                if listening.lock().stopped {
                    return;
                }
                // Whoever has the answer knows that it was heard.
                let (text, mut stream) = match stream {
                    Ok(mut stream) => (hear(&mut stream), Some(stream)),
                    Err(error) => (error.to_string(), None),
                };
                listening.lock().texts.push(text);
                listening.changed.notify_all();
                // Who hangs up has been heard all the same.
                let _ = stream.as_mut().map(|stream| stream.write_all(ANSWER));
            }
        })?;
        Ok(Self { address, heard, thread: Some(thread) })
    }

    /// Its address, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What came in on each connection, up to the end of a request's head.
    #[must_use]
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().texts.clone()
    }

    /// Waits until something that contains `text` came in. False after `limit`.
    #[must_use]
    pub fn hears(&self, text: &str, limit: Duration) -> bool {
        let state = self.heard.lock();
        let silent = |state: &mut State| !state.texts.iter().any(|heard| heard.contains(text));
        let waited = self.heard.changed.wait_timeout_while(state, limit, silent);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Heard {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hear(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    // Who says nothing is not waited for.
    if stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok() {
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..length]);
            if bytes.windows(4).any(|end| end == b"\r\n\r\n") || bytes.len() > HEARD_MAX {
                break;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.heard.lock().stopped = true;
        // Wakes it up; if that fails, it is gone.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            // A panic in there was reported by the thread.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_it_hears() {
        let trap = Trap::start().unwrap();
        assert!(!trap.hears("x", Duration::ZERO));
        let mut stream = TcpStream::connect(trap.address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nauthorization: x\r\n\r\n").unwrap();
        assert!(trap.hears("authorization: x", Duration::from_secs(10)));
        assert_eq!(trap.heard().len(), 1);
    }
}
