//! Programs that people use, through every kind of port, with the end hosts' offloads as they come.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use bladeswitch::lab::{Place, namespace};
use serde_json::Value;

use crate::site::{DEADLINE, KINDS, MARKER, Site, can, frame, marker};

const ONE: Place = Place::Blade(1);
const TWO: Place = Place::Blade(2);

#[test]
fn programs_talk_through_af_packet() {
    everything(KINDS[0]);
}

#[test]
fn programs_talk_through_af_xdp_native() {
    everything(KINDS[1]);
}

#[test]
fn programs_talk_through_af_xdp_skb() {
    everything(KINDS[2]);
}

#[test]
fn programs_talk_through_mixed_ports() {
    everything(KINDS[3]);
}

/// `auto` needs no more to be said either.
#[test]
fn tcp_flows_both_ways_through_auto_ports() {
    if !can(&["ping", "iperf3"]) {
        return;
    }
    let mut site = Site::up(&["auto"], 2, 1500);
    let shown = site.show("ports").unwrap();
    let modes: Vec<&str> = shown["ports"].as_array().unwrap().iter().filter_map(|port| port["mode"].as_str()).collect();
    assert_eq!(modes, ["native, copy"; 3], "where the ladder stopped: {shown}");
    pings_of_two(&site);
    for direction in [&[][..], &["-R"]] {
        let bps = tcp(&site, &[&["-t", "1"], direction].concat());
        assert!(bps > 10e6, "{direction:?}: {bps} bit/s");
    }
    site.stop();
}

/// Interfaces with four queues, two workers: whatever queue a flow comes by, it arrives.
#[test]
fn every_flow_arrives_whatever_its_queue() {
    if !can(&["ping", "iperf3"]) {
        return;
    }
    for kinds in [["af_xdp,mode=native,queues=4"], ["af_xdp,mode=skb,queues=4"], ["af_packet,fanout=4"]] {
        let mut site = Site::bare(&kinds, 2, 1500);
        let name = &site.chassis.name;
        for place in site.chassis.ends() {
            site.chassis.unplug(place).unwrap();
            let (switch, end, mac) = (name.namespace(Place::Switch), name.namespace(place), place.mac().unwrap());
            let queues = "numtxqueues 4 numrxqueues 4";
            let pair = format!("link add {place} netns {switch} {queues} type veth peer name eth0 netns {end} address {mac} {queues}");
            namespace::ip_batch(None, &[pair]).unwrap();
            let address = format!("address add {}/15 dev eth0", place.ipv4().unwrap());
            namespace::ip_batch(Some(&end), &[address, "link set eth0 up".to_owned()]).unwrap();
            namespace::ip_batch(Some(&switch), &[format!("link set {place} up")]).unwrap();
        }
        site.start(&site.chassis.config().replace("[switch]\n", "[switch]\nworkers = 2\n"));
        let shown = site.show("ports").unwrap();
        assert!(shown["ports"].as_array().unwrap().iter().all(|port| port["queues"] == 4), "{kinds:?}: {shown}");
        pings_of_two(&site);
        for direction in [&[][..], &["-R"]] {
            // Of 16 flows, the odds that a queue gets none are one in a hundred; a queue that is not served stops those it gets.
            let bps = tcp(&site, &[&["-t", "1", "-P", "16"], direction].concat());
            assert!(bps > 10e6, "{kinds:?}: {direction:?}: {bps} bit/s");
        }
        many_connections(&site);
        site.stop();
    }
}

fn pings_of_two(site: &Site) {
    let said = site.ok(ONE, &["ping", "-4", "-c", "3", "-i", "0.05", "-W", "10", "blade2"]);
    assert!(said.contains(" 0% packet loss"), "{said}");
}

