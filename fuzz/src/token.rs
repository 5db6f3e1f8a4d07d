//! Lease tokens: only a sealed token opens; and the bodies with which workers settle leases.
//!
//! Input: a line that is a token, or changes to a sealed one; then a body of `…/{action}`.

use std::sync::LazyLock;

use agentbus::queues::{Lease, LeaseAction, LeaseHandle, Settlement};
use agentbus::seal::{Purpose, Sealer};
use uuid::Uuid;

static SEALER: LazyLock<Sealer> = LazyLock::new(|| Sealer::new([7; 32], Purpose::Lease));
/// A lease and its token, of each kind.
static SEALED: LazyLock<[(Lease, String); 2]> = LazyLock::new(|| {
    let jetstream = LeaseHandle::JetStream {
        ack: "$JS.ACK.agent-jobs.q-high.1.7.7.1.0".to_owned(),
        lease: Uuid::nil(),
        job: Uuid::max(),
    };
    [LeaseHandle::Store(Uuid::max()), jetstream].map(|handle| {
        let queue = "q".to_owned();
        let lease = Lease { queue, seq: 7, attempt: 2, expires_us: i64::MAX, handle, key: None };
        let token = SEALER.seal(&lease).expect("the system has randomness");
        (lease, token)
    })
});

/// Runs it once.
pub fn run(input: &[u8]) {
    let (line, body) = super::split_line(input);
    open(&String::from_utf8_lossy(line));
    for (lease, token) in &*SEALED {
        open(&changed(token, line));
        // A token opens to the same lease every time.
        assert_eq!(SEALER.open::<Lease>(token).as_ref(), Some(lease));
        let _ = lease.expires_at();
    }
    for name in ["ack", "nack", "extend", "fail"] {
        assert!(LeaseAction::parse(name, body).is_some(), "an action of the contract");
    }
    let _ = Settlement::parse(body);
}

/// Only the sealed tokens open: no other spelling of them, and no other text.
fn open(token: &str) {
    if let Some(opened) = SEALER.open::<Lease>(token) {
        let ours = SEALED.iter().find(|(_, sealed)| sealed == token);
        assert_eq!(ours.map(|(lease, _)| lease), Some(&opened), "opened {token}");
    }
}

/// The token with bytes set, cut off or added: three bytes of the line a change.
fn changed(token: &str, line: &[u8]) -> String {
    let mut bytes = token.as_bytes().to_vec();
    for change in line.chunks_exact(3) {
        let at = usize::from(change[1]) * bytes.len() / 256;
        match change[0] % 4 {
            0 => bytes.insert(at, change[2]),
            1 => bytes.truncate(at),
            _ if at < bytes.len() => bytes[at] = change[2],
            _ => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
