//! AF_XDP ports on real interfaces: veth pairs in a network namespace of the test's own thread, which vanishes with it.
//!
//! ```text
//!   outside                    the port(s) under test
//!   AF_PACKET socket on a0 ─── a1  AF_XDP
//!   AF_PACKET socket on b0 ─── b1  AF_XDP
//! ```
//!
//! The outer ends are plain AF_PACKET sockets: what goes in and comes out is seen by other means than ours.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use port::backend::af_xdp::{self, Mode, Options};
use port::{Burst, Hugepages, LinkState, Mempool, Nanos, Packet, PoolCache, Port, Refusal};

/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

/// Moves the calling thread to a network namespace of its own; `false` if this machine does not let it.
fn own_namespace() -> bool {
    // SAFETY: changes which namespace this thread is in, nothing in memory.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
        println!("skipped: no network namespaces here ({})", std::io::Error::last_os_error());
        return false;
    }
    // Else the system talks on new interfaces by itself.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    true
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip(8) is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A pair of interfaces, both up, with so many queues.
fn veth(a: &str, b: &str, queues: u32, mtu: u32) {
    let queues = format!("numrxqueues {queues} numtxqueues {queues}");
    ip(&format!("link add {a} mtu {mtu} {queues} type veth peer name {b} mtu {mtu} {queues}"));
    ip(&format!("link set {a} up"));
    ip(&format!("link set {b} up"));
}

/// A raw socket on an interface.
struct Outside(OwnedFd);

impl Outside {
    fn on(name: &str) -> Outside {
        // SAFETY: a new descriptor; no memory is touched.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, (libc::ETH_P_ALL as u16).to_be().into()) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: just made, nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let name = std::ffi::CString::new(name).unwrap();
        // SAFETY: a string with a zero at its end; a structure of integers, of the size given.
        unsafe {
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            let len = size_of_val(&address) as libc::socklen_t;
            assert_eq!(libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len), 0, "{}", std::io::Error::last_os_error());
            let size: libc::c_int = 64 << 20;
            let len = size_of_val(&size) as libc::socklen_t;
            libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const size).cast(), len);
        }
        Outside(fd)
    }

    fn send(&self, frame: &[u8]) {
        // SAFETY: reads `frame`.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
    }

    /// The next frame that came in here; `None` if there is none at present.
    fn receive(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 70_000];
        loop {
            // SAFETY: writes at most as much as `frame` and the address have room for.
            let (len, kind) = unsafe {
                let mut from: libc::sockaddr_ll = std::mem::zeroed();
                let mut size = size_of_val(&from) as libc::socklen_t;
                let (buffer, flags) = (frame.as_mut_ptr().cast(), libc::MSG_DONTWAIT);
                let len = libc::recvfrom(self.0.as_raw_fd(), buffer, frame.len(), flags, (&raw mut from).cast(), &mut size);
                (len, from.sll_pkttype)
            };
            if len < 0 {
                return None;
            }
            if kind != libc::PACKET_OUTGOING {
                frame.truncate(len as usize);
                return Some(frame);
            }
        }
    }
}

/// A frame that tells its number and has different bytes all over.
fn frame(number: u32, len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| (i as u32 * 7 + number * 13 + (i as u32 >> 8)) as u8).collect();
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x90, 0x00]);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    frame
}

fn options(mode: Mode) -> Options {
    Options { mode, ..Options::default() }
}

fn start() -> Instant {
    Instant::now()
}

fn now(start: Instant) -> Nanos {
    Nanos(start.elapsed().as_nanos() as u64)
}

/// Waits until `done` says so, calling it again and again.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::yield_now();
    }
}

/// One turn: everything from `from` goes out of `to`. Returns how many were refused, because the port is down and for no other reason.
fn forward(from: &mut Port, to: &mut Port, pool: &mut PoolCache, now: Nanos) -> usize {
    let mut burst = Burst::new();
    let mut count = 0;
    for rx in &mut from.rx {
        rx.rx_burst(now, pool, &mut burst, 64);
        to.tx[0].tx_burst(now, pool, &mut burst);
        if !burst.is_empty() {
            assert_eq!(to.tx[0].refusal(), Refusal::Down, "the queue has room for what these tests send at once");
            count += burst.len();
            pool.free_all(&mut burst);
        }
    }
    for tx in &mut to.tx {
        tx.flush(now, pool);
    }
    count
}

