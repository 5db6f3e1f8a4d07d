//! Pools that all clients share fairly (contract, section 3, Shares). A client is a key, or without one an address.
//!
//! Invariants: no pool is used beyond its limit. While a pool is more than half used, a client that has more
//! than a quarter of it gets no more, so one client cannot use up what others need. (The pool of connections,
//! for clients on loopback: while it is more than seven eighths used.) A permit counts until it is dropped.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use axum::http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::limits::{MAX_BODY_BYTES_HELD, MAX_REPLY_WAITS, MAX_REQUESTS, MAX_RESPONSE_BYTES_HELD};

/// A shared pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    /// Active requests.
    Requests,
    /// Bytes of request bodies.
    Bodies,
    /// Bytes of responses that are not written yet.
    Responses,
    /// Requests that wait for a reply.
    Replies,
    /// Streams, and requests that wait for messages or jobs.
    Streams,
    /// Connections.
    Connections,
}

/// How many pools there are.
const POOLS: usize = 6;

impl Pool {
    /// The label in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Bodies => "body_bytes",
            Self::Responses => "answer_bytes",
            Self::Replies => "reply_waits",
            Self::Streams => "streams",
            Self::Connections => "connections",
        }
    }
}

/// All pools, and the clients that have permits.
pub struct Shares {
    limits: [usize; POOLS],
    used: [AtomicUsize; POOLS],
    clients: Mutex<HashMap<Holder, Weak<Client>>>,
    /// Proxies whose `X-Forwarded-For` is believed.
    trusted: Vec<IpNet>,
}

impl Shares {
    /// Makes the pools. Streams and connections have the same limit.
    #[must_use]
    pub fn new(max_connections: usize, trusted: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self {
            limits: [
                MAX_REQUESTS,
                MAX_BODY_BYTES_HELD,
                MAX_RESPONSE_BYTES_HELD,
                MAX_REPLY_WAITS,
                max_connections,
                max_connections,
            ],
            used: Default::default(),
            clients: Mutex::default(),
            trusted,
        })
    }

    /// Whether a peer is a trusted proxy.
    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// The client at an address.
    pub(super) fn client(self: &Arc<Self>, ip: IpAddr) -> Arc<Client> {
        self.holder(Holder::Address(counted_as(ip)))
    }

    /// The client with a key, from whatever address.
    pub(super) fn key(self: &Arc<Self>, id: &str) -> Arc<Client> {
        self.holder(Holder::Key(id.into()))
    }

    fn holder(self: &Arc<Self>, holder: Holder) -> Arc<Client> {
        let mut clients = self.clients.lock();
        if let Some(known) = clients.get(&holder).and_then(Weak::upgrade) {
            return known;
        }
        let shares = Arc::clone(self);
        let new = Arc::new(Client { shares, holder: holder.clone(), held: Default::default() });
        clients.insert(holder, Arc::downgrade(&new));
        new
    }

    /// The client that a trusted proxy names: the last address in `X-Forwarded-For` that is not itself a
    /// trusted proxy's. All requests without the header count as one client.
    pub(super) fn forwarded(self: &Arc<Self>, headers: &HeaderMap) -> Arc<Client> {
        let lines: Vec<&[u8]> =
            headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes).collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        let mut parsed = hops.map(|hop| address(std::str::from_utf8(hop).ok()?.trim()));
        // Parts before an address that cannot be parsed were not written by a trusted proxy, so they
        // are ignored.
        let client = parsed.find(|hop| hop.is_none_or(|ip| !self.trusts(ip)));
        self.client(client.flatten().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
    }

    #[cfg(test)]
    fn used(&self, pool: Pool) -> usize {
        self.used[pool as usize].load(Ordering::Relaxed)
    }
}

/// Parses an address in `X-Forwarded-For`, which may have a port.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let parsed = bare.parse().or_else(|_| hop.parse::<std::net::SocketAddr>().map(|a| a.ip()));
    parsed.ok()
}

/// The address that stands for a client: the /64 network for IPv6, since one host can use all its addresses.
fn counted_as(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64))
        }
        other => other,
    }
}

/// What a client is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Address(IpAddr),
    Key(Box<str>),
}

/// A client: an address or a key, and what it has of each pool.
pub struct Client {
    shares: Arc<Shares>,
    holder: Holder,
    held: [AtomicUsize; POOLS],
}

impl Client {
    /// Takes an amount of a pool.
    ///
    /// # Errors
    /// The pool has too little left, or this client has more than its share of it.
    pub(super) fn take(self: &Arc<Self>, pool: Pool, amount: usize) -> Result<Permit, Refused> {
        self.has_free(pool, amount)?;
        Ok(self.force(pool, amount))
    }

