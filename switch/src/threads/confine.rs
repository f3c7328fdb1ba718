//! What a worker's thread may still ask of the kernel: a seccomp filter (seccomp(2)), put in force before its first turn.
//!
//! A worker reads what anybody on the wire may send. It needs few system calls for that: to wait, to send and receive by descriptors that others have
//! opened, to have memory, and to end. Whoever made it do something else could open no file, make no socket, start no program, and map no memory to run
//! code from. All other threads keep their rights: control opens ports again, runs hooks and answers on its socket.
//!
//! What is not on the list fails with EPERM and the thread goes on: a driver's call that was forgotten here must not take a switch down. It costs nothing
//! that can be measured (`docs/decisions/seccomp.md`).
//!
//! The filter is of the thread, with `no_new_privs`, and cannot be taken off; threads that a worker were to start would have it, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

/// Allowed whatever their arguments are: nothing here opens anything, or reaches beyond the process.
const ALLOWED: &[libc::c_long] = &[
    // Waiting, and being woken.
    libc::SYS_futex,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    // Frames and bells, by descriptors that are open.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_getsockopt,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_close,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    // Clocks where the vDSO has none, and random seeds of tables.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    // Itself: threads of DPDK ask where they run; panics and the end of a thread.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getcpu,
    libc::SYS_sched_getaffinity,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The older ones of these, which newer machines do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[];

/// The filter of workers' threads.
#[derive(Clone)]
pub struct Filter(Arc<BpfProgram>);

impl Filter {
    /// Makes the filter; it is in force nowhere yet.
    ///
    /// # Errors
    /// It is not known how this machine numbers its system calls.
    pub fn new() -> Result<Filter, seccompiler::Error> {
        let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().chain(OLDER).map(|&call| (call, Vec::new())).collect();
        // Memory, but none to run code from: the third argument of both.
        let not_executable = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0)?;
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            rules.insert(call, vec![SeccompRule::new(vec![not_executable.clone()])?]);
        }
        let refused = SeccompAction::Errno(libc::EPERM as u32);
        let program: BpfProgram = SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture)?.try_into()?;
        Ok(Filter(Arc::new(program)))
    }

    /// Puts it in force for the calling thread, for good.
    ///
    /// # Errors
    /// The kernel has no seccomp, or refuses.
    pub fn confine(&self) -> Result<(), seccompiler::Error> {
        apply_filter(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Write};

    /// Runs on a thread with the filter in force; `None`: this kernel has none.
    fn confined<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let filter = Filter::new().unwrap();
        let thread = std::thread::spawn(move || match filter.confine() {
            Ok(()) => Some(work()),
            Err(error) => {
                println!("skipped: no seccomp here: {error}");
                None
            }
        });
        thread.join().unwrap()
    }

    #[test]
    fn a_confined_thread_opens_and_starts_nothing() {
        let refused = confined(|| {
            [
                std::fs::File::open("/proc/self/status").err().map(|error| error.kind()),
                std::fs::write("/tmp/bladeswitch-must-not-be", "").err().map(|error| error.kind()),
                std::net::UdpSocket::bind("127.0.0.1:0").err().map(|error| error.kind()),
                std::os::unix::net::UnixStream::connect("/nowhere").err().map(|error| error.kind()),
                std::process::Command::new("/bin/true").spawn().err().map(|error| error.kind()),
                std::thread::Builder::new().spawn(|| ()).err().map(|error| error.kind()),
                std::fs::remove_file("/tmp/bladeswitch-is-not").err().map(|error| error.kind()),
            ]
        });
        if let Some(refused) = refused {
            assert_eq!(refused, [Some(ErrorKind::PermissionDenied); 7]);
        }
        // Others can.
        assert!(std::fs::File::open("/proc/self/status").is_ok());
    }

    #[test]
    fn a_confined_thread_can_do_its_work() {
        let (mut to, mut from) = std::os::unix::net::UnixStream::pair().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        from.write_all(b"Frame").unwrap();
        let done = confined(move || {
            to.write_all(b"frame").unwrap();
            let mut read = [0; 5];
            std::io::Read::read_exact(&mut to, &mut read).unwrap();
            // Enough for a mapping of its own, and back.
            let large = vec![read[0]; 8 << 20];
            std::thread::park_timeout(std::time::Duration::from_millis(1));
            std::thread::sleep(std::time::Duration::from_millis(1));
            let panicked = std::panic::catch_unwind(|| panic!("meant to")).is_err();
            sender.send(large[large.len() - 1]).unwrap();
            eprintln!("still heard of");
            panicked
        });
        if done.is_none() {
            return;
        }
        assert_eq!((done, receiver.recv()), (Some(true), Ok(b'F')));
        let mut sent = [0; 5];
        std::io::Read::read_exact(&mut from, &mut sent).unwrap();
        assert_eq!(&sent, b"frame");
    }
}