/// All buffers are back once ports and caches are closed.
fn nothing_is_lost(pool: &Mempool, mut cache: PoolCache) {
    cache.flush();
    assert_eq!(pool.in_use(), 0, "buffers are missing");
}

fn pool(buffers: u32) -> (Mempool, PoolCache) {
    let pool = Mempool::new(buffers, Hugepages::Never).unwrap();
    let cache = pool.cache();
    (pool, cache)
}

/// Frames of all lengths go through two ports and are the same afterwards, both ways.
fn frames_are_identical(mode: Mode, name: &str, mtu: u32) {
    if !own_namespace() {
        return;
    }
    veth("a0", "a1", 1, mtu);
    veth("b0", "b1", 1, mtu);
    let (pool, mut cache) = pool(8192);
    let mut a = af_xdp::open("a1", &options(mode), &pool).unwrap();
    let mut b = af_xdp::open("b1", &options(mode), &pool).unwrap();
    assert!(a.device.describe().starts_with(&format!("af_xdp a1 (veth), 1 queue, {name}, copy")), "{}", a.device.describe());
    assert_eq!((a.device.kind(), a.rx.len(), a.tx.len()), ("af_xdp", 1, 1));
    until("the links are up", || [&a, &b].iter().all(|port| port.device.link() == LinkState::Up));
    assert!(a.rx[0].poll_fd().is_some());
    assert_eq!((a.device.mode(), a.device.mtu()), (Some(format!("{name}, copy")), Some(mtu)));
    let (left, right) = (Outside::on("a0"), Outside::on("b0"));
    let start = start();
    let (mut from, mut to, mut sender, mut receiver) = (&mut a, &mut b, &left, &right);
    // Around the edges of buffers, too: 1,792 bytes of a received frame fit in one.
    let longest = mtu as usize + 14;
    let lengths = [60, 61, 64, 128, 1514, 1791, 1792, 1793, 1920, 1921, 3584, 3585, 8999, 9014].into_iter().filter(|len| *len <= longest);
    for (number, len) in lengths.enumerate() {
        let sent = frame(number as u32, len);
        for _there_and_back in 0..2 {
            sender.send(&sent);
            let mut received = None;
            until("a frame comes through", || {
                forward(from, to, &mut cache, now(start));
                received = receiver.receive();
                received.is_some()
            });
            assert!(received == Some(sent.clone()), "{len} bytes are not what they were");
            std::mem::swap(&mut from, &mut to);
            std::mem::swap(&mut sender, &mut receiver);
        }
    }
    assert_eq!(a.rx[0].drops().frames() + b.rx[0].drops().frames(), 0);
    // One that is too long is refused, and the one behind it is not.
    let mut burst = Burst::new();
    burst.push(cache.alloc_copy(&frame(1, mtu as usize + 19)).unwrap());
    burst.push(cache.alloc_copy(&frame(2, 60)).unwrap());
    assert_eq!((a.tx[0].tx_burst(now(start), &mut cache, &mut burst), a.tx[0].refusal()), (0, Refusal::Oversize));
    cache.free(burst.remove(0));
    assert_eq!(a.tx[0].tx_burst(now(start), &mut cache, &mut burst), 1);
    a.tx[0].flush(now(start), &mut cache);
    drop((a, b));
    nothing_is_lost(&pool, cache);
}

#[test]
fn native_frames_are_identical() {
    frames_are_identical(Mode::Native, "native", 1500);
}

#[test]
fn skb_frames_are_identical() {
    frames_are_identical(Mode::Skb, "skb", 1500);
}

#[test]
fn native_jumbo_frames_are_identical() {
    frames_are_identical(Mode::Native, "native", 9000);
}

#[test]
fn skb_jumbo_frames_are_identical() {
    frames_are_identical(Mode::Skb, "skb", 9000);
}

