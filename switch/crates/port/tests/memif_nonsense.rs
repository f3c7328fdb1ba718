//! memif ports against peers that break the rules: nonsense in messages, in files, in rings. Whatever they do, the port lives on, says why it
//! ended the connection, leaks nothing, and serves the next peer.

mod memif_liar;
mod world;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use memif_liar::*;
use port::LinkState;
use port::backend::memif::message::{AddRing, Init, Message};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use world::{Opened, frame};

fn path(place: &tempfile::TempDir) -> String {
    place.path().join("m.sock").display().to_string()
}

fn up(end: &mut Opened) {
    end.until("the link", |end| {
        end.turn();
        end.port.device.link() == LinkState::Up
    });
}

/// The port works on until it has ended the connection, and says why.
fn ended_because(end: &mut Opened, reason: &str) {
    end.until("the end of the connection", |end| {
        end.turn();
        end.send(&frame(100, &[], 1));
        end.port.device.link() == LinkState::Down
    });
    let description = end.port.device.describe();
    assert!(description.contains(reason), "{description}, not {reason}");
    assert!(end.port.device.errors().iter().any(|error| error.contains(reason)));
}

/// A peer that behaves is served as if nothing had been.
fn still_serves(end: &mut Opened, spec: &str, role: &str) {
    let mut other = Opened::open(&format!("{spec},role={role}"));
    end.until("an honest peer", |end| {
        end.turn();
        other.turn();
        end.port.device.link() == LinkState::Up && other.port.device.link() == LinkState::Up
    });
    let (mut there, mut back) = (false, false);
    end.until("frames both ways", |end| {
        end.send(&frame(77, &[], 1));
        other.send(&frame(78, &[], 2));
        back |= end.receive().contains(&frame(78, &[], 2));
        there |= other.receive().contains(&frame(77, &[], 1));
        there && back
    });
    other.close();
}

#[test]
fn nonsense_in_a_clients_rings() {
    let size = 1u16 << LOG2;
    let first = TO_SERVER + 128;
    let offered = TO_CLIENT + 128;
    type Lie<'a> = (&'a str, &'a dyn Fn(&Liar));
    let lies: [Lie; 10] = [
        ("head or tail is not where", &|liar| liar.advance(TO_SERVER, HEAD, size + 1)),
        ("head or tail is not where", &|liar| liar.advance(TO_SERVER, HEAD, u16::MAX)),
        ("head or tail is not where", &|liar| liar.advance(TO_CLIENT, HEAD, 1)),
        ("bytes outside its region", &|liar| {
            liar.memory().write(first, &descriptor(0, 1, 60, BUFFERS));
            liar.advance(TO_SERVER, HEAD, 1);
        }),
        ("bytes outside its region", &|liar| {
            liar.memory().write(first, &descriptor(0, 0, 60, REGION as u32 - 59));
            liar.advance(TO_SERVER, HEAD, 1);
        }),
        ("bytes outside its region", &|liar| {
            liar.memory().write(first, &descriptor(0, 0, u32::MAX, u32::MAX));
            liar.advance(TO_SERVER, HEAD, 1);
        }),
        ("more buffers than it may", &|liar| {
            (0..16).for_each(|slot| liar.memory().write(first + 16 * slot, &descriptor(1, 0, 60, BUFFERS)));
            liar.advance(TO_SERVER, HEAD, size);
        }),
        ("bytes outside its region", &|liar| {
            (0..16).for_each(|slot| liar.memory().write(offered + 16 * slot, &descriptor(0, 7, BUFFER, BUFFERS)));
        }),
        ("bytes outside its region", &|liar| {
            (0..16).for_each(|slot| liar.memory().write(offered + 16 * slot, &descriptor(0, 0, BUFFER, REGION as u32)));
        }),
        ("a buffer of no bytes", &|liar| {
            (0..16).for_each(|slot| liar.memory().write(offered + 16 * slot, &descriptor(0, 0, 0, BUFFERS)));
        }),
    ];
    let place = tempfile::tempdir().unwrap();
    let spec = format!("memif:{}", path(&place));
    let mut end = Opened::open(&spec);
    for (reason, lie) in lies {
        let liar = Liar::connected(&path(&place), &mut end);
        up(&mut end);
        lie(&liar);
        ended_because(&mut end, reason);
        let Some((Message::Disconnect { reason: said, .. }, None)) = receive(&liar.socket) else { panic!("not told why") };
        assert!(said.contains(reason), "{said}");
    }
    still_serves(&mut end, &spec, "client");
    end.close();
}

