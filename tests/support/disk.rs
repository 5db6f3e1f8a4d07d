//! The disk under the temporary folders.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::folder::Folder;

/// Writes that are timed.
const WRITES: usize = 50;
/// Time of a synced write from which on a server that syncs each message is surely seen to do so.
const SLOW: Duration = Duration::from_micros(150);

/// Whether to sync a write takes long enough to be seen. In memory (`tmpfs`) it takes no time at all.
pub fn is_slow() -> bool {
    let folder = Folder::new("disk");
    let mut file = std::fs::File::create(folder.join("file")).expect("create a file");
    let mut took: Vec<Duration> = (0..WRITES)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[0; 400]).and_then(|()| file.sync_all()).expect("write");
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    let median = took[WRITES / 2];
    eprintln!("a synced write takes {median:?}");
    median >= SLOW
}