#[test]
fn the_best_mode_is_taken_and_the_better_one_explained() {
    if !own_namespace() {
        return;
    }
    veth("a0", "a1", 1, 1500);
    let (pool, cache) = pool(4096);
    let port = af_xdp::open("a1", &options(Mode::Auto), &pool).unwrap();
    assert_eq!(port.device.describe(), "af_xdp a1 (veth), 1 queue, native, copy: zero-copy refused by veth: EOPNOTSUPP");
    let error = af_xdp::open("a1", &options(Mode::Auto), &pool).unwrap_err().to_string();
    assert!(error.contains("EBUSY: another XDP program is attached") && error.contains("ip link set a1 xdp off"), "{error}");
    drop(port);
    let error = af_xdp::open("a1", &options(Mode::ZeroCopy), &pool).unwrap_err().to_string();
    assert_eq!(error, "interface a1: zero-copy refused by veth: EOPNOTSUPP");
    let error = af_xdp::open("a1", &Options { queues: Some(2), ..Options::default() }, &pool).unwrap_err().to_string();
    assert!(error.contains("a1 has 1 receive queues, expected 2") && error.contains("ethtool -L a1"), "{error}");
    nothing_is_lost(&pool, cache);
}

/// Takes a capability from the calling thread.
fn without(capability: u32) {
    // `struct __user_cap_header_struct`, version 3, and two of `struct __user_cap_data_struct`.
    let header = [0x2008_0522u32, 0];
    let mut data = [0u32; 6];
    // SAFETY: capget(2) writes and capset(2) reads structures of exactly these sizes.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()), 0);
        data[capability as usize / 32 * 3] &= !(1 << (capability % 32));
        assert_eq!(libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()), 0);
    }
}

#[test]
fn what_is_not_permitted_is_said_with_the_cure() {
    const CAP_IPC_LOCK: u32 = 14;
    const CAP_NET_RAW: u32 = 13;
    if !own_namespace() {
        return;
    }
    veth("a0", "a1", 1, 1500);
    without(CAP_IPC_LOCK);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one `rlimit`.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    if limit.rlim_cur < 64 << 20 {
        let (pool, cache) = pool(32768);
        let error = af_xdp::open("a1", &options(Mode::Auto), &pool).unwrap_err().to_string();
        assert!(error.contains("may not lock the packet pool of 64 MiB (RLIMIT_MEMLOCK") && error.contains("ulimit -l"), "{error}");
        nothing_is_lost(&pool, cache);
    }
    without(CAP_NET_RAW);
    let (pool, cache) = pool(64);
    let error = af_xdp::open("a1", &options(Mode::Auto), &pool).unwrap_err().to_string();
    assert!(error.starts_with("interface a1: socket(AF_XDP) is not permitted: missing CAP_NET_RAW, CAP_IPC_LOCK."), "{error}");
    assert!(error.contains("setcap cap_net_raw,"), "{error}");
    nothing_is_lost(&pool, cache);
}

#[test]
fn a_flooded_frame_is_sent_from_one_buffer() {
    if !own_namespace() {
        return;
    }
    let names = ["a", "b", "c", "d"];
    for name in names {
        veth(&format!("{name}0"), &format!("{name}1"), 1, 9000);
    }
    let (pool, mut cache) = pool(16384);
    let mut ports: Vec<Port> = names.iter().map(|name| af_xdp::open(&format!("{name}1"), &options(Mode::Auto), &pool).unwrap()).collect();
    let outside: Vec<Outside> = names.iter().map(|name| Outside::on(&format!("{name}0"))).collect();
    let start = start();
    cache.flush();
    let idle = pool.in_use();
    for round in 0..200u32 {
        let sent = frame(round, if round % 2 == 0 { 60 } else { 9014 });
        outside[0].send(&sent);
        let mut burst = Burst::new();
        until("the frame comes in", || ports[0].rx[0].rx_burst(now(start), &mut cache, &mut burst, 64) > 0);
        let mut packet = burst.pop().unwrap();
        // Twice to one of them: its table counts.
        let handles: Vec<Packet> = (0..3).map(|_| cache.share(&mut packet)).collect();
        for (handle, to) in handles.into_iter().chain([packet]).zip([1, 2, 3, 3]) {
            burst.push(handle);
            assert_eq!(ports[to].tx[0].tx_burst(now(start), &mut cache, &mut burst), 1);
        }
        for (to, times) in [(1, 1), (2, 1), (3, 2)] {
            for _ in 0..times {
                let mut received = None;
                until("a copy arrives", || {
                    ports[to].tx[0].flush(now(start), &mut cache);
                    received = outside[to].receive();
                    received.is_some()
                });
                assert!(received.as_ref() == Some(&sent), "round {round}, port {to}");
            }
        }
    }
    until("all is sent", || {
        ports.iter_mut().for_each(|port| port.tx[0].flush(now(start), &mut cache));
        ports.iter().all(|port| port.tx[0].held() == 0)
    });
    ports[0].rx[0].rx_burst(now(start), &mut cache, &mut Burst::new(), 64);
    cache.flush();
    assert_eq!(pool.in_use(), idle, "as before: what the kernel holds for reception");
    drop(ports);
    nothing_is_lost(&pool, cache);
}

