//! memif ports: ours against ours in both roles, and against peers that die, lie and write nonsense. Needs no privileges.
//!
//! What a peer writes that makes no sense is in `memif_nonsense.rs`, DPDK's testpmd in `memif_testpmd.rs`.

mod world;

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use port::{Burst, LinkState, Nanos, Refusal};
use world::{Opened, frame};

/// A directory for sockets.
fn place() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn socket(place: &tempfile::TempDir) -> String {
    format!("memif:{}", place.path().join("m.sock").display())
}

/// Looks after both until their links are up.
fn join(a: &mut Opened, b: &mut Opened) {
    a.until("the link of one end", |a| {
        b.turn();
        a.turn();
        a.port.device.link() == LinkState::Up && b.port.device.link() == LinkState::Up
    });
    // Only when a worker has looked does the client give its buffers away.
    a.turn();
    b.turn();
}

fn pair(spec: &str, server: &str, client: &str) -> (Opened, Opened) {
    let mut server = Opened::open(&format!("{spec},role=server{server}"));
    let mut client = Opened::open(&format!("{spec},role=client{client}"));
    join(&mut server, &mut client);
    (server, client)
}

/// Sends `frames` from one end and checks that they come to the other, all, in order and unchanged.
fn carry(from: &mut Opened, to: &mut Opened, frames: &[Vec<u8>]) {
    let mut received = Vec::new();
    let mut sent = 0;
    from.until("frames to cross", |from| {
        while sent < frames.len() && from.send(&frames[sent]) {
            sent += 1;
        }
        received.extend(to.receive());
        received.len() >= frames.len()
    });
    assert_eq!(received.len(), frames.len());
    for (index, (received, frame)) in received.iter().zip(frames).enumerate() {
        assert!(received == frame, "frame {index} of {} bytes came as {} bytes", frame.len(), received.len());
    }
    assert!(to.receive().is_empty());
}

fn frames(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| frame(60 + n * 37 % 1400, &[], n as u8)).collect()
}

#[test]
fn frames_cross_whoever_comes_first() {
    for server_first in [true, false] {
        let place = place();
        let spec = socket(&place);
        let (mut server, mut client) = if server_first {
            pair(&spec, "", "")
        } else {
            let mut client = Opened::open(&format!("{spec},role=client"));
            client.until("the client to have called in vain", |client| client.port.device.describe().contains("No such file"));
            assert_eq!(client.port.device.link(), LinkState::Down);
            let mut server = Opened::open(&spec);
            join(&mut server, &mut client);
            (server, client)
        };
        // More than the ring of 512 holds, so that it wraps; more than once round 65,536 is in `counts_wrap_round`.
        carry(&mut server, &mut client, &frames(2000));
        carry(&mut client, &mut server, &frames(2000));
        assert!(server.port.device.describe().contains("id 0 server: connected to bladeswitch"), "{}", server.port.device.describe());
        assert!(client.port.device.mode().unwrap().contains("1 rx and 1 tx"), "{:?}", client.port.device.mode());
        server.close();
        client.close();
        assert!(!place.path().join("m.sock").exists(), "the server takes its path away");
    }
}

#[test]
fn counts_wrap_round() {
    let place = place();
    let (mut server, mut client) = pair(&socket(&place), "", ",ring-size=3");
    let small: Vec<Vec<u8>> = (0..64).map(|n| frame(60, &[], n)).collect();
    for _ in 0..70_000 / 64 {
        carry(&mut server, &mut client, &small);
        carry(&mut client, &mut server, &small);
    }
    server.close();
    client.close();
}

#[test]
fn long_frames_are_chained_both_ways() {
    for (sizes, ring) in [("256", 9), ("2048", 9), ("9216", 5), ("65536", 3)] {
        let place = place();
        let (mut server, mut client) = pair(&socket(&place), "", &format!(",buffer-size={sizes},ring-size={ring}"));
        let lens = [14, 15, 60, 255, 256, 257, 512, 1514, 1919, 1920, 1921, 2047, 2048, 2049, 4096, 9018, 9216, 30_000, 65_535];
        let long: Vec<Vec<u8>> = lens.iter().filter(|len| **len > 14).map(|len| frame(*len, &[], *len as u8)).collect();
        carry(&mut server, &mut client, &long);
        carry(&mut client, &mut server, &long);
        server.close();
        client.close();
    }
}