/// Bit/s that arrive, of TCP from blade 1 to blade 2.
fn tcp(site: &Site, args: &[&str]) -> f64 {
    let server = site.background(TWO, &["iperf3", "-s", "-1", "--forceflush"], "Server listening");
    let said: Value = serde_json::from_str(&site.ok(ONE, &[&["iperf3", "-J", "-c", "198.18.0.2"], args].concat())).unwrap();
    server.finish();
    said["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or_default()
}

fn everything(kinds: &[&str]) {
    if !can(&["ping", "arping", "iperf3", "curl", "python3", "dnsmasq", "udhcpc", "tcpdump", "tcpreplay"])
        || !can(&["ssh", "ssh-keygen", "dropbear", "dropbearkey"])
    {
        return;
    }
    let mut site = Site::up(kinds, 3, 1500);
    pings(&site);
    iperf3(&site);
    many_connections(&site);
    http(&site);
    ssh(&site);
    dhcp(&site);
    multicast(&site);
    tags(&site);
    site.stop();
}

/// Also neighbour discovery: nobody knows anybody's address before.
fn pings(site: &Site) {
    for (version, from, to) in [("-4", ONE, "blade2"), ("-6", ONE, "blade3"), ("-4", Place::Uplink, "blade1"), ("-6", TWO, "uplink")] {
        let said = site.ok(from, &["ping", version, "-c", "3", "-i", "0.05", "-W", "10", to]);
        assert!(said.contains(" 0% packet loss"), "{said}");
    }
    // The longest that is not fragmented.
    site.ok(ONE, &["ping", "-4", "-c", "2", "-i", "0.05", "-W", "10", "-M", "do", "-s", "1472", "blade2"]);
    let said = site.ok(ONE, &["arping", "-c", "2", "-w", "20", "-I", "eth0", "198.18.0.3"]);
    assert!(said.contains("02:00:00:00:00:03") || said.contains("02:00:00:00:00:03".to_uppercase().as_str()), "{said}");
}

fn iperf3(site: &Site) {
    for args in
        [&["-t", "1"][..], &["-t", "1", "-R"], &["-t", "1", "-6"], &["-t", "1", "-u", "-b", "50M"], &["-t", "1", "-u", "-b", "50M", "-R"]]
    {
        let server = site.background(TWO, &["iperf3", "-s", "-1", "--forceflush"], "Server listening");
        let mut all = vec!["iperf3", "-J", "-c", if args.contains(&"-6") { "2001:2::2" } else { "198.18.0.2" }];
        all.extend(args);
        let said: Value = serde_json::from_str(&site.ok(ONE, &all)).unwrap();
        let sum = if args.contains(&"-u") { &said["end"]["sum"] } else { &said["end"]["sum_received"] };
        let bps = sum["bits_per_second"].as_f64().unwrap_or_default();
        // Frames whose checksums nobody has completed make nothing at all of TCP. How fast it is, is not for here.
        assert!(bps > 10e6, "iperf3 {args:?}: {bps} bit/s: {}", said["end"]);
        server.finish();
    }
}

/// 1,000 connections at once, each with bytes of its own in both directions.
fn many_connections(site: &Site) {
    const CONNECTIONS: u32 = 1000;
    let name = &site.chassis.name;
    let listener = namespace::inside(&name.namespace(TWO), || TcpListener::bind(("198.18.0.2", 7777)).unwrap()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let accepted: Vec<TcpStream> = (0..CONNECTIONS).map(|_| listener.accept().unwrap().0).collect();
            for mut stream in accepted {
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                let mut number = [0; 4];
                stream.read_exact(&mut number).unwrap();
                stream.write_all(&(!u32::from_be_bytes(number)).to_be_bytes()).unwrap();
            }
        });
        let connect = || {
            let to = (Ipv4Addr::new(198, 18, 0, 2), 7777).into();
            (0..CONNECTIONS).map(|_| TcpStream::connect_timeout(&to, DEADLINE).unwrap()).collect::<Vec<_>>()
        };
        let mut streams = namespace::inside(&name.namespace(ONE), connect).unwrap();
        for (number, stream) in (0u32..).zip(&mut streams) {
            stream.write_all(&number.to_be_bytes()).unwrap();
        }
        for (number, stream) in (0u32..).zip(&mut streams) {
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(u32::from_be_bytes(answer), !number);
        }
    });
}

