//! Carries connections into a namespace that has no way in, and out of one that has no way out.

use crate::sealed::Network;
use anyhow::Context as _;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Listens on loopback, at a port that the system chooses, and passes every connection on to `target` within `network`. For as long as this
/// process lives.
pub(crate) fn into(network: Network, target: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening on loopback")?;
    let address = listener.local_addr()?;
    // A socket stays in the namespace that it was made in, so this thread accepts outside and connects inside.
    carry(listener, Some(network), target)?;
    Ok(address)
}

/// Passes every connection on to `target`, within `network` or, without one, as this process sees it.
pub(crate) fn carry(
    listener: TcpListener,
    network: Option<Network>,
    target: SocketAddr,
) -> anyhow::Result<()> {
    let (sender, entered) = std::sync::mpsc::channel();
    thread::Builder::new().name("relay".to_owned()).spawn(move || {
        let result = network.as_ref().map_or(Ok(()), Network::enter);
        let inside = result.is_ok();
        let _ = sender.send(result);
        if !inside {
            return;
        }
        for accepted in listener.incoming().flatten() {
            // Nobody there: the connection that was accepted closes, which is what its owner sees.
            if let Ok(onward) = TcpStream::connect(target) {
                let _ = join(accepted, onward);
            }
        }
    })?;
    entered.recv().context("the relay ended")?
}

/// Copies both ways until both sides have finished.
fn join(left: TcpStream, right: TcpStream) -> io::Result<()> {
    for stream in [&left, &right] {
        stream.set_nodelay(true)?;
    }
    let pairs = [(left.try_clone()?, right.try_clone()?), (right, left)];
    for (mut from, mut to) in pairs {
        thread::Builder::new().name("relay".to_owned()).spawn(move || {
            let copied = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
            if copied.is_err() {
                let _ = from.shutdown(Shutdown::Read);
            }
        })?;
    }
    Ok(())
}