#[test]
fn a_frame_that_never_fits_is_refused_alone() {
    let place = place();
    let (mut server, mut client) = pair(&socket(&place), "", ",buffer-size=256,ring-size=3");
    let refusal = |end: &mut Opened, len: usize| {
        let sent = end.send(&frame(len, &[], 1));
        (sent, end.port.tx[0].refusal())
    };
    for _ in 0..2 {
        assert_eq!(refusal(&mut server, 8 * 256 + 1), (false, Refusal::Oversize), "more than the whole ring");
        assert_eq!(refusal(&mut client, 8 * 256 + 1), (false, Refusal::Oversize));
        carry(&mut server, &mut client, &[frame(8 * 256, &[], 2)]);
        carry(&mut client, &mut server, &[frame(8 * 256, &[], 3)]);
    }
    server.close();
    client.close();
}

#[test]
fn a_full_ring_refuses_and_keeps_the_order() {
    let place = place();
    let (mut server, mut client) = pair(&socket(&place), "", ",ring-size=4");
    for round in 0..3 {
        for (from, to) in [(0, 1), (1, 0)] {
            let ends = [&mut server, &mut client];
            let all: Vec<Vec<u8>> = (0..20).map(|n| frame(100, &[], n + round)).collect();
            let mut burst: Burst = all.iter().map(|frame| ends[from].pool.alloc_copy(frame).unwrap()).collect();
            let end = &mut *ends[from];
            assert_eq!(end.port.tx[0].tx_burst(Nanos::ZERO, &mut end.pool, &mut burst), 16);
            assert_eq!(end.port.tx[0].refusal(), Refusal::Full);
            assert_eq!(ends[to].receive(), all[..16]);
            let end = &mut *ends[from];
            assert_eq!(end.port.tx[0].tx_burst(Nanos::ZERO, &mut end.pool, &mut burst), 4);
            assert_eq!(ends[to].receive(), all[16..]);
        }
    }
    server.close();
    client.close();
}

#[test]
fn every_queue_is_joined_to_its_like() {
    for (queues_server, queues_client) in [(4, 4), (4, 2)] {
        let place = place();
        let (mut server, mut client) = pair(&socket(&place), &format!(",queues={queues_server}"), &format!(",queues={queues_client}"));
        assert_eq!((server.port.rx.len(), client.port.tx.len()), (queues_server, queues_client));
        for queue in 0..queues_client {
            for (from, to) in [(0, 1), (1, 0)] {
                let ends = [&mut server, &mut client];
                let end = &mut *ends[from];
                let mut burst = Burst::new();
                burst.push(end.pool.alloc_copy(&frame(80, &[], queue as u8)).unwrap());
                assert_eq!(end.port.tx[queue].tx_burst(Nanos::ZERO, &mut end.pool, &mut burst), 1);
                let end = &mut *ends[to];
                for (other, rx) in end.port.rx.iter_mut().enumerate() {
                    let received = rx.rx_burst(Nanos::ZERO, &mut end.pool, &mut burst, 64);
                    assert_eq!(received, usize::from(other == queue));
                }
                assert_eq!(end.pool.head(&burst[0]), frame(80, &[], queue as u8));
                end.pool.free_all(&mut burst);
            }
        }
        // A queue that the peer has not is down.
        let mut burst = Burst::new();
        burst.push(server.pool.alloc_copy(&frame(80, &[], 1)).unwrap());
        let sent = server.port.tx[queues_server - 1].tx_burst(Nanos::ZERO, &mut server.pool, &mut burst);
        assert_eq!(sent, usize::from(queues_server == queues_client));
        server.pool.free_all(&mut burst);
        server.close();
        client.close();
    }
}

#[test]
fn several_interfaces_share_a_socket() {
    let place = place();
    let spec = socket(&place);
    let mut servers: Vec<Opened> = [5, 0, u32::MAX].map(|id| Opened::open(&format!("{spec},id={id}"))).into();
    let twice = Opened::try_open(&format!("{spec},id=5")).map(|_| ()).unwrap_err().to_string();
    assert!(twice.contains("id 5 on it already"), "{twice}");
    let mut clients: Vec<Opened> = [5, 0, u32::MAX].map(|id| Opened::open(&format!("{spec},role=client,id={id}"))).into();
    for (server, client) in servers.iter_mut().zip(&mut clients) {
        join(server, client);
        carry(server, client, &frames(10));
    }
    servers.remove(0).close();
    clients[0].until("the first to be left alone", |client| client.port.device.link() == LinkState::Down);
    carry(&mut servers[0], &mut clients[1], &frames(10));
    servers.push(Opened::open(&format!("{spec},id=5")));
    join(&mut servers[2], &mut clients[0]);
    carry(&mut servers[2], &mut clients[0], &frames(10));
    servers.into_iter().for_each(Opened::close);
    assert!(!place.path().join("m.sock").exists());
    clients.into_iter().for_each(Opened::close);
}

