//! A TAP interface: the host's stack at one end, a port at the other.

mod world;

use std::net::UdpSocket;

use port::{LinkState, Refusal};
use world::{Opened, Raw, alone, frame, ip};

fn exists(name: &str) -> bool {
    std::process::Command::new("ip").args(["link", "show", "dev", name]).output().unwrap().status.success()
}

#[test]
fn it_is_made_and_carries_frames_and_goes() {
    alone(|| {
        let mut opened = Opened::open("tap:t0,mtu=9000");
        assert_eq!((opened.port.device.link(), opened.port.device.mtu()), (LinkState::Up, Some(9000)));
        assert!(opened.port.device.mac().is_some());
        let raw = Raw::new("t0");
        for len in [60, 1514, 1920, 1921, 9014] {
            // What the host sends into the interface comes in, and what we send the host gets.
            raw.send(&frame(len, &[], 1));
            assert_eq!(opened.receive_ours(1), [frame(len, &[], 1)], "{len}");
            assert!(opened.send(&frame(len, &[], 2)));
            assert_eq!(raw.receive_ours(), frame(len, &[], 2), "{len}");
        }
        let tagged = frame(64, &[[0x81, 0, 0x60, 7]], 3);
        raw.send(&tagged);
        assert_eq!(opened.receive_ours(1), [tagged]);
        assert!(exists("t0"));
        opened.close();
        assert!(!exists("t0"));
    });
}

#[test]
fn checksums_of_the_host_are_complete() {
    alone(|| {
        let mut opened = Opened::open("tap:t0");
        ip("addr add 198.18.0.2/24 dev t0");
        ip("neigh add 198.18.0.1 lladdr 02:00:00:00:00:01 dev t0");
        let socket = UdpSocket::bind("198.18.0.2:5000").unwrap();
        socket.send_to(&[0xa5; 33], "198.18.0.1:6000").unwrap();
        let mut got = Vec::new();
        opened.until("the datagram", |opened| {
            got.extend(opened.receive().into_iter().filter(|frame| frame[12..14] == [8, 0] && frame[23] == 17));
            !got.is_empty()
        });
        // A complete checksum is not the sum of the pseudo header, so there is nothing to be done.
        let mut frame = got.remove(0);
        assert!(!port::checksum::complete(&mut frame));
        assert_ne!(frame[40..42], [0, 0]);
        opened.close();
    });
}

#[test]
fn it_lives_through_being_switched_off_and_deleted() {
    alone(|| {
        let mut opened = Opened::open("tap:t0");
        ip("link set t0 down");
        opened.until("being switched off", |opened| opened.port.device.link() == LinkState::Down);
        assert!(!opened.send(&frame(60, &[], 1)));
        assert_eq!(opened.port.tx[0].refusal(), Refusal::Down);
        ip("link set t0 up");
        opened.until("being switched on", |opened| opened.port.device.link() == LinkState::Up);
        ip("link del t0");
        let mut down = false;
        opened.until("a new one", |opened| {
            down |= opened.port.device.link() == LinkState::Down;
            opened.turn();
            down && opened.port.device.link() == LinkState::Up
        });
        assert_eq!(opened.port.device.statistics().returns, 1);
        let raw = Raw::new("t0");
        raw.send(&frame(60, &[], 5));
        assert_eq!(opened.receive_ours(1), [frame(60, &[], 5)]);
        assert!(opened.send(&frame(61, &[], 6)));
        assert_eq!(raw.receive_ours(), frame(61, &[], 6));
        opened.close();
    });
}

#[test]
fn what_cannot_be_made_is_said() {
    alone(|| {
        let opened = Opened::open("tap:t0");
        world::veth("p0", "p1");
        for (spec, message) in [
            ("tap:t0", "another program has it open"),
            ("tap:p0", "is no TAP"),
            ("tap:a-name-that-is-too-long", "expected a name of 1 to 15 bytes"),
            ("tap:t1,mtu=67", "option `mtu=67`: expected 68 to 65521"),
        ] {
            let error = Opened::try_open(spec).err().expect(spec).to_string();
            assert!(error.contains(message), "{spec}: {error}");
        }
        opened.close();
    });
}
