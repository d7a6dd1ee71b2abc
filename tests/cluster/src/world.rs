//! The world: the network behind the node, where stand-ins for the internet answer pods, and where neighbours do that no pod should reach.

use crate::relay;
use crate::sealed::Network;
use anyhow::Context as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::thread;

/// Addresses of the world that stand for the public internet: two of them documentation's, which no private network has.
pub const PUBLIC: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10)),
];

/// Addresses of the world that are nobody's business: private networks, carrier-grade NAT, a cloud's metadata service, unique local.
pub const PRIVATE: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, 10)),
    IpAddr::V4(Ipv4Addr::new(172, 16, 77, 10)),
    IpAddr::V4(Ipv4Addr::new(192, 168, 77, 10)),
    IpAddr::V4(Ipv4Addr::new(100, 64, 77, 10)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0x10)),
];

/// A handle on the world of one cluster.
#[derive(Debug)]
pub struct World {
    network: Network,
}

impl World {
    pub(crate) fn of_box(init: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{init}/root/run/netns/world");
        Ok(Self { network: Network::at(path.as_ref())? })
    }

    /// Addresses with prefix lengths, for the script that gives them to the world.
    pub(crate) fn addresses() -> String {
        let one = |address: &IpAddr| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
        PUBLIC.iter().chain(&PRIVATE).map(one).collect::<Vec<_>>().join(" ")
    }

    /// Passes connections to an address of the world on to one of this process's network, for instance to a sandbox's proxy, for as long as this
    /// process lives. `inside` may have any address of the world, or the unspecified one for all of them.
    ///
    /// # Errors
    /// The address is in use, or the world does not have it.
    pub fn publish(&self, inside: SocketAddr, target: SocketAddr) -> anyhow::Result<()> {
        relay::carry(self.listen(inside)?, None, target)
    }

    /// Answers every connection to this port, at each address of the world, with `hello` and a line end, for as long as this process lives.
    ///
    /// # Errors
    /// The port is in use.
    pub fn greet(&self, port: u16) -> anyhow::Result<()> {
        let listener = self.listen((Ipv6Addr::UNSPECIFIED, port).into())?;
        thread::Builder::new().name("greeter".to_owned()).spawn(move || {
            for mut connection in listener.incoming().flatten() {
                // Whoever left before the answer misses nothing.
                let _ = connection.write_all(b"hello\n");
            }
        })?;
        Ok(())
    }

    /// A socket that listens in the world and can be used from any thread of this process.
    ///
    /// # Errors
    /// The address is in use, or the world does not have it.
    pub fn listen(&self, address: SocketAddr) -> anyhow::Result<TcpListener> {
        let listener = self.within(|| TcpListener::bind(address))?;
        listener.with_context(|| format!("listening at {address} in the world"))
    }

    /// Runs this in a thread that has the world's network, as have the threads and processes that it starts.
    ///
    /// # Errors
    /// The world is gone.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        self.network.within(work)
    }
}