    /// Takes an amount of a pool even beyond its limit: for memory that is allocated already.
    pub(super) fn force(self: &Arc<Self>, pool: Pool, amount: usize) -> Permit {
        self.shares.used[pool as usize].fetch_add(amount, Ordering::Relaxed);
        self.held[pool as usize].fetch_add(amount, Ordering::Relaxed);
        Permit { client: Arc::clone(self), pool, amount }
    }

    /// Checks that this client has no more than its share of a pool.
    ///
    /// # Errors
    /// The client has more than a quarter of a pool that is more than half used.
    pub(super) fn within_share(&self, pool: Pool) -> Result<(), Refused> {
        let limit = self.shares.limits[pool as usize];
        let used = self.shares.used[pool as usize].load(Ordering::Relaxed);
        let held = self.held[pool as usize].load(Ordering::Relaxed);
        // On loopback all programs have one address, and idle connections cost little, so the share
        // applies later.
        let scarce = match pool {
            // All programs of the machine, and all clients of a local proxy, have the same address.
            Pool::Streams if self.is_loopback() => return Ok(()),
            Pool::Connections if self.is_loopback() => limit / 8 * 7,
            _ => limit / 2,
        };
        if used > scarce && held > limit / 4 { Err(refused(pool, self.is_key())) } else { Ok(()) }
    }

    /// Checks that this amount is free and within the share. This comes before the amount is taken, so a
    /// refused amount never counts; other threads that take permits in between can exceed the limit by
    /// one permit per core.
    pub(super) fn has_free(&self, pool: Pool, amount: usize) -> Result<(), Refused> {
        let used = self.shares.used[pool as usize].load(Ordering::Relaxed);
        if used + amount > self.shares.limits[pool as usize] {
            return Err(refused(pool, false));
        }
        self.within_share(pool)
    }

    /// Whether the client is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        matches!(&self.holder, Holder::Address(address) if address.is_loopback())
    }

    /// Whether the client is a key.
    pub(super) fn is_key(&self) -> bool {
        matches!(self.holder, Holder::Key(_))
    }

    /// The address of a client that is known by one.
    pub(super) fn address(&self) -> IpAddr {
        match self.holder {
            Holder::Address(address) => address,
            Holder::Key(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }

    /// The client with a key, in the same pools.
    pub(super) fn with_key(&self, id: &str) -> Arc<Self> {
        self.shares.key(id)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut clients = self.shares.clients.lock();
        // A new client with the same address may have replaced this one's entry.
        if clients.get(&self.holder).is_some_and(|known| known.strong_count() == 0) {
            clients.remove(&self.holder);
        }
    }
}

fn refused(pool: Pool, over_share_of_key: bool) -> Refused {
    metrics::counter!("agentbus_http_overloaded_total", "pool" => pool.name()).increment(1);
    Refused { pool, over_share_of_key }
}

/// The refusal of a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The pool that has too little left.
    pub(super) pool: Pool,
    /// Whether a key has more than its share of the pool, while others get more.
    pub(super) over_share_of_key: bool,
}

/// An amount taken from a pool. Dropping the permit returns it.
pub(super) struct Permit {
    client: Arc<Client>,
    pool: Pool,
    amount: usize,
}

impl Permit {
    /// Takes more from the pool.
    ///
    /// # Errors
    /// The errors of [`Client::take`].
    pub(super) fn grow(&mut self, by: usize) -> Result<(), Refused> {
        let mut more = self.client.take(self.pool, by)?;
        self.amount += std::mem::take(&mut more.amount);
        Ok(())
    }

    /// Whether the permit is for at least this amount.
    pub(super) fn covers(&self, amount: usize) -> bool {
        self.amount >= amount
    }

    /// Returns the amount beyond `to`.
    pub(super) fn shrink(&mut self, to: usize) {
        let surplus = self.amount.saturating_sub(to);
        self.amount -= surplus;
        self.give_back(surplus);
    }

    /// Stops counting the permit against its client; the pool still counts it.
    pub(super) fn disown(&self) {
        self.client.held[self.pool as usize].fetch_sub(self.amount, Ordering::Relaxed);
    }

    /// Counts the permit against its client again.
    pub(super) fn own(&self) {
        self.client.held[self.pool as usize].fetch_add(self.amount, Ordering::Relaxed);
    }