#[test]
fn nonsense_in_a_servers_rings() {
    type Lie<'a> = (&'a str, &'a dyn Fn(&Liar));
    let lies: [Lie; 5] = [
        ("head or tail is not where", &|liar| liar.advance(liar.to_client, TAIL, 513)),
        ("head or tail is not where", &|liar| liar.advance(liar.to_server, TAIL, 9999)),
        ("head or tail is not where", &|liar| liar.advance(liar.to_client, TAIL, u16::MAX)),
        ("bytes outside its region", &|liar| {
            liar.memory().write(liar.to_client + 128, &descriptor(0, 0, 2049, 0));
            liar.advance(liar.to_client, TAIL, 1);
        }),
        ("more buffers than it may", &|liar| {
            (0..512).for_each(|slot| liar.memory().write(liar.to_client + 128 + 16 * slot, &descriptor(1, 0, 1, 0)));
            liar.advance(liar.to_client, TAIL, 512);
        }),
    ];
    let place = tempfile::tempdir().unwrap();
    let spec = format!("memif:{}", path(&place));
    let mut end = Opened::open(&format!("{spec},role=client"));
    let den = Den::open(&path(&place));
    for (reason, lie) in lies {
        let liar = den.connect(&mut end);
        up(&mut end);
        lie(&liar);
        ended_because(&mut end, reason);
    }
    drop(den);
    std::fs::remove_file(path(&place)).unwrap();
    still_serves(&mut end, &spec, "server");
    end.close();
}

/// Frames that are merely unfit are dropped and counted; the connection stays.
#[test]
fn unfit_frames_are_counted() {
    let place = tempfile::tempdir().unwrap();
    let mut end = Opened::open(&format!("memif:{}", path(&place)));
    let liar = Liar::connected(&path(&place), &mut end);
    up(&mut end);
    for (slot, len) in [(0, 13), (1, 0), (3, 60)] {
        liar.memory().write(TO_SERVER + 128 + 16 * slot, &descriptor(0, 0, len, BUFFERS));
    }
    // The same bytes over and over, 70,000 in all.
    liar.memory().write(TO_SERVER + 128 + 32, &descriptor(1, 0, 60_000, 0));
    liar.memory().write(TO_SERVER + 128 + 48, &descriptor(0, 0, 10_000, 0));
    liar.memory().write(TO_SERVER + 128 + 64, &descriptor(0, 0, 60, BUFFERS));
    liar.advance(TO_SERVER, HEAD, 5);
    let mut frames = Vec::new();
    end.until("the frame behind them", |end| {
        frames.extend(end.turn());
        !frames.is_empty()
    });
    assert_eq!(frames.len(), 1);
    let drops = end.port.rx[0].drops();
    assert_eq!((drops.malformed, drops.oversize, drops.bytes), (2, 1, 70_013));
    assert_eq!(liar.memory().read16(TO_SERVER + TAIL), 5, "the client has its buffers back");
    // A frame whose end is still to come is waited for.
    liar.memory().write(TO_SERVER + 128 + 16 * 5, &descriptor(1, 0, 30, BUFFERS));
    liar.memory().write(TO_SERVER + 128 + 16 * 6, &descriptor(0, 0, 30, BUFFERS));
    liar.advance(TO_SERVER, HEAD, 1);
    assert!(end.turn().is_empty());
    liar.advance(TO_SERVER, HEAD, 1);
    assert_eq!(end.turn().len(), 1);
    assert_eq!(end.port.device.link(), LinkState::Up);
    end.close();
}

#[test]
fn memory_that_is_taken_away_ends_the_connection() {
    let place = tempfile::tempdir().unwrap();
    let spec = format!("memif:{}", path(&place));
    let mut end = Opened::open(&spec);
    for rest in [0, 4096] {
        let liar = Liar::connected(&path(&place), &mut end);
        up(&mut end);
        end.send(&frame(60, &[], 1));
        rustix::fs::ftruncate(&liar.memory().file, rest).unwrap();
        ended_because(&mut end, "took its shared memory away");
        drop(liar);
    }
    still_serves(&mut end, &spec, "client");
    end.close();
}

/// Fills an eventfd or empties it, and has whoever writes to it when it is full or reads from it when it is empty wait: that flag belongs to all who
/// hold it.
fn set_trap(bell: &OwnedFd, full: bool) {
    rustix::fs::fcntl_setfl(bell, rustix::fs::OFlags::NONBLOCK).unwrap();
    let _ = rustix::io::read(bell, &mut [0; 8]);
    if full {
        // The port's own thread may have been faster by a few.
        assert!((1..10).any(|room| rustix::io::write(bell, &(u64::MAX - room).to_ne_bytes()).is_ok()));
    }
    rustix::fs::fcntl_setfl(bell, rustix::fs::OFlags::empty()).unwrap();
}

