//! The standard metrics of a process (`process_*`), from `/proc`. Other systems than Linux have none.
//!
//! Invariant: a scrape reads two small files of `/proc`, whatever the number of open files.

use super::text::{Family, Kind};

/// The unit of times in `/proc`: 1/100 s on every architecture (`USER_HZ`).
const TICKS: f64 = 100.0;

const CPU: Family = Family(
    "process_cpu_seconds_total",
    Kind::Counter,
    "Processor time of this process, user and system",
);
const RESIDENT: Family =
    Family("process_resident_memory_bytes", Kind::Gauge, "Memory of this process that is in RAM");
const VIRTUAL: Family =
    Family("process_virtual_memory_bytes", Kind::Gauge, "Address space of this process");
const START: Family = Family(
    "process_start_time_seconds",
    Kind::Gauge,
    "When this process started, in seconds since 1970",
);
const THREADS: Family = Family("process_threads", Kind::Gauge, "Threads of this process");
const OPEN: Family =
    Family("process_open_fds", Kind::Gauge, "Open files of this process, connections among them");
const LIMIT: Family =
    Family("process_max_fds", Kind::Gauge, "The limit of open files of this process");

/// How many files this process has open. Lists them, which takes milliseconds if there are thousands.
#[must_use]
pub fn open_files() -> Option<u64> {
    // The listing itself is one of them.
    let listed = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some((listed as u64).saturating_sub(1))
}

/// Appends the metrics of this process.
pub fn write(text: &mut String, open_files: Option<u64>) {
    if let Some(stat) = Stat::read() {
        CPU.write_one(text, stat.cpu);
        RESIDENT.write_one(text, stat.resident);
        VIRTUAL.write_one(text, stat.virtual_memory);
        THREADS.write_one(text, stat.threads);
        if let Some(booted) = booted() {
            START.write_one(text, booted + stat.started);
        }
    }
    if let Some(open) = open_files {
        OPEN.write_one(text, open);
    }
    if let Some(limit) = crate::open_files::limit() {
        LIMIT.write_one(text, limit);
    }
}

/// What `/proc/self/stat` says (`man 5 proc_pid_stat`).
#[derive(Debug, PartialEq)]
struct Stat {
    /// Seconds.
    cpu: f64,
    threads: u64,
    /// Seconds after the machine's start.
    started: f64,
    /// Bytes.
    virtual_memory: u64,
    /// Bytes.
    resident: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&text, rustix::param::page_size() as u64)
    }

    fn parse(text: &str, page: u64) -> Option<Self> {
        // The second field, the program's name, may hold anything but ends with the last `)`. Field 3 follows it.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu: (field(14)? + field(15)?) as f64 / TICKS,
            threads: field(20)?,
            started: field(22)? as f64 / TICKS,
            virtual_memory: field(23)?,
            resident: field(24)? * page,
        })
    }
}

/// When the machine started, in seconds since 1970.
fn booted() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_does_not_shift_the_fields() {
        let text = "42 (a b) c) S 1 42 42 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 7 0 300 4096000 25 18446744073709551615";
        let expected = Stat {
            cpu: 2.0,
            threads: 7,
            started: 3.0,
            virtual_memory: 4_096_000,
            resident: 25 * 4096,
        };
        assert_eq!(Stat::parse(text, 4096), Some(expected));
        assert_eq!(Stat::parse("42 (a) S 1", 4096), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_every_metric() {
        let mut text = String::new();
        write(&mut text, open_files());
        for Family(name, ..) in [CPU, RESIDENT, VIRTUAL, START, THREADS, OPEN, LIMIT] {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            let value: f64 = line.and_then(|value| value.parse().ok()).expect(name);
            assert!(value > 0.0 || name == CPU.0, "{name} {value}");
        }
    }
}
