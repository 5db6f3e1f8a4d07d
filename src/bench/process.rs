//! What a process takes of the machine, as Linux tells it in `/proc`.

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
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_both() {
        let pid = std::process::id();
        assert!(cpu(pid).is_some() && resident(pid).is_some_and(|bytes| bytes > 1_000_000));
    }
}