/// A peer that asks to be rung and has whoever rings it wait. The worker does not: its other ports are served, and the port ends when it is told to.
#[test]
fn a_doorbell_that_makes_its_ringer_wait_stalls_no_worker() {
    for role in ["server", "client"] {
        let (told, word) = std::sync::mpsc::channel();
        // In a thread, so that a stall is a failure and not a test without end.
        let worker = std::thread::spawn(move || {
            let place = tempfile::tempdir().unwrap();
            let spec = format!("memif:{}", path(&place));
            let mut end = Opened::open(&format!("{spec},role={role}"));
            let den = (role == "client").then(|| Den::open(&path(&place)));
            let liar = match &den {
                Some(den) => den.connect(&mut end),
                None => Liar::connected(&path(&place), &mut end),
            };
            up(&mut end);
            let to_liar = if role == "client" { liar.to_server } else { liar.to_client };
            liar.memory().write(to_liar + FLAGS, &0u16.to_ne_bytes()); // It does not poll.
            liar.bells.iter().for_each(|bell| set_trap(bell, true));
            let other_place = tempfile::tempdir().unwrap();
            let other_spec = format!("memif:{}", path(&other_place));
            let mut other = Opened::open(&other_spec);
            for _ in 0..8 {
                assert!(end.send(&frame(60, &[], 1)), "there is room in the ring");
                other.turn();
            }
            // Asleep with a full doorbell and a frame there, and awake with an empty one.
            liar.advance(if role == "client" { liar.to_client } else { liar.to_server }, if role == "client" { TAIL } else { HEAD }, 1);
            for full in [true, false] {
                assert!(end.port.rx[0].poll_fd().is_some());
                liar.bells.iter().for_each(|bell| set_trap(bell, full));
                end.turn();
            }
            liar.bells.iter().for_each(|bell| set_trap(bell, true));
            assert!(end.send(&frame(60, &[], 1)));
            still_serves(&mut other, &other_spec, "client");
            other.close();
            // The liar goes, but a process of its keeps the doorbells.
            let Liar { socket, bells, .. } = liar;
            drop((socket, den));
            end.until("the liar to be gone", |end| {
                end.turn();
                end.port.device.link() == LinkState::Down
            });
            if role == "client" {
                std::fs::remove_file(path(&place)).unwrap();
            }
            drop(bells);
            still_serves(&mut end, &spec, if role == "client" { "server" } else { "client" });
            end.close();
            told.send(()).unwrap();
        });
        match word.recv_timeout(3 * world::PATIENCE) {
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("the worker of a {role} waits for its peer"),
            Ok(()) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
        }
    }
}

