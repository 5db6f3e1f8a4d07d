//! What a process takes of the machine, and what others of the same host take of that, as Linux tells it in `/proc`.

use std::time::Duration;

/// Ticks of a second in `/proc/PID/stat`: `USER_HZ`, 100 on every Linux (proc(5)).
const TICKS: u64 = 100;

/// Processor time of a process so far, its threads included; `None` where there is no `/proc`.
#[must_use]
pub fn cpu(pid: u32) -> Option<Duration> {
    parse_cpu(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Resident bytes of a process; `None` where there is no `/proc`.
#[must_use]
pub fn resident(pid: u32) -> Option<u64> {
    parse_resident(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The processor time of the whole machine so far, and how much of it the host gave to other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineTime {
    all: u64,
    stolen: u64,
}

impl MachineTime {
    /// What it is now; `None` where there is no `/proc`.
    #[must_use]
    pub fn now() -> Option<Self> {
        parse_machine(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// The share of the time since `before` that was stolen, 0 to 1: while that is not next to nothing, times tell
    /// of the host's other machines.
    #[must_use]
    pub fn stolen_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}

/// The first line: user, nice, system, idle, iowait, irq, softirq, steal; what follows is within user and nice
/// (proc_stat(5)).
fn parse_machine(stat: &str) -> Option<MachineTime> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_whitespace().take(8).map_while(|f| f.parse().ok()).collect();
    Some(MachineTime { all: fields.iter().sum(), stolen: *fields.get(7)? })
}

/// Fields 14 and 15, counted behind the name, which may hold anything but ends with the last bracket.
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
    fn fields_are_found_whatever_the_name() {
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
    fn this_process_has_both() {
        let pid = std::process::id();
        assert!(cpu(pid).is_some() && resident(pid).is_some_and(|bytes| bytes > 1_000_000));
        assert!(MachineTime::now().is_some());
    }
}
