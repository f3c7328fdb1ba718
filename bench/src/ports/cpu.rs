//! CPU time: of a process by the scheduler's own account, and of the whole machine.

use std::fs;

/// Length of a tick of `/proc/stat` in ns: USER_HZ is 100 on every architecture that Linux has it on.
const TICK_NS: u64 = 10_000_000;

/// CPU time spent until now, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// By all threads of the process, from `schedstat`; `None` where there is no process or the kernel does not say.
    pub process_ns: Option<u64>,
    /// By everything on the machine, interrupts included, in steps of 10 ms.
    pub system_ns: Option<u64>,
}

impl Spent {
    /// Now.
    pub fn now(process: Option<u32>) -> Spent {
        Spent {
            process_ns: process.and_then(process_ns),
            system_ns: fs::read_to_string("/proc/stat").ok().and_then(|text| system_ns(&text)),
        }
    }

    /// What was spent since an earlier look.
    pub fn since(self, earlier: Spent) -> Spent {
        let less = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Spent { process_ns: less(self.process_ns, earlier.process_ns), system_ns: less(self.system_ns, earlier.system_ns) }
    }
}

fn process_ns(process: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let of_task = |task: fs::DirEntry| schedstat(&fs::read_to_string(task.path().join("schedstat")).ok()?);
    // A thread may end between the listing and the look.
    Some(tasks.flatten().filter_map(of_task).sum())
}

/// The first number of a `schedstat`: ns on a CPU.
fn schedstat(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// user, nice, system, irq, softirq and steal of the line of all CPUs.
fn system_ns(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|number| number.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6].iter().map(|&place| ticks.get(place).copied());
    busy.sum::<Option<u64>>().map(|ticks| ticks * TICK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        assert_eq!(system_ns("cpu  10 1 5 700 3 2 4 9 0 0\ncpu0 1 1 1 1\n"), Some(22 * TICK_NS));
        assert_eq!(system_ns("cpu  10 1\n"), None);
        assert_eq!(schedstat("123456 7 8\n"), Some(123_456));
        assert_eq!(schedstat(""), None);
    }

    #[test]
    fn time_goes_forward() {
        let before = Spent::now(Some(std::process::id()));
        let spent = Spent::now(Some(std::process::id())).since(before);
        assert!(spent.process_ns.is_some() && spent.system_ns.is_some(), "{spent:?}");
        assert_eq!(Spent::now(None).process_ns, None);
    }
}