/// A file of 16 MiB called `big`, and what is in it: no two blocks alike, so that one that is lost, doubled or elsewhere shows.
fn big(site: &Site) -> Vec<u8> {
    let bytes: Vec<u8> = (0u32..4 << 20).flat_map(|word| word.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    std::fs::write(site.path("big"), &bytes).unwrap();
    bytes
}

fn http(site: &Site) {
    let bytes = big(site);
    let args = ["python3", "-u", "-m", "http.server", "--bind", "198.18.0.2", "8080"];
    let _server = site.background(TWO, &args, "Serving HTTP");
    site.ok(ONE, &["curl", "-sS", "-o", "fetched", "http://blade2:8080/big", "--ipv4"]);
    assert!(std::fs::read(site.path("fetched")).unwrap() == bytes, "what was fetched is not what was offered");
}

/// OpenSSH with the server of somebody else, Dropbear: the file goes there and comes back at the same time, and what was there in
/// between had the same checksum.
fn ssh(site: &Site) {
    let bytes = big(site);
    site.ok(TWO, &["dropbearkey", "-t", "ed25519", "-f", "host"]);
    site.ok(ONE, &["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key"]);
    // A home that only the server sees: `ip netns exec` gives each program mounts of its own.
    let server = "umask 077 && mount -t tmpfs -o mode=700 none ~root && mkdir ~root/.ssh && cp key.pub ~root/.ssh/authorized_keys \
                  && exec dropbear -F -E -s -r host -P dropbear.pid -p 198.18.0.2:22";
    let _server = site.background(TWO, &["sh", "-c", server], "Not backgrounding");
    let options = "-F none -i key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";
    let line = format!("ssh {options} root@198.18.0.2 'tee there; sha256sum there >&2' <big >back 2>sum");
    site.ok(ONE, &["sh", "-c", &line]);
    assert!(std::fs::read(site.path("back")).unwrap() == bytes, "what came back is not what went");
    let here = site.ok(ONE, &["sha256sum", "big"]);
    let there = std::fs::read_to_string(site.path("sum")).unwrap();
    let sum = here.split_whitespace().next().unwrap();
    assert!(sum.len() == 64 && there.contains(sum), "here {here}there {there}");
}

/// An address from a server on the uplink, for a blade that has none.
fn dhcp(site: &Site) {
    let leases = format!("--dhcp-leasefile={}", site.path("leases").display());
    let args = [
        "dnsmasq",
        "--no-daemon",
        "--port=0",
        "--conf-file=/dev/null",
        "--interface=eth0",
        "--user=root",
        "--dhcp-range=198.18.9.1,198.18.9.9,255.254.0.0,1h",
        &leases,
        "--log-dhcp",
    ];
    let _server = site.background(Place::Uplink, &args, "DHCP, IP range");
    let said = site.ok(Place::Blade(3), &["sh", "-c", "udhcpc -i eth0 -f -q -n -t 10 -s /bin/true 2>&1"]);
    assert!(said.contains("198.18.9."), "{said}");
}

/// A datagram to a group arrives at every member, once.
fn multicast(site: &Site) {
    let group = Ipv4Addr::new(239, 18, 0, 1);
    let join = |place: Place| {
        let own = place.ipv4().unwrap();
        let joined = move || {
            let socket = UdpSocket::bind((group, 5000)).unwrap();
            socket.join_multicast_v4(&group, &own).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            socket
        };
        namespace::inside(&site.chassis.name.namespace(place), joined).unwrap()
    };
    let members = [join(TWO), join(Place::Blade(3)), join(Place::Uplink)];
    let sender = || {
        let socket = UdpSocket::bind(("198.18.0.1", 0)).unwrap();
        // The group's route is by the sender's own address.
        socket.join_multicast_v4(&Ipv4Addr::new(239, 18, 0, 2), &Ipv4Addr::new(198, 18, 0, 1)).unwrap();
        socket
    };
    let route = site.run(ONE, &["ip", "route", "add", "239.0.0.0/8", "dev", "eth0"]);
    assert!(route.status.success());
    let socket = namespace::inside(&site.chassis.name.namespace(ONE), sender).unwrap();
    for text in [&b"first"[..], b"second"] {
        socket.send_to(text, (group, 5000)).unwrap();
        for member in &members {
            let mut bytes = [0; 16];
            let len = member.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..len], text);
        }
    }
}