/// 100,000 frames; then the sockets are closed while frames go on coming.
#[test]
fn no_buffer_is_lost_in_traffic_or_by_closing() {
    if !own_namespace() {
        return;
    }
    veth("a0", "a1", 1, 1500);
    veth("b0", "b1", 1, 1500);
    let (pool, mut cache) = pool(16384);
    let start = start();
    let mut generator = af_xdp::open("a0", &options(Mode::Skb), &pool).unwrap();
    let mut a = af_xdp::open("a1", &options(Mode::Native), &pool).unwrap();
    let mut b = af_xdp::open("b1", &options(Mode::Native), &pool).unwrap();
    let mut sink = af_xdp::open("b0", &options(Mode::Skb), &pool).unwrap();
    const FRAMES: u32 = 100_000;
    let (mut sent, mut received, mut next) = (0, 0, 0);
    until("100,000 frames come through", || {
        let mut burst = Burst::new();
        while sent < FRAMES && burst.len() < 32 {
            burst.push(cache.alloc_copy(&frame(sent, 60)).unwrap());
            sent += 1;
        }
        let refused = burst.len() - generator.tx[0].tx_burst(now(start), &mut cache, &mut burst);
        assert_eq!(refused, 0);
        generator.tx[0].flush(now(start), &mut cache);
        forward(&mut a, &mut b, &mut cache, now(start));
        received += sink.rx[0].rx_burst(now(start), &mut cache, &mut burst, 64);
        for packet in burst.drain(..) {
            let number = u32::from_be_bytes(cache.head(&packet)[14..18].try_into().unwrap());
            assert!(number >= next, "out of order");
            next = number + 1;
            cache.free(packet);
        }
        received == FRAMES as usize
    });
    // Nobody reads any more: frames stay in every ring there is. Then the ports end one after the other.
    for round in 0..50 {
        let mut burst: Burst = (0..64).map(|n| cache.alloc_copy(&frame(round * 64 + n, 60)).unwrap()).collect();
        generator.tx[0].tx_burst(now(start), &mut cache, &mut burst);
        cache.free_all(&mut burst);
        if round % 2 == 0 {
            generator.tx[0].flush(now(start), &mut cache);
        }
        forward(&mut a, &mut b, &mut cache, now(start));
    }
    drop(a);
    drop(generator);
    drop(sink);
    drop(b);
    nothing_is_lost(&pool, cache);
}

/// The interface is deleted and made again while a port between two others goes on.
#[test]
fn a_port_is_unplugged_and_comes_back() {
    if !own_namespace() {
        return;
    }
    veth("a0", "a1", 1, 1500);
    veth("b0", "b1", 1, 1500);
    let (pool, mut cache) = pool(8192);
    let start = start();
    let mut a = af_xdp::open("a1", &options(Mode::Auto), &pool).unwrap();
    let mut b = af_xdp::open("b1", &options(Mode::Auto), &pool).unwrap();
    cache.flush();
    let idle = pool.in_use();
    for round in 1..=5 {
        ip("link del b1");
        let left = Outside::on("a0");
        let mut refused = 0;
        until("the port is down, and frames for it are refused", || {
            left.send(&frame(0, 60));
            refused += forward(&mut a, &mut b, &mut cache, now(start));
            forward(&mut b, &mut a, &mut cache, now(start));
            b.device.link() == LinkState::Down && refused > 10
        });
        assert!(a.device.mode().is_some() && b.device.mode().is_none(), "the other port does not notice");
        until("all of its buffers are back", || {
            forward(&mut a, &mut b, &mut cache, now(start));
            cache.flush();
            pool.in_use() == idle / 2
        });
        assert!(b.rx[0].poll_fd().is_none(), "there is nothing to wait for");
        veth("b0", "b1", 1, 1500);
        until("the port is up again", || b.device.link() == LinkState::Up);
        let right = Outside::on("b0");
        let mut received = None;
        until("a frame goes through", || {
            left.send(&frame(77, 60));
            forward(&mut a, &mut b, &mut cache, now(start));
            forward(&mut b, &mut a, &mut cache, now(start));
            received = right.receive();
            received.is_some()
        });
        assert!(received == Some(frame(77, 60)));
        assert_eq!((b.device.statistics().returns, b.device.statistics().link_downs), (round as u64, round as u64));
        let errors = b.device.errors();
        assert_eq!(errors.len(), 2 * round, "{errors:?}");
        assert!(errors[0].contains("interface b1 is gone") && errors[1].contains("interface b1 is back"), "{errors:?}");
    }
    drop((a, b));
    nothing_is_lost(&pool, cache);
}