    fn give_back(&self, amount: usize) {
        self.client.held[self.pool as usize].fetch_sub(amount, Ordering::Relaxed);
        self.client.shares.used[self.pool as usize].fetch_sub(amount, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares() -> Arc<Shares> {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network"));
        Shares::new(100, trusted.to_vec())
    }

    fn client(shares: &Arc<Shares>, ip: &str) -> Arc<Client> {
        shares.client(ip.parse().expect("an address"))
    }

    #[test]
    fn one_client_takes_half_of_a_pool_and_leaves_the_rest_to_others() {
        let shares = shares();
        let (greedy, modest) = (client(&shares, "192.0.2.1"), client(&shares, "192.0.2.2"));
        let mut held: Vec<Permit> = Vec::new();
        while let Ok(permit) = greedy.take(Pool::Connections, 1) {
            held.push(permit);
        }
        assert_eq!(held.len(), 51);
        let others: Vec<_> = (0..26).map(|_| modest.take(Pool::Connections, 1)).collect();
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(
            modest.take(Pool::Connections, 1).err(),
            Some(refused(Pool::Connections, false))
        );
        // With less than a quarter of the pool, the client may take more.
        held.truncate(20);
        assert!(greedy.take(Pool::Connections, 1).is_ok());
        drop((held, others));
        assert_eq!(shares.used(Pool::Connections), 0);
    }

    #[test]
    fn a_key_counts_from_every_address_and_its_refusal_names_the_key() {
        let shares = shares();
        let key = client(&shares, "192.0.2.1").with_key("k1");
        assert!(Arc::ptr_eq(&key, &client(&shares, "127.0.0.1").with_key("k1")));
        assert!(!key.is_loopback());
        let held: Vec<_> = (0..100).map_while(|_| key.take(Pool::Streams, 1).ok()).collect();
        assert_eq!(held.len(), 51);
        let refused = key.take(Pool::Streams, 1).err().expect("over its share");
        assert!(refused.over_share_of_key);
        let other = client(&shares, "192.0.2.1").with_key("k2");
        let rest: Vec<_> = (0..100).map_while(|_| other.take(Pool::Streams, 1).ok()).collect();
        assert!(!rest.is_empty());
    }

    #[test]
    fn programs_on_this_machine_take_most_connections_and_never_all() {
        let shares = shares();
        let local = client(&shares, "127.0.0.1");
        let held: Vec<_> = (0..100).map_while(|_| local.take(Pool::Connections, 1).ok()).collect();
        assert_eq!(held.len(), 85);
        assert!(client(&shares, "127.0.0.2").take(Pool::Connections, 1).is_ok());
    }

    #[test]
    fn many_clients_never_take_more_than_all() {
        let shares = shares();
        let clients: Vec<_> = (0..200).map(|n| client(&shares, &format!("192.0.2.{n}"))).collect();
        let held: Vec<_> =
            clients.iter().filter_map(|c| c.take(Pool::Connections, 1).ok()).collect();
        assert_eq!((held.len(), shares.used(Pool::Connections)), (100, 100));
        drop(held);
        drop(clients);
        assert!(shares.clients.lock().is_empty());
    }

    #[test]
    fn a_permit_grows_and_shrinks_within_the_pool() {
        let shares = shares();
        let client = client(&shares, "192.0.2.1");
        let mut permit = client.take(Pool::Bodies, 10).expect("room");
        permit.grow(MAX_BODY_BYTES_HELD - 10).expect("room");
        assert_eq!(permit.grow(1), Err(refused(Pool::Bodies, false)));
        permit.shrink(7);
        permit.shrink(9);
        assert_eq!((permit.amount, shares.used(Pool::Bodies)), (7, 7));
        drop(permit);
        assert_eq!(shares.used(Pool::Bodies), 0);
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_client_and_a_mapped_address_is_its_ipv4_one() {
        let same = |a: &str, b: &str| {
            counted_as(a.parse().expect("an address")) == counted_as(b.parse().expect("an address"))
        };
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:192.0.2.7", "192.0.2.7"));
        assert!(client(&shares(), "::1").is_loopback());
        assert!(client(&shares(), "::ffff:127.0.0.2").is_loopback());
    }

    #[test]
    fn a_trusted_proxy_names_its_client_and_nobody_can_write_before_it() {
        let shares = shares();
        let named = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", HeaderValue::from_bytes(value).expect("a value"));
            }
            shares.forwarded(&headers).address().to_string()
        };
        assert_eq!(named(&[b"192.0.2.1"]), "192.0.2.1");
        assert_eq!(named(&[b"198.51.100.9, 192.0.2.1, 10.1.1.1"]), "192.0.2.1");
        assert_eq!(named(&[b"198.51.100.9", b"192.0.2.1:4711"]), "192.0.2.1");
        assert_eq!(named(&[b"\xff, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(named(&[b"[2001:db8::1]"]), "2001:db8::");
        for nobody in [&[b"192.0.2.1, nonsense".as_slice()][..], &[b"10.1.1.1"], &[b"\xff"], &[]] {
            assert_eq!(named(nobody), "0.0.0.0", "{nobody:?}");
        }
        assert!(shares.trusts("::ffff:10.2.3.4".parse().expect("an address")));
        assert!(!shares.trusts("192.0.2.1".parse().expect("an address")));
    }
}
