//! Ports for servers that have to come back on the same one after a restart.
//!
//! A port that the system picks for "port 0" is out of the ephemeral range. While its server is down, an outgoing
//! connection of anybody can take it; worse, a client that keeps trying to reach it can be given that very port and
//! connect to itself. So ports are drawn from below that range (32768 on Linux), and tried.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{LazyLock, Mutex};

const RANGE: Range<u16> = 20_000..32_000;
/// Of starts that failed since another process was quicker on the port.
const TRIES: usize = 5;

static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A free port of 127.0.0.1, returned once in this process.
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

/// Starts something on a free port, and on another if that one was taken meanwhile; fails the test on any other error.
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
