//! Packet sockets on real interfaces, in a namespace of the test's own.

mod world;

use std::net::UdpSocket;
use std::sync::mpsc;

use port::{LinkState, Refusal};
use world::{Opened, Raw, alone, frame, ip, thread_id, veth};

const TAG: [u8; 4] = [0x81, 0x00, 0x60, 0x07];
const OUTER: [u8; 4] = [0x88, 0xa8, 0x00, 0x64];

fn up(opened: &mut Opened) {
    opened.until("the link", |opened| opened.port.device.link() == LinkState::Up);
}

#[test]
fn frames_come_and_go_bit_by_bit() {
    alone(|| {
        veth("p0", "p1");
        let mut opened = Opened::open("af_packet:p0");
        up(&mut opened);
        let raw = Raw::new("p1");
        // Tags in the frame are put aside by the kernel on the way in, and go back to their place.
        let frames = [
            frame(60, &[], 1),
            frame(1514, &[], 2),
            frame(64, &[TAG], 3),
            frame(60, &[TAG], 4),
            frame(1518, &[TAG], 5),
            frame(68, &[OUTER, TAG], 6),
            frame(64, &[OUTER], 7),
        ];
        for sent in &frames {
            raw.send(sent);
        }
        assert_eq!(opened.receive_ours(frames.len()), frames);
        // The other way. The raw socket gets the outermost tag put aside.
        for sent in &frames {
            assert!(opened.send(sent));
            let got = raw.receive_ours();
            let tagged = sent[12..14] == [0x81, 0x00] || sent[12..14] == [0x88, 0xa8];
            let expected = if tagged { [&sent[..12], &sent[16..]].concat() } else { sent.clone() };
            assert_eq!(got, expected);
        }
        // And with its tag, as the receiving side, proved above, shows it.
        let mut other = Opened::open("af_packet:p1");
        up(&mut other);
        for sent in &frames {
            assert!(opened.send(sent));
        }
        assert_eq!(other.receive_ours(frames.len()), frames);
        assert!(opened.receive().iter().all(|frame| !world::is_ours(frame)), "what we send does not come back to us");
        // A frame shorter than Ethernet allows comes from a local stack only, which leaves the padding to the card.
        raw.send(&frame(42, &[], 8));
        let short = opened.receive_ours(1).remove(0);
        assert_eq!((&short[..42], &short[42..]), (&frame(42, &[], 8)[..], &[0; 18][..]));
        other.close();
        opened.close();
    });
}

#[test]
fn long_frames_and_longer_ones() {
    alone(|| {
        veth("p0", "p1");
        ip("link set p0 mtu 9000");
        ip("link set p1 mtu 9000");
        let mut opened = Opened::open("af_packet:p0");
        up(&mut opened);
        let raw = Raw::new("p1");
        for len in [1919, 1920, 1921, 3840, 3841, 9014] {
            let jumbo = frame(len, &[], 9);
            raw.send(&jumbo);
            assert_eq!(opened.receive_ours(1), std::slice::from_ref(&jumbo), "{len}");
            assert!(opened.send(&jumbo));
            assert_eq!(raw.receive_ours(), jumbo, "{len}");
        }
        // One too long between two that fit: only that one is refused, and by its reason.
        let mut burst = port::Burst::new();
        for len in [60, 9216, 61] {
            burst.push(opened.pool.alloc_copy(&frame(len, &[], 1)).unwrap());
        }
        let now = opened.now();
        assert_eq!(opened.port.tx[0].tx_burst(now, &mut opened.pool, &mut burst), 1);
        assert_eq!((opened.port.tx[0].refusal(), burst.len()), (Refusal::Oversize, 2));
        let long = burst.remove(0);
        opened.pool.free(long);
        assert_eq!(opened.port.tx[0].tx_burst(now, &mut opened.pool, &mut burst), 1);
        // The MTU grows beyond the slots of the ring: it is opened again, with longer ones.
        ip("link set p0 mtu 20000");
        ip("link set p1 mtu 20000");
        opened.until("the MTU", |opened| {
            opened.turn(); // The queues give the old sockets back.
            opened.port.device.mtu() == Some(20_000) && opened.port.device.link() == LinkState::Up
        });
        raw.send(&frame(20_014, &[], 3));
        assert_eq!(opened.receive_ours(1), [frame(20_014, &[], 3)]);
        opened.close();
    });
}

/// One's complement sum of all words: 0xffff over a segment with its pseudo header if the checksum is right.
fn sum(bytes: &[u8]) -> u32 {
    let mut sum: u32 = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |byte| u32::from(*byte))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

