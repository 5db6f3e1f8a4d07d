//! Processor time and memory of a process, and stolen time of the machine, from Linux's `/proc`.

use std::time::Duration;

/// Ticks per second in `/proc/PID/stat`: `USER_HZ`, 100 on every Linux (proc(5)).
const TICKS: u64 = 100;

/// Processor time of a process and its threads; `None` without `/proc`.
#[must_use]
pub fn cpu(pid: u32) -> Option<Duration> {
    parse_cpu(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Resident memory of a process in bytes; `None` without `/proc`.
#[must_use]
pub fn resident(pid: u32) -> Option<u64> {
    parse_resident(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Processor time of the whole machine in ticks, and the part that its host gave to other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineTime {
    total: u64,
    stolen: u64,
}

impl MachineTime {
    /// The current values; `None` without `/proc`.
    #[must_use]
    pub fn now() -> Option<Self> {
        parse_machine(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// The stolen share of the time since `before`, 0 to 1.
    #[must_use]
    pub fn stolen_since(self, before: Self) -> f64 {
        let total = self.total.saturating_sub(before.total).max(1);
        self.stolen.saturating_sub(before.stolen) as f64 / total as f64
    }
}

/// The first line is user, nice, system, idle, iowait, irq, softirq, steal; the fields after these are part of user and
/// nice (proc_stat(5)).
fn parse_machine(stat: &str) -> Option<MachineTime> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_whitespace().take(8).map_while(|f| f.parse().ok()).collect();
    Some(MachineTime { total: fields.iter().sum(), stolen: *fields.get(7)? })
}

/// Fields 14 and 15 (utime, stime). The name before may contain anything; it ends at the last bracket.
fn parse_cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let ticks = next()? + next()?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_after_any_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(parse_cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t     12 kB\n"), Some(12 * 1024));
        assert_eq!(parse_cpu("nonsense"), None);
        let machine = |stat| parse_machine(stat).expect("a line");
        let before = machine("cpu  10 0 10 70 0 0 5 5 3 0\ncpu0 1\n");
        let after = machine("cpu  40 0 20 100 0 0 5 35 9 0\n");
        assert!((after.stolen_since(before) - 0.3).abs() < 1e-9);
        assert_eq!(parse_machine("cpu  1 2 3 4"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_all_of_them() {
        let pid = std::process::id();
        assert!(cpu(pid).is_some() && resident(pid).is_some_and(|bytes| bytes > 1_000_000));
        assert!(MachineTime::now().is_some());
    }
}