#[test]
fn nonsense_in_messages() {
    let place = tempfile::tempdir().unwrap();
    let spec = format!("memif:{}", path(&place));
    let mut end = Opened::open(&spec);
    let (file, bell) = (memfd(REGION), eventfd());
    let null = OwnedFd::from(File::open("/dev/null").unwrap());
    let Message::Init(honest) = init() else { unreachable!() };
    let wrong = |change: &dyn Fn(&mut Init)| {
        let mut init = honest.clone();
        change(&mut init);
        Message::Init(init)
    };
    for (message, reason) in [
        (Message::Ack, "ACK is out of order"),
        (Message::Connect { name: String::new() }, "CONNECT is out of order"),
        (Message::AddRegion { index: 0, size: 1 }, "ADD_REGION is out of order"),
        (Den::hello(), "HELLO is out of order"),
        (wrong(&|init| init.version = 0x300), "version 0x300: expected 0x200"),
        (wrong(&|init| init.mode = 1), "only Ethernet mode"),
        (wrong(&|init| init.id = 9), "no interface 9"),
    ] {
        assert!(Liar::call(&path(&place)).ask(&message, None).unwrap_err().contains(reason), "{reason}");
    }
    let region = |index, size| Message::AddRegion { index, size };
    let ring_with = |change: &dyn Fn(&mut AddRing)| {
        let mut ring = ring(true);
        change(&mut ring);
        Message::AddRing(ring)
    };
    let connect = Message::Connect { name: String::new() };
    // What comes after INIT, one by one: all but the last are taken, and the last is refused.
    type Said<'a> = (Message, Option<&'a OwnedFd>);
    let good: Said = (region(0, REGION as u64), Some(&file));
    let stories: Vec<(Vec<Said>, &str)> = vec![
        (vec![(init(), None)], "INIT is out of order"),
        (vec![(region(1, 4096), Some(&file))], "region 1: expected 0"),
        (vec![(region(0, 4096), None)], "no file came with it"),
        (vec![(region(0, 4096), Some(&null))], "its file has 0"),
        (vec![(region(0, 4096), Some(&bell))], "is not memory"),
        (vec![(region(0, u64::MAX), Some(&file))], "its file has 65536"),
        (vec![(region(0, 0), Some(&file))], "0 bytes said"),
        (vec![(ring_with(&|_| {}), None)], "no eventfd came with it"),
        (vec![(ring_with(&|_| {}), Some(&file))], "no eventfd came with it"),
        (vec![(ring_with(&|ring| ring.index = 1), Some(&bell))], "ring 1: expected 0"),
        (vec![(ring_with(&|ring| ring.private_header = 4), Some(&bell))], "private headers"),
        (vec![(ring_with(&|_| {}), Some(&bell)), (ring_with(&|ring| ring.index = 1), Some(&bell))], "this interface has 1 queue(s)"),
        (vec![(ring_with(&|_| {}), Some(&bell)), (connect.clone(), None)], "are not inside"),
        (vec![good.clone(), (ring_with(&|_| {}), Some(&bell)), (connect.clone(), None)], "there is no ring where"),
        (vec![good.clone(), (ring_with(&|ring| ring.ring_log2 = 0), Some(&bell)), (connect.clone(), None)], "are not inside"),
        (vec![good.clone(), (ring_with(&|ring| ring.ring_log2 = 15), Some(&bell)), (connect.clone(), None)], "are not inside"),
        (vec![good.clone(), (ring_with(&|ring| ring.ring_log2 = 200), Some(&bell)), (connect.clone(), None)], "are not inside"),
        (vec![good.clone(), (ring_with(&|ring| ring.offset = 8), Some(&bell)), (connect.clone(), None)], "are not inside"),
        (vec![good.clone(), (ring_with(&|ring| ring.offset = u32::MAX - 15), Some(&bell)), (connect.clone(), None)], "are not inside"),
        (vec![good.clone(), (ring_with(&|ring| ring.region = 1), Some(&bell)), (connect.clone(), None)], "are not inside"),
    ];
    for (story, reason) in stories {
        let liar = Liar::call(&path(&place));
        assert_eq!(liar.ask(&init(), None), Ok(Message::Ack));
        for (index, (message, file)) in story.iter().enumerate() {
            let answer = liar.ask(message, *file);
            match index + 1 == story.len() {
                true => assert!(answer.as_ref().is_err_and(|said| said.contains(reason)), "{answer:?}, not {reason}"),
                false => assert_eq!(answer, Ok(Message::Ack)),
            }
        }
        drop(liar);
        end.until("the reason", |end| end.port.device.describe().contains(reason));
    }
    let liar = Liar::call(&path(&place));
    assert!(send(&liar.socket, &[1; 60], None));
    let Some((Message::Disconnect { reason, .. }, _)) = receive(&liar.socket) else { panic!("a short message is no message") };
    assert_eq!(reason, "a message of 60 bytes: expected 128");
    still_serves(&mut end, &spec, "client");
    end.close();
}

/// What a liar does in shared memory.
#[derive(Clone, Debug)]
enum Deed {
    /// Writes somewhere in the ring to the server or to the client.
    Scribble(bool, u16, u64),
    Descriptor(bool, u8, u16, u16, u32, u32),
    Head(bool, u16),
    Tail(bool, u16),
    /// The honest step: so many more.
    Advance(bool, u8),
    /// The port works for a turn.
    Turn,
}

fn deed() -> impl Strategy<Value = Deed> {
    let small = prop_oneof![Just(0u32), 0u32..600, 65_000u32..66_000, any::<u32>()];
    let place = prop_oneof![4000u32..5000, 64_000u32..66_000, any::<u32>()];
    prop_oneof![
        1 => (any::<bool>(), 0u16..400, any::<u64>()).prop_map(|(ring, at, word)| Deed::Scribble(ring, at, word)),
        4 => (any::<bool>(), 0u8..16, 0u16..4, prop_oneof![4 => Just(0u16), 1 => any::<u16>()], small, place)
            .prop_map(|(ring, slot, flags, region, len, offset)| Deed::Descriptor(ring, slot, flags, region, len, offset)),
        1 => (any::<bool>(), any::<u16>()).prop_map(|(ring, count)| Deed::Head(ring, count)),
        1 => (any::<bool>(), any::<u16>()).prop_map(|(ring, count)| Deed::Tail(ring, count)),
        4 => (any::<bool>(), 0u8..16).prop_map(|(ring, count)| Deed::Advance(ring, count)),
        4 => Just(Deed::Turn),
    ]
}