/// A tag of the port's VLAN (on an access port) comes in and leaves without it; here it is priority and VLAN 1.
fn tags(site: &Site) {
    let recording = site.record(TWO, "tags.pcap");
    let (src, dst) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let tagged = frame(dst, src, 0x8100, &[&[0x00, 0x01, 0x90, 0x00][..], &[7; 100]].concat());
    let plain = frame(dst, src, 0x9000, &[8; 100]);
    site.send(ONE, &[tagged, plain.clone(), marker(src)]);
    let ours: Vec<Vec<u8>> = site.recorded("tags.pcap").into_iter().filter(|frame| frame[12..14] == [0x90, 0]).collect();
    assert_eq!(ours, [frame(dst, src, 0x9000, &[7; 100]), plain]);
    drop(recording);
}

/// Frames of a tunnel port arrive bit for bit as they were sent, whatever tags they bear.
#[test]
fn tagged_frames_arrive_bit_for_bit() {
    if !can(&["tcpdump", "tcpreplay"]) {
        return;
    }
    for kinds in KINDS {
        let mut site = Site::bare(kinds, 3, 1500);
        let config = site
            .chassis
            .config()
            .replace("\n[[blade]]", "\n[[blade]]\ntransparent = 1")
            .replace("\n[[uplink]]", "\n[[uplink]]\ntransparent = 1");
        site.start(&config);
        let _recording = site.record(TWO, "tagged.pcap");
        let (src, dst) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let body = [9; 64];
        let tags: [&[u8]; 5] = [
            &[0x81, 0, 0x00, 0x05],
            &[0x81, 0, 0xe0, 0x00],
            &[0x81, 0, 0x7f, 0xfe],
            &[0x88, 0xa8, 0x00, 0x64, 0x81, 0, 0x20, 0x05],
            &[0x81, 0, 0x00, 0x0a, 0x81, 0, 0x00, 0x0b],
        ];
        let mut frames: Vec<Vec<u8>> = tags.iter().map(|tags| [&dst[..], &src, tags, &[0x90, 0x00], &body].concat()).collect();
        frames.push(frame(dst, src, 0x9000, &body));
        let mut sent = frames.clone();
        sent.push(marker(src));
        site.send(ONE, &sent);
        let received: Vec<Vec<u8>> = site.recorded("tagged.pcap").into_iter().filter(|received| frames.contains(received)).collect();
        assert_eq!(received, frames, "{kinds:?}");
        assert_ne!(MARKER, 0x9000);
        site.stop();
    }
}

#[test]
fn jumbo_frames_pass() {
    if !can(&["ping", "iperf3"]) {
        return;
    }
    for kinds in KINDS {
        let mut site = Site::up(kinds, 2, 9000);
        for (version, size) in [("-4", "8972"), ("-6", "8952")] {
            let said = site.ok(ONE, &["ping", version, "-c", "3", "-i", "0.05", "-W", "10", "-M", "do", "-s", size, "blade2"]);
            assert!(said.contains(" 0% packet loss"), "{kinds:?}: {said}");
        }
        let server = site.background(TWO, &["iperf3", "-s", "-1", "--forceflush"], "Server listening");
        let said: Value = serde_json::from_str(&site.ok(ONE, &["iperf3", "-J", "-t", "1", "-c", "198.18.0.2"])).unwrap();
        assert!(said["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or_default() > 10e6, "{kinds:?}: {}", said["end"]);
        server.finish();
        site.stop();
    }
}