#[test]
fn an_interface_switched_off_is_down_and_its_frames_are_counted() {
    if !own_namespace() {
        return;
    }
    veth("a0", "a1", 1, 1500);
    let (pool, mut cache) = pool(4096);
    let start = start();
    let mut port = af_xdp::open("a1", &options(Mode::Auto), &pool).unwrap();
    ip("link set a1 down");
    until("the link is down", || port.device.link() == LinkState::Down);
    // The first frame finds out; the others are refused.
    for number in 0..10 {
        let mut burst = Burst::new();
        burst.push(cache.alloc_copy(&frame(number, 60)).unwrap());
        assert_eq!(port.tx[0].tx_burst(now(start), &mut cache, &mut burst), (number == 0) as usize);
        port.tx[0].flush(now(start), &mut cache);
        assert!(number == 0 || port.tx[0].refusal() == Refusal::Down);
        cache.free_all(&mut burst);
    }
    assert_eq!(port.tx[0].held(), 1);
    ip("link set a1 up");
    until("the link is up", || port.device.link() == LinkState::Up);
    let outside = Outside::on("a0");
    let mut received = None;
    until("it sends again", || {
        let mut burst = Burst::new();
        burst.push(cache.alloc_copy(&frame(1000, 60)).unwrap());
        port.tx[0].tx_burst(now(start), &mut cache, &mut burst);
        port.tx[0].flush(now(start), &mut cache);
        cache.free_all(&mut burst);
        received = outside.receive().filter(|received| *received == frame(1000, 60));
        received.is_some()
    });
    // No carrier at the far end: the device takes the frames and drops them.
    ip("link set a0 down");
    until("lost frames are counted", || {
        let mut burst = Burst::new();
        burst.push(cache.alloc_copy(&frame(2000, 60)).unwrap());
        port.tx[0].tx_burst(now(start), &mut cache, &mut burst);
        port.tx[0].flush(now(start), &mut cache);
        cache.free_all(&mut burst);
        port.device.statistics().tx_lost > 0
    });
    assert!(port.device.describe().contains("not sent: the device dropped them"));
    drop(port);
    nothing_is_lost(&pool, cache);
}

#[test]
fn every_queue_of_an_interface_is_served() {
    if !own_namespace() {
        return;
    }
    veth("a0", "a1", 2, 1500);
    let (pool, mut cache) = pool(8192);
    let start = start();
    // The sender chooses the queue: a veth hands on what came by transmit queue i in receive queue i.
    let mut sender = af_xdp::open("a0", &options(Mode::Auto), &pool).unwrap();
    let mut port = af_xdp::open("a1", &Options { queues: Some(2), ..Options::default() }, &pool).unwrap();
    assert_eq!((port.rx.len(), port.tx.len(), sender.tx.len()), (2, 2, 2));
    assert!(port.device.describe().contains("2 queues"));
    let (mut from, mut to) = (&mut sender, &mut port);
    for queue in [0, 1] {
        for _there_and_back in 0..2 {
            let mut burst = Burst::new();
            burst.push(cache.alloc_copy(&frame(queue as u32, 60)).unwrap());
            assert_eq!(from.tx[queue].tx_burst(now(start), &mut cache, &mut burst), 1);
            until("it arrives in its queue", || {
                from.tx[queue].flush(now(start), &mut cache);
                to.rx[queue].rx_burst(now(start), &mut cache, &mut burst, 64) > 0
            });
            assert_eq!(cache.head(&burst[0]), frame(queue as u32, 60));
            cache.free_all(&mut burst);
            assert_eq!(to.rx[1 - queue].rx_burst(now(start), &mut cache, &mut burst, 64), 0);
            std::mem::swap(&mut from, &mut to);
        }
    }
    drop((sender, port));
    nothing_is_lost(&pool, cache);
}