#[test]
fn either_end_goes_and_comes_back() {
    let place = place();
    let spec = socket(&place);
    let (mut server, mut client) = pair(&spec, "", "");
    for round in 1..4 {
        assert!(client.send(&frame(60, &[], 1)), "this one is on its way when the server goes");
        server.close();
        client.until("the client to see the server go", |client| client.port.device.link() == LinkState::Down);
        assert!(!client.send(&frame(60, &[], 1)));
        assert_eq!(client.port.tx[0].refusal(), Refusal::Down);
        let description = client.port.device.describe();
        assert!(description.contains("disconnected: the peer left: closed; waiting for a server"), "{description}");
        server = Opened::open(&spec);
        join(&mut server, &mut client);
        carry(&mut server, &mut client, &frames(100));
        let statistics = client.port.device.statistics();
        assert_eq!((statistics.link_downs, statistics.returns), (round, round));
        assert_eq!(statistics.tx_lost, round, "one frame each time");
    }
    for round in 1..4 {
        client.close();
        server.until("the server to see the client go", |server| server.port.device.link() == LinkState::Down);
        assert!(!server.send(&frame(60, &[], 1)));
        assert_eq!(server.port.tx[0].refusal(), Refusal::Down);
        client = Opened::open(&format!("{spec},role=client"));
        join(&mut server, &mut client);
        carry(&mut client, &mut server, &frames(100));
        assert_eq!(server.port.device.statistics().returns, round);
    }
    server.close();
    client.close();
}

/// A port that nobody polls does not hold up the others on its socket, and comes back when somebody does.
#[test]
fn a_worker_that_does_not_look_holds_up_nobody() {
    let place = place();
    let spec = socket(&place);
    let mut lazy = Opened::open(&spec);
    let mut server = Opened::open(&format!("{spec},id=1"));
    for _ in 0..5 {
        let mut client = Opened::open(&format!("{spec},role=client"));
        client.until("some word of the server", |client| {
            client.port.device.link() == LinkState::Up || lazy.port.device.describe().contains("disconnected")
        });
        client.close();
    }
    let mut other = Opened::open(&format!("{spec},role=client,id=1"));
    join(&mut server, &mut other);
    carry(&mut server, &mut other, &frames(100));
    let mut client = Opened::open(&format!("{spec},role=client"));
    join(&mut lazy, &mut client);
    carry(&mut lazy, &mut client, &frames(100));
    [lazy, server, other, client].into_iter().for_each(Opened::close);
}

#[test]
fn a_sleeping_receiver_is_woken() {
    let place = place();
    let (mut server, mut client) = pair(&socket(&place), "", "");
    for (from, to) in [(0, 1), (1, 0), (0, 1)] {
        let ends = [&mut server, &mut client];
        falls_asleep(ends[to]);
        assert!(ends[from].send(&frame(60, &[], 7)));
        assert_eq!(readable(ends[to], 10_000), 1);
        assert_eq!(ends[to].receive(), [frame(60, &[], 7)]);
        falls_asleep(ends[to]);
        // A frame between the last look and the sleep.
        assert!(ends[to].receive().is_empty(), "awake: nobody rings");
        assert!(ends[from].send(&frame(60, &[], 8)));
        assert_eq!(readable(ends[to], 10_000), 1);
        assert_eq!(ends[to].receive(), [frame(60, &[], 8)]);
    }
    server.close();
    client.close();
}

/// Nothing is there, and what is rung is taken back at the next look. (A bell may ring after its frame has been found: another thread rings it.)
fn falls_asleep(end: &mut Opened) {
    end.until("a sleep", |end| end.receive().is_empty() && readable(end, 0) == 0);
}

/// What `poll(2)` says of the descriptor of queue 0.
fn readable(end: &Opened, patience_ms: i64) -> usize {
    let fd = end.port.rx[0].poll_fd().unwrap();
    let timeout = rustix::event::Timespec { tv_sec: patience_ms / 1000, tv_nsec: 0 };
    rustix::event::poll(&mut [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)], Some(&timeout)).unwrap()
}

