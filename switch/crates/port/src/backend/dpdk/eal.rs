//! EAL, once in the process, and what DPDK says about itself.
//!
//! EAL is started on a thread of its own that ends right afterwards. EAL makes the thread that starts it its main "lcore" and sets the cores it may run
//! on; ours are pinned by the switch. It is given one lcore on all cores this process may use, so that it starts no workers. Our workers make themselves
//! known to it at their first burst ([`join`]), which gives each a number, and with it caches of its own in DPDK's mempools.
//!
//! What DPDK logs is kept, the last [`LINES_MAX`] lines, and becomes part of error messages; nothing of it goes to stderr.
//!
//! Nothing is ever ended: DPDK cannot be started a second time in a process. With `--in-memory`, and without hugepages, it leaves no files behind.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fs;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use capsule_ffi as ffi;

use super::{DpdkError, EalSettings, NO_HUGE_MIB, settings};
use crate::mempool::Hugepages;

/// Lines of DPDK's log that are kept.
const LINES_MAX: usize = 64;
/// Lines of it that an error message shows.
const LINES_SHOWN: usize = 6;
/// With `Hugepages::Auto`, so much must be free on hugepages, in MiB, or plain pages are taken.
const HUGE_MIB_MIN: u32 = 64;
/// Every NUMA node DPDK may have memory on.
const NODES_MAX: c_int = 32;

/// What was obtained.
#[derive(Clone, Debug)]
pub struct Eal {
    /// What it was started with, for people.
    pub arguments: String,
    /// Its memory lies on hugepages.
    pub hugepages: bool,
}

/// Starts EAL if it has not been started yet.
///
/// # Errors
/// As for the first start: it is not tried again, because DPDK does not promise that it could be.
pub fn start() -> Result<&'static Eal, DpdkError> {
    static EAL: OnceLock<Result<Eal, (String, String)>> = OnceLock::new();
    if let Some(state) = EAL.get() {
        return judge(state);
    }
    let plan = Plan::of(settings())?;
    judge(EAL.get_or_init(|| {
        let arguments = plan.arguments.join(" ");
        let thread = std::thread::Builder::new().name("dpdk-eal".to_owned());
        let started = thread.spawn(move || init(&plan.arguments)).map_err(|error| error.to_string());
        let started = started.and_then(|thread| thread.join().unwrap_or_else(|_| Err("its thread has panicked".to_owned())));
        match started {
            Ok(()) => Ok(Eal { arguments, hugepages: plan.hugepages }),
            Err(reason) => Err((arguments, reason)),
        }
    }))
}

fn judge(state: &'static Result<Eal, (String, String)>) -> Result<&'static Eal, DpdkError> {
    state.as_ref().map_err(|(arguments, reason)| DpdkError::Eal { arguments: arguments.clone(), reason: reason.clone() })
}

struct Plan {
    arguments: Vec<String>,
    hugepages: bool,
}

impl Plan {
    fn of(settings: EalSettings) -> Result<Plan, DpdkError> {
        let free_mib = free_hugepages_mib();
        let wanted_mib = settings.memory_mib.unwrap_or(HUGE_MIB_MIN);
        let hugepages = match settings.hugepages {
            Hugepages::Never => false,
            Hugepages::Auto => free_mib >= wanted_mib,
            Hugepages::Require if free_mib >= wanted_mib => true,
            Hugepages::Require => {
                let cure = format!(
                    "reserve more with `sysctl vm.nr_hugepages={}`, lower dpdk.memory_mib or set dpdk.hugepages = \"auto\"",
                    reserved_hugepages() + (wanted_mib - free_mib).div_ceil(2)
                );
                return Err(DpdkError::Hugepages { wanted_mib, free_mib, cure });
            }
        };
        let mut arguments: Vec<String> = ["bladeswitch", "--no-telemetry", "--log-level=notice"].map(str::to_owned).into();
        arguments.push(format!("--file-prefix=bladeswitch-{}", std::process::id()));
        arguments.push(format!("--lcores=0@({})", allowed_cores()));
        match hugepages {
            true => arguments.push("--in-memory".to_owned()),
            false => arguments.extend(["--no-huge", "--no-shconf"].map(str::to_owned)),
        }
        if let Some(mib) = settings.memory_mib.or((!hugepages).then_some(NO_HUGE_MIB)) {
            arguments.extend(["-m".to_owned(), mib.to_string()]);
        }
        match settings.pci {
            // A device that does not exist is allowed, and so no other is taken before a port asks for it.
            true => arguments.extend(["-a", "0000:00:00.0"].map(str::to_owned)),
            false => arguments.push("--no-pci".to_owned()),
        }
        arguments.extend(settings.arguments);
        Ok(Plan { arguments, hugepages })
    }
}

fn init(arguments: &[String]) -> Result<(), String> {
    let texts: Vec<CString> = arguments.iter().filter_map(|argument| CString::new(argument.as_str()).ok()).collect();
    // EAL keeps the pointers and reorders them (getopt): they live as long as the process.
    let texts: &'static mut [CString] = Vec::leak(texts);
    let pointers: Vec<*mut c_char> = texts.iter().map(|text| text.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect();
    let pointers = Vec::leak(pointers);
    // SAFETY: `keep` is a function of this program and takes any bytes.
    unsafe { ffi::shim_log_to(Some(keep)) };
    // SAFETY: `pointers` are `texts.len()` C strings and a null, which nobody else uses and which are never freed.
    let parsed = unsafe { ffi::rte_eal_init(texts.len() as c_int, pointers.as_mut_ptr()) };
    forget_folder();
    match parsed {
        0.. => Ok(()),
        _ => Err(explain(&last_error())),
    }
}

/// Removes the folder that EAL makes for files which it then does not write. With arguments that make it write some, the folder is not empty, and stays.
fn forget_folder() {
    // SAFETY: the function returns a string that lives as long as the process, empty before EAL has been told its arguments.
    let folder = unsafe { CStr::from_ptr(ffi::rte_eal_get_runtime_dir()) };
    let _ = fs::remove_dir(folder.to_string_lossy().as_ref());
}

/// The cores this process may use, as EAL writes lists: `0,1,2`. All it can name if that is not known.
fn allowed_cores() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map_or("0", str::trim).to_owned()
}

/// Hugepages in MiB that nobody has taken or been promised, of all sizes.
fn free_hugepages_mib() -> u32 {
    let number = |path: std::path::PathBuf| -> u64 { fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0) };
    let mut kib = 0;
    for size in fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten() {
        let name = size.file_name();
        let page_kib: Option<u64> =
            name.to_str().and_then(|name| name.strip_prefix("hugepages-")?.strip_suffix("kB")).and_then(|kib| kib.parse().ok());
        let free = number(size.path().join("free_hugepages")).saturating_sub(number(size.path().join("resv_hugepages")));
        kib += free * page_kib.unwrap_or(0);
    }
    u32::try_from(kib >> 10).unwrap_or(u32::MAX)
}