/// A switch of one worker has no use for a second transmit queue: its half is closed, and that must hold nothing back.
#[test]
fn a_queue_end_that_is_dropped_is_not_missed() {
    if !own_namespace() {
        return;
    }
    veth("a0", "a1", 2, 1500);
    let (pool, mut cache) = pool(8192);
    let start = start();
    let mut port = af_xdp::open("a1", &options(Mode::Auto), &pool).unwrap();
    drop(port.tx.pop());
    for _round in 0..3 {
        ip("link del a1");
        until("all buffers are back", || {
            port.rx.iter_mut().for_each(|rx| assert_eq!(rx.rx_burst(now(start), &mut cache, &mut Burst::new(), 64), 0));
            port.tx[0].flush(now(start), &mut cache);
            cache.flush();
            pool.in_use() == 0
        });
        veth("a0", "a1", 2, 1500);
        until("the port is back", || port.device.mode().is_some());
        let mut sender = af_xdp::open("a0", &options(Mode::Auto), &pool).unwrap();
        for queue in [0, 1] {
            let mut burst = Burst::new();
            until("a frame arrives in its queue", || {
                burst.push(cache.alloc_copy(&frame(queue as u32, 60)).unwrap());
                sender.tx[queue].tx_burst(now(start), &mut cache, &mut burst);
                sender.tx[queue].flush(now(start), &mut cache);
                cache.free_all(&mut burst);
                port.rx[queue].rx_burst(now(start), &mut cache, &mut burst, 64) > 0
            });
            assert_eq!(cache.head(&burst[0]), frame(queue as u32, 60));
            cache.free_all(&mut burst);
        }
    }
    drop(port);
    nothing_is_lost(&pool, cache);
}

#[test]
fn frames_without_a_buffer_are_counted() {
    if !own_namespace() {
        return;
    }
    veth("a0", "a1", 1, 1500);
    let (pool, mut cache) = pool(4096);
    let mut port = af_xdp::open("a1", &options(Mode::Auto), &pool).unwrap();
    let outside = Outside::on("a0");
    let start = start();
    // Nobody polls: the kernel has as many buffers as its ring, and no more.
    let more = af_xdp::RX_RING + 100;
    (0..more).for_each(|number| outside.send(&frame(number, 60)));
    let mut received = 0;
    until("the rest is counted", || {
        let mut burst = Burst::new();
        received += port.rx[0].rx_burst(now(start), &mut cache, &mut burst, 64);
        cache.free_all(&mut burst);
        received as u32 == af_xdp::RX_RING && port.rx[0].drops().no_buffer == 100
    });
    assert_eq!(port.rx[0].drops().frames(), 100);
    drop(port);
    nothing_is_lost(&pool, cache);
}

/// Busy polling is accepted, and frames pass. (What it gains shows on a NIC only.)
#[test]
fn busy_polling_works() {
    if !own_namespace() {
        return;
    }
    veth("a0", "a1", 1, 1500);
    let (pool, mut cache) = pool(4096);
    let start = start();
    let mut port = af_xdp::open("a1", &Options { busy_poll: Some(20), ..Options::default() }, &pool).unwrap();
    let outside = Outside::on("a0");
    outside.send(&frame(1, 60));
    let mut burst = Burst::new();
    until("it arrives", || port.rx[0].rx_burst(now(start), &mut cache, &mut burst, 64) > 0);
    assert_eq!(port.tx[0].tx_burst(now(start), &mut cache, &mut burst), 1);
    port.tx[0].flush(now(start), &mut cache);
    let mut back = None;
    until("it goes back", || {
        back = outside.receive();
        back.is_some()
    });
    assert!(back == Some(frame(1, 60)));
    drop(port);
    nothing_is_lost(&pool, cache);
}
