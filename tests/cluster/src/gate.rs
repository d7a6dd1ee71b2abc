//! A way to the API server on which a test sees each call before it arrives: to hold it back, to refuse it, or to do something first.

use crate::Cluster;
use anyhow::Context as _;
use serde_json::json;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use tempfile::TempDir;

/// The way. It has the administrator's rights, and ends with this value.
#[derive(Debug)]
pub struct Gate {
    kubeconfig: PathBuf,
    proxy: Child,
    _folder: TempDir,
}

impl Gate {
    /// A way on which `carry` does everything with a connection: it gets both of its ends, the client's and the server's, without
    /// encryption.
    ///
    /// # Errors
    /// kubectl does not start.
    pub fn carrying(
        cluster: &Cluster,
        carry: impl Fn(TcpStream, TcpStream) + Clone + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut proxy = cluster
            .kubectl_command(&["proxy", "--port=0"])
            .stdout(Stdio::piped())
            .spawn()
            .context("kubectl")?;
        let mut line = String::new();
        BufReader::new(proxy.stdout.take().context("kubectl has no stdout")?).read_line(&mut line)?;
        let server: SocketAddr = line.trim().rsplit(' ').next().unwrap_or_default().parse()?;

        let listener = TcpListener::bind("127.0.0.1:0")?;
        let folder = tempfile::tempdir()?;
        let kubeconfig = folder.path().join("kubeconfig");
        let address = format!("http://{}", listener.local_addr()?);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "gate",
            "clusters": [{"name": "gate", "cluster": {"server": address}}],
            "contexts": [{"name": "gate", "context": {"cluster": "gate", "user": "gate"}}],
            "users": [{"name": "gate", "user": {}}],
        });
        std::fs::write(&kubeconfig, config.to_string())?;
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // The proxy ends with the gate.
                let Ok(server) = TcpStream::connect(server) else { return };
                let carry = carry.clone();
                thread::spawn(move || carry(client, server));
            }
        });
        Ok(Self { kubeconfig, proxy, _folder: folder })
    }

    /// A way on which `refuse` is asked for each call, by its first line, and the call waits for that. It passes, or is refused with
    /// this status.
    ///
    /// # Errors
    /// kubectl does not start.
    pub fn refusing(
        cluster: &Cluster,
        refuse: impl Fn(&str) -> Option<u16> + Clone + Send + 'static,
    ) -> anyhow::Result<Self> {
        Self::carrying(cluster, move |client, server| {
            // A connection that breaks is the client's matter.
            let _ = carry_calls(client, server, &refuse);
        })
    }

    /// A kubeconfig of this way.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

fn carry_calls(
    mut client: TcpStream,
    mut server: TcpStream,
    refuse: &impl Fn(&str) -> Option<u16>,
) -> io::Result<()> {
    let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut answers, &mut back);
        back.shutdown(Shutdown::Write)
    });
    let mut chunk = [0; 65536];
    loop {
        // One call after the other, so that a chunk begins with a call, or is more of a body.
        let length = client.read(&mut chunk)?;
        let Some(sent) = chunk.get(..length).filter(|sent| !sent.is_empty()) else { break };
        let text = String::from_utf8_lossy(sent);
        let line = text.lines().next().filter(|line| line.ends_with(" HTTP/1.1"));
        if let Some(status) = line.and_then(refuse) {
            let body = json!({
                "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status, "message": "refused by the test",
            });
            let body = body.to_string();
            let length = body.len();
            write!(client, "HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\n")?;
            write!(client, "Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
            break;
        }
        server.write_all(sent)?;
    }
    server.shutdown(Shutdown::Both)
}