fn reserved_hugepages() -> u32 {
    fs::read_to_string("/proc/sys/vm/nr_hugepages").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// DPDK memory on all NUMA nodes, in bytes: free, and in all.
pub fn memory() -> (u64, u64) {
    let (mut free, mut total) = (0, 0);
    for node in 0..NODES_MAX {
        let mut statistics = ffi::rte_malloc_socket_stats::default();
        // SAFETY: EAL runs (callers have an `Eal`); the structure is written by the call.
        if unsafe { ffi::rte_malloc_get_socket_stats(node, &mut statistics) } == 0 {
            free += statistics.heap_freesz_bytes as u64;
            total += statistics.heap_totalsz_bytes as u64;
        }
    }
    (free, total)
}

/// DPDK's name and number, as installed: `DPDK 22.11.11`.
pub fn version() -> String {
    // SAFETY: the function returns a string that lives as long as the process.
    unsafe { CStr::from_ptr(ffi::rte_version()) }.to_string_lossy().into_owned()
}

/// What `error` means, a negative number as DPDK's functions return.
pub fn error_text(error: c_int) -> String {
    // SAFETY: the function returns a string of the calling thread, which is copied at once.
    unsafe { CStr::from_ptr(ffi::rte_strerror(error.wrapping_neg())) }.to_string_lossy().into_owned()
}

/// What the thread's `rte_errno` means.
pub fn last_error() -> String {
    // SAFETY: reads a variable of the thread.
    error_text(-unsafe { ffi::shim_errno() })
}

/// An error, and what DPDK has logged on the way to it.
pub fn explain(error: &str) -> String {
    let log = log();
    let lines: Vec<&str> = log.lines.iter().rev().take(LINES_SHOWN).rev().map(String::as_str).collect();
    if lines.is_empty() { error.to_owned() } else { format!("{error} (DPDK says: {})", lines.join("; ")) }
}

/// Forgets what was logged so far: what follows belongs to the next step.
pub fn forget_log() {
    log().lines.clear();
}

#[derive(Default)]
struct Log {
    lines: VecDeque<String>,
    /// The beginning of a line that has not ended yet.
    partial: String,
}

fn log() -> MutexGuard<'static, Log> {
    static LOG: Mutex<Log> = Mutex::new(Log { lines: VecDeque::new(), partial: String::new() });
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes what DPDK logs. It is called by whatever thread logs, with any bytes.
unsafe extern "C" fn keep(text: *const c_char, len: usize) {
    /// A line is cut there.
    const LINE_MAX: usize = 400;
    // SAFETY: the shim passes a buffer of the C library with its length.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    let mut log = log();
    for piece in String::from_utf8_lossy(text).split_inclusive('\n') {
        if log.partial.len() < LINE_MAX {
            log.partial.push_str(piece.trim_end());
        }
        if piece.ends_with('\n') {
            let line = std::mem::take(&mut log.partial);
            if log.lines.len() == LINES_MAX {
                log.lines.pop_front();
            }
            if !line.is_empty() {
                log.lines.push_back(line);
            }
        }
    }
}

/// Makes the calling thread known to EAL until it ends, so that it has mempool caches of its own. Does nothing the second time.
#[inline]
pub fn join() {
    MEMBERSHIP.with(|membership| {
        if !membership.asked.get() {
            membership.join();
        }
    });
}

thread_local! {
    static MEMBERSHIP: Membership = const { Membership { asked: Cell::new(false), granted: Cell::new(false) } };
}

struct Membership {
    asked: Cell<bool>,
    granted: Cell<bool>,
}

impl Membership {
    #[cold]
    fn join(&self) {
        self.asked.set(true);
        // SAFETY: EAL runs: there are no queues before. A refusal (all numbers are taken) costs speed only: no cache, all else works.
        self.granted.set(unsafe { ffi::rte_thread_register() } == 0);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if self.granted.get() {
            // SAFETY: registered above, by this thread.
            unsafe { ffi::rte_thread_unregister() };
        }
    }
}