#[test]
fn checksums_left_to_a_card_are_completed() {
    alone(|| {
        veth("p0", "p1");
        let (to_there, there) = mpsc::channel::<()>();
        let (to_here, here) = mpsc::channel();
        std::thread::scope(|scope| {
            // The other end is in a namespace that no file and no process stands for: it cannot be prepared.
            scope.spawn(move || {
                alone(move || {
                    to_here.send(thread_id()).unwrap();
                    there.recv().unwrap();
                    ip("addr add 198.18.0.2/24 dev p1");
                    ip("link set p1 up");
                    ip("neigh add 198.18.0.1 lladdr 02:00:00:00:00:01 dev p1");
                    let socket = UdpSocket::bind("198.18.0.2:5000").unwrap();
                    to_here.send(0).unwrap();
                    // Not before the port is open: nobody would be there to receive them.
                    there.recv().unwrap();
                    for len in [1, 17, 100, 1472] {
                        socket.send_to(&vec![0xa5; len], "198.18.0.1:6000").unwrap();
                    }
                    to_here.send(0).unwrap();
                    there.recv().ok();
                })
            });
            let Ok(id) = here.recv() else { return };
            ip(&format!("link set p1 netns {id}"));
            to_there.send(()).unwrap();
            here.recv().unwrap();
            let mut opened = Opened::open("af_packet:p0");
            up(&mut opened);
            to_there.send(()).unwrap();
            let reasons = opened.port.device.reasons();
            assert!(reasons.iter().any(|reason| reason.starts_with("warning: the other end of p0 ")), "{reasons:?}");
            assert!(opened.port.device.enters_namespaces());
            let mut found = Vec::new();
            opened.until("datagrams", |opened| {
                found.extend(opened.receive().into_iter().filter(|frame| frame[12..14] == [8, 0] && frame[23] == 17));
                found.len() == 4
            });
            for frame in found {
                let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
                let len = total - 20;
                let mut segment = frame[26..34].to_vec();
                segment.extend([0, 17, (len >> 8) as u8, len as u8]);
                segment.extend(&frame[34..14 + total]);
                assert_eq!(sum(&segment), 0xffff, "{frame:02x?}");
            }
            drop(to_there);
            opened.close();
        });
    });
}

#[test]
fn the_port_lives_through_flaps_and_deletions() {
    alone(|| {
        veth("p0", "p1");
        let mut opened = Opened::open("af_packet:p0");
        up(&mut opened);
        ip("link set p1 down");
        opened.until("the carrier to go", |opened| opened.port.device.link() == LinkState::Down);
        assert!(!opened.send(&frame(60, &[], 1)));
        assert_eq!(opened.port.tx[0].refusal(), Refusal::Down);
        assert!(opened.port.device.describe().contains("no carrier"), "{}", opened.port.device.describe());
        ip("link set p1 up");
        up(&mut opened);
        ip("link set p0 down");
        opened.until("being switched off", |opened| opened.port.device.describe().contains("switched off"));
        assert!(opened.port.rx[0].poll_fd().is_none(), "nobody sleeps on a socket with an error");
        ip("link set p0 up");
        up(&mut opened);
        for round in 0..5u8 {
            ip("link del p0");
            opened.until("the interface to go", |opened| opened.port.device.link() == LinkState::Down);
            assert!(!opened.send(&frame(60, &[], 1)));
            assert_eq!(opened.port.tx[0].refusal(), Refusal::Down);
            assert!(opened.port.device.describe().contains("is gone"), "{}", opened.port.device.describe());
            veth("p0", "p1");
            // The switch sends nothing by a port that is down: it must come back without.
            opened.until("the interface to come back", |opened| {
                opened.turn();
                opened.port.device.link() == LinkState::Up
            });
            let raw = Raw::new("p1");
            raw.send(&frame(60, &[TAG], round));
            assert_eq!(opened.receive_ours(1), [frame(60, &[TAG], round)]);
            assert!(opened.send(&frame(99, &[], round)));
            assert_eq!(raw.receive_ours(), frame(99, &[], round));
        }
        assert_eq!(opened.port.device.statistics().returns, 5);
        assert!(opened.port.device.errors().is_empty(), "{:?}", opened.port.device.errors());
        opened.close();
    });
}

