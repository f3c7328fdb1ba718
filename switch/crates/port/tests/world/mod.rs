//! A network namespace of its own for a test, and raw sockets that play the other end.
//!
//! Each test runs on a thread that leaves the machine's network for a new, empty one: nothing it does can reach a real
//! interface, and when the thread ends the namespace and all in it are gone, also if the test failed.

#![allow(dead_code)] // Not every test file uses all of it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use port::{Burst, Mempool, Nanos, PoolCache, Port};

/// The longest anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `test` in an empty network namespace; says so and returns if this process may not make one.
pub fn alone<T: Send>(test: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Err(why) = leave() {
                eprintln!("skipped: {why}");
                return None;
            }
            Some(test())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn leave() -> Result<(), String> {
    if Command::new("ip").arg("-V").output().is_err() {
        return Err("no `ip` (iproute2)".to_owned());
    }
    // SAFETY: changes the network namespace of this thread, which is a test's own.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
        return Err(format!("no network namespace: {}", io::Error::last_os_error()));
    }
    // Neighbour discovery of the host would be among the frames.
    std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").ok();
    Ok(())
}

/// Number of the calling thread: `ip link set X netns NUMBER` moves an interface to it.
pub fn thread_id() -> i32 {
    // SAFETY: touches no memory.
    unsafe { libc::gettid() }
}

