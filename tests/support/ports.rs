//! Ports for servers that must use the same port again after a restart.
//!
//! A port that the system picks for "port 0" is from the ephemeral range. While its server is down, an
//! outgoing connection of any process can take it. Worse, a client that keeps trying to reach it can be given
//! that very port and connect to itself. So ports are drawn from below that range (32768 on Linux), and
//! tried.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{LazyLock, Mutex};

const RANGE: Range<u16> = 20_000..32_000;
/// The most starts that are tried, when another process is quicker to take the port.
const TRIES: usize = 5;

static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A free port of 127.0.0.1. It is returned only once in this process.
pub fn free() -> u16 {
    let mut given = GIVEN.lock().expect("ports");
    loop {
        let port = fastrand::u16(RANGE);
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}

/// Starts something on a free port, and on another one if that was taken meanwhile; fails the test on any
/// other error.
pub async fn claim<T>(what: &str, mut start: impl AsyncFnMut(u16) -> Result<T, String>) -> T {
    let mut tries = 0;
    loop {
        tries += 1;
        match start(free()).await {
            Ok(started) => return started,
            Err(error) if tries < TRIES && error.to_lowercase().contains("in use") => {}
            Err(error) => panic!("{what} does not start: {error}"),
        }
    }
}