#[test]
fn several_queues_share_the_frames_by_flow() {
    alone(|| {
        veth("p0", "p1");
        ip("addr add 198.18.0.2/24 dev p1");
        ip("neigh add 198.18.0.1 lladdr 02:00:00:00:00:01 dev p1");
        let mut opened = Opened::open("af_packet:p0,fanout=3");
        assert_eq!((opened.port.rx.len(), opened.port.tx.len(), opened.port.device.queues()), (3, 3, 3));
        up(&mut opened);
        let sockets: Vec<UdpSocket> = (0..32).map(|_| UdpSocket::bind("198.18.0.2:0").unwrap()).collect();
        for round in 0..4u8 {
            for socket in &sockets {
                socket.send_to(&[round; 40], "198.18.0.1:6000").unwrap();
            }
        }
        // Of each flow, by its source port: the queue and the order.
        let mut flows = std::collections::HashMap::<[u8; 2], Vec<(usize, u8)>>::new();
        let mut count = 0;
        opened.until("all datagrams", |opened| {
            for queue in 0..3 {
                let mut burst = port::Burst::new();
                opened.port.rx[queue].rx_burst(port::Nanos::ZERO, &mut opened.pool, &mut burst, 64);
                for packet in &burst {
                    let bytes = opened.pool.head(packet);
                    if bytes[12..14] == [8, 0] && bytes[23] == 17 {
                        flows.entry([bytes[34], bytes[35]]).or_default().push((queue, bytes[42]));
                        count += 1;
                    }
                }
                opened.pool.free_all(&mut burst);
            }
            count >= 128
        });
        assert_eq!((count, flows.len()), (128, 32), "each once");
        for flow in flows.values() {
            assert_eq!(flow.iter().map(|(_, round)| *round).collect::<Vec<_>>(), [0, 1, 2, 3]);
            assert!(flow.iter().all(|(queue, _)| *queue == flow[0].0), "a flow stays in its queue: {flow:?}");
        }
        let used: std::collections::HashSet<usize> = flows.values().map(|flow| flow[0].0).collect();
        assert!(used.len() > 1, "32 flows, all in one queue");
        opened.close();
    });
}

#[test]
fn the_host_does_not_see_the_frames() {
    alone(|| {
        veth("p0", "p1");
        ip("addr add 198.18.0.1/24 dev p0");
        ip("link set lo up");
        let mac = std::fs::read_to_string("/proc/thread-self/net/arp").map(|_| ()).is_ok();
        assert!(mac, "the namespace has its own /proc/net");
        let mut opened = Opened::open("af_packet:p0");
        up(&mut opened);
        if !opened.port.device.reasons().iter().any(|reason| reason.contains("is hidden")) {
            eprintln!("skipped: {:?}", opened.port.device.reasons());
            return;
        }
        let raw = Raw::new("p1");
        // An ARP request for the host's address: it comes to us, and the host does not answer.
        let mut request = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0xa1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xa1];
        request.extend([198, 18, 0, 2, 0, 0, 0, 0, 0, 0, 198, 18, 0, 1]);
        request.resize(60, 0);
        raw.send(&request);
        let mut got = Vec::new();
        opened.until("the request", |opened| {
            got.extend(opened.receive().into_iter().filter(|frame| *frame == request));
            !got.is_empty()
        });
        // Anything the host had answered would be in front of this.
        assert!(opened.send(&frame(77, &[], 1)));
        assert_eq!(raw.receive_any_but(&request), frame(77, &[], 1));
        opened.close();
    });
}

#[test]
fn what_cannot_be_opened_is_said() {
    alone(|| {
        veth("p0", "p1");
        ip("addr add 198.18.0.1/24 dev p0");
        ip("route add default via 198.18.0.2 dev p0");
        for (spec, message) in [
            ("af_packet:none", "there is no interface `none`"),
            ("af_packet:a-name-that-is-too-long", "there is no interface"),
            ("af_packet:lo", "expected an Ethernet interface"),
            ("af_packet:p1,fanout=0", "option `fanout=0`: expected 1 to 64"),
            ("af_packet:p1,fanout=x", "option `fanout=x`: expected 1 to 64"),
            ("af_packet:p0", "`p0` carries the default route of this machine"),
        ] {
            let error = Opened::try_open(spec).err().expect(spec).to_string();
            assert!(error.contains(message), "{spec}: {error}");
        }
        Opened::open("af_packet:p1").close();
    });
}

#[test]
fn a_monitor_sees_every_frame_and_when() {
    alone(|| {
        veth("m0", "m1");
        let raw = Raw::new("m0");
        let mut monitor = port::backend::af_packet::monitor::Monitor::open("m1").unwrap();
        let sent: Vec<Vec<u8>> = (0..5).map(|n| frame(60 + 100 * usize::from(n), &[], n)).collect();
        let before = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        sent.iter().for_each(|frame| raw.send(frame));
        let (mut frames, mut stamps) = (Vec::new(), Vec::new());
        let deadline = std::time::Instant::now() + world::PATIENCE;
        while frames.len() < sent.len() && std::time::Instant::now() < deadline {
            monitor.next(|frame, at| {
                if world::is_ours(frame) {
                    frames.push(frame.to_vec());
                    stamps.push(at);
                }
            });
        }
        assert_eq!((frames, monitor.lost()), (sent, 0));
        let after = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let times: Vec<u64> = std::iter::once(before).chain(stamps).chain([after]).collect();
        assert!(times.is_sorted(), "{times:?}");
        let missing = port::backend::af_packet::monitor::Monitor::open("m2").unwrap_err();
        assert!(missing.to_string().contains("no interface `m2`"), "{missing}");
    });
}
