//! What happens when the peer takes away memory that we have mapped: not the death of the process.
//!
//! A file that is not sealed can be shrunk, and a hole can be punched into hugepages with none left to fill it (DPDK does that to its own
//! memory when it ends); touching such a place is SIGBUS. The handler here looks whether the address is in a watched mapping, puts zeros in the
//! place of the whole mapping, and marks it as hit; whoever owns the connection sees the mark and ends it. Any other SIGBUS goes to the handler
//! that was there before.
//!
//! Limits: [`MAPPINGS_MAX`] mappings are watched at once; a further one is refused. Threads: any; the handler only reads atomics and calls
//! `mmap(2)`.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Mappings watched at once.
pub const MAPPINGS_MAX: usize = 1024;

struct Watch {
    taken: AtomicBool,
    /// 0: nothing is watched.
    start: AtomicUsize,
    len: AtomicUsize,
    hit: AtomicBool,
}

static WATCHES: [Watch; MAPPINGS_MAX] =
    [const { Watch { taken: AtomicBool::new(false), start: AtomicUsize::new(0), len: AtomicUsize::new(0), hit: AtomicBool::new(false) } };
        MAPPINGS_MAX];
/// Places that were ever taken: the handler need not look further.
static USED: AtomicUsize = AtomicUsize::new(0);

/// A mapping that is watched.
#[derive(Debug)]
pub struct Guarded(usize);

impl Guarded {
    /// The peer took its memory away, and there are zeros.
    pub fn hit(&self) -> bool {
        WATCHES[self.0].hit.load(Ordering::Acquire)
    }
}

impl Drop for Guarded {
    /// To be dropped before the mapping is taken away: afterwards the addresses may be somebody else's.
    fn drop(&mut self) {
        WATCHES[self.0].start.store(0, Ordering::SeqCst);
        WATCHES[self.0].taken.store(false, Ordering::Release);
    }
}

/// Watches `len` bytes at `base`, the whole of a mapping.
pub fn watch(base: NonNull<u8>, len: usize) -> io::Result<Guarded> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| install().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL)))
        .map_err(io::Error::from_raw_os_error)?;
    let free = WATCHES.iter().position(|watch| watch.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok());
    let Some(place) = free else {
        return Err(io::Error::other(format!("{MAPPINGS_MAX} regions are mapped already")));
    };
    let watch = &WATCHES[place];
    watch.hit.store(false, Ordering::Relaxed);
    watch.len.store(len, Ordering::Relaxed);
    watch.start.store(base.as_ptr() as usize, Ordering::Release);
    USED.fetch_max(place + 1, Ordering::Release);
    Ok(Guarded(place))
}

/// The handler that was there before ours.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

fn install() -> io::Result<()> {
    // SAFETY: a `sigaction` is made of integers and addresses, for all of which zero is a value.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: with no new action, the call writes the present one into a live value.
    if unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut before) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let _ = BEFORE.set(before);
    // SAFETY: as above.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sigbus as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as usize;
    // On the stack that std gives each thread for faults.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // SAFETY: the handler keeps to what a signal handler may do (atomics, `mmap`, `sigaction`), and has the signature SA_SIGINFO asks for.
    if unsafe { libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel gives a valid siginfo; for SIGBUS it has an address.
    let address = unsafe { (*info).si_addr() } as usize;
    for watch in &WATCHES[..USED.load(Ordering::Acquire)] {
        let start = watch.start.load(Ordering::Acquire);
        let len = watch.len.load(Ordering::Relaxed);
        if start == 0 || address < start || address >= start + len {
            continue;
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: replaces a whole mapping that is watched, and so still there, by one of the same size: its owner releases the watch before it
        // unmaps. If two threads do it at once, both put zeros there. Rust sees memory change that it knows others change.
        let new = unsafe { libc::mmap(start as *mut libc::c_void, len, protection, flags, -1, 0) };
        if new != libc::MAP_FAILED {
            watch.hit.store(true, Ordering::Release);
            return; // The access is tried again, and finds zeros.
        }
    }
    let Some(before) = BEFORE.get() else { return };
    match before.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: puts back what was there; the fault then happens again and takes its usual course.
            unsafe { libc::sigaction(libc::SIGBUS, before, std::ptr::null_mut()) };
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: it was installed with SA_SIGINFO, so it is a function of this signature; the arguments are those the kernel gave.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: it was installed without SA_SIGINFO, so it takes the number of the signal.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::region::Region;
    use rustix::fs::MemfdFlags;

    #[test]
    fn memory_that_was_taken_away_reads_as_zeros() {
        let file = rustix::fs::memfd_create("x", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, 16_384).unwrap();
        let (other, _other_file) = Region::create(4096).unwrap();
        let region = Region::of_peer(&file, 16_384).unwrap();
        let byte = |at: u64| {
            // SAFETY: `at` gives an address inside the mapping.
            unsafe { region.at(at, 1).unwrap().as_ptr().read_volatile() }
        };
        // SAFETY: as above.
        unsafe { region.at(9000, 1).unwrap().as_ptr().write_volatile(7) };
        assert_eq!((byte(9000), region.is_gone()), (7, false));
        rustix::fs::ftruncate(&file, 4096).unwrap();
        assert_eq!((byte(9000), region.is_gone()), (0, true));
        assert!(!other.is_gone());
    }
}