#[test]
fn who_is_not_welcome_hears_why() {
    let place = place();
    let spec = socket(&place);
    let mut server = Opened::open(&format!("{spec},id=3,secret=abc"));
    for (options, reason) in [
        ("id=4,secret=abc", "there is no interface 4 here"),
        ("id=3", "wrong secret"),
        ("id=3,secret=abd", "wrong secret"),
        ("id=3,secret=abcd", "wrong secret"),
        ("id=3,secret=abc,queues=2", "ring 1: this interface has 1 queue(s) each way"),
    ] {
        let mut client = Opened::open(&format!("{spec},role=client,{options}"));
        client.until("the refusal", |client| {
            server.turn();
            client.port.device.describe().contains(&format!("the peer left: {reason}"))
        });
        assert_eq!(client.port.device.link(), LinkState::Down);
        client.close();
    }
    let mut client = Opened::open(&format!("{spec},role=client,id=3,secret=abc"));
    join(&mut server, &mut client);
    let mut second = Opened::open(&format!("{spec},role=client,id=3,secret=abc"));
    second.until("the refusal", |second| second.port.device.describe().contains("interface 3 has a client already"));
    carry(&mut server, &mut client, &frames(10));
    client.close();
    join(&mut server, &mut second);
    second.close();
    server.close();
}

#[test]
fn what_cannot_be_opened() {
    let place = place();
    let refused = |spec: &str| Opened::try_open(spec).map(|_| ()).expect_err(spec).to_string();
    let spec = socket(&place);
    for (options, message) in [
        ("role=master", "option `role=master`: expected server or client"),
        ("id=-1", "option `id=-1`: expected 0 to 4294967295"),
        ("queues=0", "expected 1 to 64"),
        ("ring-size=512", "option `ring-size=512`: expected 3 to 14"),
        ("buffer-size=100", "expected 256 to 65536"),
        ("secret=123456789012345678901234", "expected at most 23 bytes"),
        ("role=client,queues=64,ring-size=14,buffer-size=65536", "less than 4 GiB"),
    ] {
        let error = refused(&format!("{spec},{options}"));
        assert!(error.contains(message), "{error}");
    }
    let file = place.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let error = refused(&format!("memif:{}", file.display()));
    assert!(error.contains("no socket: remove it, or name another path"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let other = place.path().join("other");
    let _datagrams = UnixDatagram::bind(&other).unwrap();
    let error = refused(&format!("memif:{}", other.display()));
    assert!(error.contains("a socket of another kind"), "{error}");
    assert!(other.exists());
    let error = refused("memif:/nowhere/at/all/m.sock");
    assert!(error.contains("/nowhere/at/all/m.sock: No such file or directory"), "{error}");
    let long = format!("memif:/{},role=client", "x".repeat(200));
    assert!(refused(&long).contains("too long"), "{}", refused(&long));
}

#[test]
fn names_without_a_path() {
    let spec = format!("memif:@bladeswitch-test-{}", std::process::id());
    let (mut server, mut client) = pair(&spec, "", "");
    carry(&mut server, &mut client, &frames(10));
    server.close();
    client.close();
}

/// Another process that has one end of a memif and sends back what it receives, until it is killed.
struct Echo(Child);

impl Echo {
    fn start(spec: &str) -> Echo {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_other_process", "--nocapture"])
            .env("MEMIF_ECHO", spec)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut echo = Echo(child);
        let mut lines = BufReader::new(echo.0.stdout.as_mut().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("the port is open")), "the other process did not get so far");
        echo
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.kill().unwrap(); // SIGKILL.
        self.0.wait().unwrap();
    }
}

/// Not a test by itself: what [`Echo`] runs.
#[test]
fn the_other_process() {
    let Ok(spec) = std::env::var("MEMIF_ECHO") else { return };
    let mut end = Opened::open(&spec);
    println!("the port is open");
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        for frame in end.turn() {
            while !end.send(&frame) && end.port.tx[0].refusal() == Refusal::Full {}
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_peer_killed_in_mid_traffic_is_seen_and_may_come_back() {
    for (ours, theirs) in [("server", "client"), ("client", "server")] {
        let place = place();
        let spec = socket(&place);
        let mut end = Opened::open(&format!("{spec},role={ours}"));
        for round in 0..3 {
            let echo = Echo::start(&format!("{spec},role={theirs}"));
            let mut back = 0;
            end.until("frames to come back", |end| {
                for n in 0..16 {
                    end.send(&frame(60 + 100 * n, &[], 1));
                }
                for received in end.turn() {
                    assert!(received == frame(received.len(), &[], 1));
                    back += 1;
                }
                back > 1000
            });
            drop(echo);
            end.until("the death to be noticed", |end| {
                end.send(&frame(60, &[], 1));
                end.turn();
                end.port.device.link() == LinkState::Down
            });
            assert!(end.port.device.describe().contains("disconnected: the peer is gone"), "{}", end.port.device.describe());
            assert_eq!(end.port.device.statistics().link_downs, round + 1);
            assert!(!end.send(&frame(60, &[], 1)));
        }
        end.close();
    }
}
