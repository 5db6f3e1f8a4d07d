//! The targets of `fuzz/` as unit tests. Each runs on every stored input, and for two seconds on random
//! changes of them.
//!
//! An input that fails is written to a file under `fuzz/artifacts`, whose name is printed. Run it again with
//! `scripts/fuzz TARGET FILE`; once the defect is fixed, keep it in `fuzz/inputs`.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;

/// How long each target runs on changed inputs.
const TIME: Duration = Duration::from_secs(2);
/// The most bytes of a generated input.
const LONGEST: usize = 4_096;
/// The most changes that are made to one input.
const CHANGES: usize = 6;
/// Words that random changes would hardly ever produce.
const WORDS: [&str; 24] = [
    "&",
    "=",
    "\n",
    "%",
    "%00",
    "%ff",
    "subject=",
    "kind=",
    "type=",
    "sender=",
    "recipient=",
    "broadcast=true",
    "in_reply_to=",
    "after=",
    "limit=",
    "\"id\":",
    "\"metadata\":{",
    "9007199254740993",
    "-1",
    "*",
    ">",
    ".",
    "\\u0000",
    "\u{1F600}",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn kept(target: &str) -> Vec<Vec<u8>> {
    let inputs = folder().join("inputs").join(target);
    let files = std::fs::read_dir(&inputs).expect("kept inputs");
    let read = |file: std::io::Result<std::fs::DirEntry>| std::fs::read(file?.path());
    files.map(|file| read(file).expect("a kept input")).collect()
}

fn change(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Rng) {
    let at = random.usize(..=input.len());
    let end = random.usize(at..=input.len().min(at + 16));
    match random.u8(..6) {
        0 => input.insert(at, random.u8(..)),
        1 => drop(input.drain(at..end)),
        2 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        3 => drop(input.splice(at..end, random.choice(WORDS).unwrap_or_default().bytes())),
        4 => {
            let other = &others[random.usize(..others.len())];
            let from = random.usize(..=other.len());
            input.splice(at.., other[from..].iter().copied());
        }
        _ => {
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
    }
    input.truncate(LONGEST);
}

fn check(target: &str, run: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(input))) {
        let artifacts = folder().join("artifacts").join(target);
        let file = artifacts.join(format!("crash-{:016x}", Rng::new().u64(..)));
        std::fs::create_dir_all(&artifacts).expect("a folder for failing inputs");
        std::fs::write(&file, input).expect("the input is written");
        eprintln!("{target} failed on {}", file.display());
        resume_unwind(panic);
    }
}

fn run(target: &str) {
    let (_, run) =
        targets::TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
    let inputs = kept(target);
    assert!(!inputs.is_empty(), "{target} has inputs");
    inputs.iter().for_each(|input| check(target, run, input));
    let (mut random, begun, mut count) = (Rng::new(), Instant::now(), 0_u64);
    while begun.elapsed() < TIME {
        let mut input = inputs[random.usize(..inputs.len())].clone();
        for _ in 0..random.usize(1..=CHANGES) {
            change(&mut input, &inputs, &mut random);
        }
        check(target, run, &input);
        count += 1;
    }
    println!("{target}: {} kept inputs, {count} changed ones", inputs.len());
}

#[test]
fn envelopes() {
    run("envelope");
}

#[test]
fn filters() {
    run("filter");
}

#[test]
fn query_strings() {
    run("query");
}

#[test]
fn parameters_of_streams() {
    run("sse");
}

#[test]
fn lease_tokens() {
    run("token");
}