fn act(liar: &Liar, end: &mut Opened, deed: &Deed, word: u32) {
    let ring = |to_server: bool| if to_server { liar.to_server } else { liar.to_client };
    match *deed {
        Deed::Scribble(to, at, word) => liar.memory().write(ring(to) + u32::from(at) / 8 * 8, &word.to_ne_bytes()),
        Deed::Descriptor(to, slot, flags, region, len, offset) => {
            liar.memory().write(ring(to) + 128 + 16 * u32::from(slot), &descriptor(flags, region, len, offset));
        }
        Deed::Head(to, count) => liar.memory().write(ring(to) + HEAD, &count.to_ne_bytes()),
        Deed::Tail(to, count) => liar.memory().write(ring(to) + TAIL, &count.to_ne_bytes()),
        Deed::Advance(to, count) => liar.advance(ring(to), word, u16::from(count)),
        Deed::Turn => {
            end.turn();
            for len in [60, 700, 5000] {
                end.send(&frame(len, &[], 1));
            }
        }
    }
}

fn seeded(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(0x006d_656d_6966), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(seeded(60))]

    #[test]
    fn whatever_a_client_does_in_memory(deeds in prop::collection::vec(deed(), 1..60)) {
        let place = tempfile::tempdir().unwrap();
        let spec = format!("memif:{}", path(&place));
        let mut end = Opened::open(&spec);
        let liar = Liar::connected(&path(&place), &mut end);
        up(&mut end);
        for deed in deeds.iter().chain([&Deed::Turn, &Deed::Turn]) {
            act(&liar, &mut end, deed, HEAD);
        }
        drop(liar);
        still_serves(&mut end, &spec, "client");
        end.close();
    }

    #[test]
    fn whatever_a_server_does_in_memory(deeds in prop::collection::vec(deed(), 1..60)) {
        let place = tempfile::tempdir().unwrap();
        let spec = format!("memif:{}", path(&place));
        let mut end = Opened::open(&format!("{spec},role=client,ring-size=4,buffer-size=512"));
        let den = Den::open(&path(&place));
        let liar = den.connect(&mut end);
        up(&mut end);
        for deed in deeds.iter().chain([&Deed::Turn, &Deed::Turn]) {
            act(&liar, &mut end, deed, TAIL);
        }
        drop((liar, den));
        std::fs::remove_file(path(&place)).unwrap();
        still_serves(&mut end, &spec, "server");
        end.close();
    }

    #[test]
    fn whatever_anyone_says(
        said in prop::collection::vec((0u8..10, prop::collection::vec(any::<u8>(), 126), 0usize..4, prop::bool::weighted(0.1)), 1..20),
        honest in 0usize..4,
    ) {
        let place = tempfile::tempdir().unwrap();
        let spec = format!("memif:{}", path(&place));
        let files = [memfd(REGION), eventfd(), OwnedFd::from(File::open("/dev/null").unwrap())];
        let mut server = Opened::open(&spec);
        let liar = Liar::call(&path(&place));
        // The first few as they should be, so that nonsense is heard in every state.
        let beginning =
            [(init(), None), (Message::AddRegion { index: 0, size: REGION as u64 }, Some(&files[0])), (Message::AddRing(ring(true)), Some(&files[1]))];
        for (message, file) in &beginning[..honest] {
            prop_assert_eq!(liar.ask(message, *file), Ok(Message::Ack));
        }
        let den_place = tempfile::tempdir().unwrap();
        let den = Den::open(&path(&den_place));
        let mut client = Opened::open(&format!("memif:{},role=client", path(&den_place)));
        let caller = den.accept(&mut client);
        if honest > 0 {
            send(&caller, &Den::hello().encode(), None);
        }
        for (kind, rest, file, short) in &said {
            let mut bytes = vec![*kind, 0];
            bytes.extend(rest);
            bytes.truncate(if *short { 1 + rest[0] as usize % 127 } else { 128 });
            let file = files.get(*file).map(AsFd::as_fd);
            send(&liar.socket, &bytes, file);
            send(&caller, &bytes, file);
        }
        drop((liar, caller, den));
        std::fs::remove_file(path(&den_place)).unwrap();
        still_serves(&mut server, &spec, "client");
        still_serves(&mut client, &format!("memif:{}", path(&den_place)), "server");
        server.close();
        client.close();
    }
}
