//! A switch with nothing to do sleeps, and whatever happens wakes it.
//!
//! Its ports are datagram sockets: descriptors that can be slept on, without root and without interfaces.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use bladeswitch::Running;
use bladeswitch::assembly;
use control::config::{Config, Idle, Speed};
use port::clock::TscClock;
use port::{Burst, Device, LinkState, Mempool, Nanos, PoolCache, Port, PortId, RxQueue, TxQueue};
use wire::MacAddr;
use wire::ethernet::{self, EtherType};

const DEADLINE: Duration = Duration::from_secs(60);
/// The longest frame here.
const FRAME_LEN_MAX: usize = 256;

struct Rx(UnixDatagram);
struct Tx(UnixDatagram);
struct Socket;

impl RxQueue for Rx {
    fn rx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        let mut count = 0;
        let mut frame = [0; FRAME_LEN_MAX];
        while count < max
            && let Ok(len) = self.0.recv(&mut frame)
            && let Some(packet) = pool.alloc_copy(&frame[..len])
        {
            burst.push(packet);
            count += 1;
        }
        count
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

impl TxQueue for Tx {
    fn tx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let count = burst.len();
        for packet in burst.drain(..) {
            self.0.send(pool.head(&packet)).expect("the far end reads what it is sent");
            pool.free(packet);
        }
        count
    }
}

impl Device for Socket {
    fn kind(&self) -> &'static str {
        "socket"
    }
    fn describe(&self) -> String {
        "a datagram socket".to_owned()
    }
    fn link(&self) -> LinkState {
        LinkState::Up
    }
}

/// A running switch of two blades, and the far ends of its ports.
fn switch(workers: usize) -> (Running, [UnixDatagram; 2]) {
    let mut config = Config::chassis(2, Speed::G1, Speed::G1);
    config.ports.truncate(2); // Without the uplink.
    config.switch.workers = workers;
    config.identity.advertise = false;
    let (mut ports, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (near, far) = UnixDatagram::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_read_timeout(Some(DEADLINE)).unwrap();
        let tx = near.try_clone().unwrap();
        ports.push(Port { rx: vec![Box::new(Rx(near))], tx: vec![Box::new(Tx(tx))], device: Box::new(Socket) });
        ends.push(far);
    }
    let mempool: Mempool = assembly::mempool(&config).unwrap();
    let running = assembly::build(&config, ports, &mempool, 1).start(&[], Idle::Adaptive, TscClock::new()).unwrap();
    (running, ends.try_into().unwrap())
}

fn turns(running: &Running) -> u64 {
    running.control().worker_counters().iter().map(|worker| worker.turns).sum()
}

/// Waits until every worker sleeps: then turns are rare.
fn until_asleep(running: &Running) {
    let start = Instant::now();
    loop {
        let before = turns(running);
        std::thread::park_timeout(Duration::from_millis(5));
        // A worker that spins turns thousands of times; what it has counted shows when it goes to sleep.
        if before > 0 && turns(running) - before < 100 {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "the workers do not go to sleep");
    }
}

fn frame(dst: u8, src: u8) -> Vec<u8> {
    let mac = |last| MacAddr([2, 0, 0, 0, 0, last]);
    ethernet::emit(mac(dst), mac(src), &[], EtherType(0x9000), &[0; 46])
}

fn arrives(end: &UnixDatagram, expected: &[u8]) {
    let mut bytes = [0; FRAME_LEN_MAX];
    let len = end.recv(&mut bytes).expect("the frame arrives");
    assert_eq!(&bytes[..len], expected);
}

/// The middle of 21 times from sending a frame to a sleeping switch to receiving it, in both directions.
fn wake_up_time(running: &Running, ends: &[UnixDatagram; 2]) -> Duration {
    let mut times: Vec<Duration> = (0..21)
        .map(|round| {
            until_asleep(running);
            let (from, to) = (round % 2, 1 - round % 2);
            let frame = frame(to as u8 + 1, from as u8 + 1);
            let sent = Instant::now();
            ends[from].send(&frame).unwrap();
            arrives(&ends[to], &frame);
            sent.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// Nothing but the descriptor can be what woke it: by itself a worker looks every 50 ms.
#[test]
fn a_frame_wakes_the_worker() {
    let (running, ends) = switch(1);
    let time = wake_up_time(&running, &ends);
    assert!(time < Duration::from_millis(12), "{time:?}");
}

/// With two workers each port's transmit queue is the other's, so a frame wakes one worker and that one the other.
#[test]
fn a_frame_that_crosses_wakes_both_workers() {
    let (running, ends) = switch(2);
    let time = wake_up_time(&running, &ends);
    assert!(time < Duration::from_millis(12), "{time:?}");
}

#[test]
fn control_wakes_the_worker() {
    let (running, ends) = switch(1);
    let mut times: Vec<Duration> = (0..21)
        .map(|_| {
            until_asleep(&running);
            let frame = frame(0xff, 0xfe);
            let sent = Instant::now();
            running.control().inject(PortId(1), &frame);
            arrives(&ends[1], &frame);
            sent.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[10] < Duration::from_millis(12), "{times:?}");
}

/// An ARP request for a known address is answered by control: the descriptor wakes the worker, that wakes control, which wakes
/// the worker.
#[test]
fn the_worker_wakes_control() {
    let (running, ends) = switch(1);
    let ip = |last| std::net::Ipv4Addr::new(198, 18, 0, last);
    let mac = |last| MacAddr([2, 0, 0, 0, 0, last]);
    let request = wire::arp::Arp {
        operation: wire::arp::Operation::Request,
        sender_mac: mac(1),
        sender_ip: ip(1),
        target_mac: MacAddr([0; 6]),
        target_ip: ip(2),
    };
    let request = ethernet::emit(MacAddr::BROADCAST, mac(1), &[], EtherType::ARP, &request.emit());
    let mut times: Vec<Duration> = (0..21)
        .map(|_| {
            until_asleep(&running);
            let sent = Instant::now();
            ends[0].send(&request).unwrap();
            let mut bytes = [0; FRAME_LEN_MAX];
            ends[0].recv(&mut bytes).expect("the answer arrives");
            sent.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[10] < Duration::from_millis(8), "{times:?}");
}

#[test]
fn an_idle_switch_hardly_turns() {
    let (running, _ends) = switch(2);
    until_asleep(&running);
    let (before, start) = (turns(&running), Instant::now());
    while start.elapsed() < Duration::from_millis(500) {
        std::thread::park_timeout(Duration::from_millis(500));
    }
    let (turns, elapsed) = (turns(&running) - before, start.elapsed());
    // Two turns every 50 ms and worker; spinning would be a million.
    assert!(turns as f64 / elapsed.as_secs_f64() < 500.0, "{turns} turns in {elapsed:?}");
}