/// `ip ARGS`, in the namespace of the calling thread.
pub fn ip(args: &str) {
    let output = Command::new("ip").args(args.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A veth pair, both ends up.
pub fn veth(a: &str, b: &str) {
    ip(&format!("link add name {a} numrxqueues 1 numtxqueues 1 type veth peer name {b} numrxqueues 1 numtxqueues 1"));
    ip(&format!("link set {a} up"));
    ip(&format!("link set {b} up"));
}

/// A namespace with a name, gone at the end.
pub struct Named(pub String);

impl Named {
    pub fn new() -> Named {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("bladeswitch-port-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        ip(&format!("netns add {name}"));
        Named(name)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A port and what it needs.
pub struct Opened {
    pub port: Port,
    pub mempool: Mempool,
    pub pool: PoolCache,
    started: Instant,
}

impl Opened {
    pub fn open(spec: &str) -> Opened {
        Opened::try_open(spec).unwrap_or_else(|error| panic!("{spec}: {error}"))
    }

    pub fn try_open(spec: &str) -> Result<Opened, port::OpenError> {
        let mempool = Mempool::new(8192, port::Hugepages::Never).unwrap();
        let options = port::OpenOptions {
            name: "p",
            speed_bps: 1_000_000_000,
            queue: 512,
            frame_len_max: 9216,
            mempool: &mempool,
            force_default_route: false,
        };
        let port = port::open(&spec.parse().unwrap(), &options)?;
        Ok(Opened { port, pool: mempool.cache(), mempool, started: Instant::now() })
    }

    pub fn now(&self) -> Nanos {
        Nanos(self.started.elapsed().as_nanos() as u64)
    }

    /// What the queues have received now.
    pub fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let now = self.now();
        for queue in &mut self.port.rx {
            let mut burst = Burst::new();
            queue.rx_burst(now, &mut self.pool, &mut burst, 64);
            for packet in &burst {
                let mut frame = Vec::new();
                self.pool.copy_to(packet, &mut frame);
                frames.push(frame);
            }
            self.pool.free_all(&mut burst);
        }
        frames
    }

    /// Receives until there are `count` frames of ours (see [`frame`]); others are let go of.
    pub fn receive_ours(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        self.until("frames to come in", |opened| {
            frames.extend(opened.receive().into_iter().filter(|frame| is_ours(frame)));
            frames.len() >= count
        });
        frames
    }

    /// What a worker does in a turn with nothing to send. Returns what came in.
    pub fn turn(&mut self) -> Vec<Vec<u8>> {
        let now = self.now();
        let frames = self.receive();
        for queue in &mut self.port.tx {
            queue.flush(now, &mut self.pool);
        }
        frames
    }

    /// Sends a frame by queue 0; `false` and freed if it is refused.
    pub fn send(&mut self, frame: &[u8]) -> bool {
        let mut burst = Burst::new();
        burst.push(self.pool.alloc_copy(frame).unwrap());
        let now = self.now();
        let sent = self.port.tx[0].tx_burst(now, &mut self.pool, &mut burst);
        self.pool.free_all(&mut burst);
        sent == 1
    }

    /// Looks after the device until `done`.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Opened) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.now();
            self.port.device.maintain(now);
            if done(self) {
                return;
            }
            assert!(Instant::now() < deadline, "waiting for {what}: {}, {:?}", self.port.device.describe(), self.port.device.errors());
            std::thread::park_timeout(Duration::from_micros(100)); // Others want the processor to bring it about.
        }
    }

    /// Closes the port; every buffer must have come home.
    pub fn close(self) {
        let Opened { port, mempool, mut pool, .. } = self;
        drop(port);
        pool.flush();
        assert_eq!(mempool.in_use(), 0, "buffers leaked");
    }
}

/// A frame of ours: local experimental EtherType behind `tags`, then a count.
pub fn frame(len: usize, tags: &[[u8; 4]], mark: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 0xb1, 2, 0, 0, 0, 0, 0xa1];
    tags.iter().for_each(|tag| frame.extend(tag));
    frame.extend([0x88, 0xb6]);
    frame.extend((frame.len()..len).map(|at| (at as u8).wrapping_mul(7) ^ mark));
    frame
}

pub fn is_ours(frame: &[u8]) -> bool {
    frame[..12] == [2, 0, 0, 0, 0, 0xb1, 2, 0, 0, 0, 0, 0xa1]
}

/// A raw packet socket on an interface.
pub struct Raw(OwnedFd);

impl Raw {
    pub fn new(interface: &str) -> Raw {
        let name = std::ffi::CString::new(interface).unwrap();
        // SAFETY: plain system calls on a new descriptor, with live arguments of the sizes given.
        unsafe {
            let index = libc::if_nametoindex(name.as_ptr());
            assert_ne!(index, 0, "{interface}");
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, (libc::ETH_P_ALL as u16).to_be().into());
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            let fd = OwnedFd::from_raw_fd(fd);
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            address.sll_ifindex = index as i32;
            let len = size_of::<libc::sockaddr_ll>() as u32;
            assert_eq!(libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), len), 0, "{}", io::Error::last_os_error());
            let patience = libc::timeval { tv_sec: PATIENCE.as_secs() as i64, tv_usec: 0 };
            libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, std::ptr::from_ref(&patience).cast(), 16);
            Raw(fd)
        }
    }

    pub fn send(&self, frame: &[u8]) {
        assert!(self.try_send(frame), "{}", io::Error::last_os_error());
    }

    /// `false` if it is refused.
    pub fn try_send(&self, frame: &[u8]) -> bool {
        // SAFETY: the kernel reads the bytes given.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        sent == frame.len() as isize
    }

    /// The next frame that comes in and is not this one.
    pub fn receive_any_but(&self, but: &[u8]) -> Vec<u8> {
        loop {
            let frame = self.receive();
            if frame != but {
                return frame;
            }
        }
    }

    fn receive(&self) -> Vec<u8> {
        let mut frame = vec![0; 65_536];
        // SAFETY: the kernel writes at most the length given into a live buffer.
        let len = unsafe { libc::recv(self.0.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
        assert!(len > 0, "nothing came: {}", io::Error::last_os_error());
        frame.truncate(len as usize);
        frame
    }

    /// The next frame of ours, without its outermost tag (the kernel has put that aside).
    pub fn receive_ours(&self) -> Vec<u8> {
        loop {
            let frame = self.receive();
            if is_ours(&frame) {
                return frame;
            }
        }
    }
}
