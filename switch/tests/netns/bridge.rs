//! The same traffic through a Linux bridge and through us: every receiver gets the same frames.
//!
//! tcpreplay plays the recordings of `pcaps/`, tcpdump records what comes out at every place, and the bridge is the oracle.
//!
//! ```text
//!   stations 0, 3, … blade1 ─┐             ┌─ blade2 stations 1, 4, …
//!                            br0, or the switch
//!          listens blade3 ───┘             └─ uplink stations 2, 5, …
//! ```
//!
//! Left out is what the two do differently on purpose: a bridge without spanning tree forwards BPDUs, a switch of 802.1Q does not.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use bladeswitch::lab::{Place, namespace};
use port::capture::CaptureFile;

use crate::site::{KINDS, MARKER, Site, can, frame, silence, until};

/// Long enough for every frame of `pcaps/`.
const MTU: u16 = 9000;
/// Frames that are under way at once. Fewer than the shortest ring on their way takes: nothing here is lost for want of room,
/// however long a receiver does not get the processor.
const CHUNK: usize = 100;
/// Where frames are sent from. Blade 3 only listens.
const SENDERS: [Place; 3] = [Place::Blade(1), Place::Blade(2), Place::Uplink];
const PLACES: [Place; 4] = [Place::Blade(1), Place::Blade(2), Place::Blade(3), Place::Uplink];

/// How often each frame was received at each place.
type Received = BTreeMap<Place, BTreeMap<Vec<u8>, usize>>;

/// The frames of `pcaps/` in the order they are sent, in chunks of one sender each. Who speaks first in the recordings is station
/// 0, and so on; the stations are dealt out to the senders.
fn chunks() -> Vec<(Place, Vec<Vec<u8>>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
    let recording = |case: PathBuf| ["in.pcap", "in.pcapng"].map(|name| case.join(name)).into_iter().find(|path| path.exists());
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().filter_map(|entry| recording(entry.unwrap().path())).collect();
    files.sort();
    assert!(files.len() > 15, "{files:?}");
    let (mut frames, mut stations) = (SENDERS.map(|_| Vec::new()), Vec::new());
    for file in files {
        for frame in CaptureFile::open(&file).unwrap().frames().map(Result::unwrap) {
            let link_local = frame.bytes[..5] == [0x01, 0x80, 0xc2, 0, 0] && frame.bytes[5] < 0x10;
            if link_local {
                continue;
            }
            let source = frame.bytes[6..12].to_vec();
            let station = stations.iter().position(|known| *known == source).unwrap_or_else(|| {
                stations.push(source);
                stations.len() - 1
            });
            frames[station % SENDERS.len()].push(frame.bytes.to_vec());
        }
    }
    let mut chunks = Vec::new();
    // The senders take turns, so that each is known to the FDB when the others answer it.
    for turn in 0.. {
        let before = chunks.len();
        for (place, frames) in SENDERS.into_iter().zip(&frames) {
            chunks.extend(frames.chunks(CHUNK).nth(turn).map(|chunk| (place, chunk.to_vec())));
        }
        if chunks.len() == before {
            break;
        }
    }
    // Markers that end what the others hear, and what the first of them hears.
    chunks.extend([(PLACES[0], Vec::new()), (PLACES[1], Vec::new())]);
    chunks
}

/// The frame that says that a chunk has been sent: a broadcast of a station of the sender's own.
fn end_of(chunk: usize, place: Place) -> Vec<u8> {
    let station = PLACES.iter().position(|known| *known == place).unwrap() as u8;
    frame([0xff; 6], [2, 0, 0, 0, 9, station], MARKER, &(chunk as u32).to_be_bytes())
}

/// Sends the chunks one after the other, each when the one before has been received, so that what is known of each address when
/// a frame comes in is the same every time.
fn through(site: &Site, chunks: &[(Place, Vec<Vec<u8>>)]) -> Received {
    let file = |place: Place| format!("{place}.pcap");
    let recordings: Vec<_> = PLACES.iter().map(|&place| site.record(place, &file(place))).collect();
    for (number, (sender, frames)) in chunks.iter().enumerate() {
        let end = end_of(number, *sender);
        site.send(*sender, &[&frames[..], std::slice::from_ref(&end)].concat());
        for place in PLACES.into_iter().filter(|place| place != sender) {
            until(&format!("chunk {number} of {sender} is recorded at {place}"), || site.captured(&file(place)).contains(&end));
        }
    }
    drop(recordings);
    // Only what was played: hosts say things of their own.
    let sent: HashSet<&Vec<u8>> = chunks.iter().flat_map(|(_, frames)| frames).collect();
    let received = |place: Place| {
        let mut counts = BTreeMap::new();
        for frame in site.captured(&file(place)).into_iter().filter(|frame| sent.contains(frame)) {
            *counts.entry(frame).or_insert(0) += 1;
        }
        counts
    };
    PLACES.into_iter().map(|place| (place, received(place))).collect()
}

#[test]
fn receivers_get_what_a_linux_bridge_gives_them() {
    if !can(&["tcpdump", "tcpreplay"]) {
        return;
    }
    let chunks = chunks();
    let site = Site::bare(&["af_packet"], 3, MTU);
    silence(&site);
    let switch = site.chassis.name.namespace(Place::Switch);
    // Else its firewall cuts the padding off short IP packets.
    let firewall = ["iptables", "ip6tables", "arptables"].map(|tables| format!("bridge/bridge-nf-call-{tables}"));
    namespace::set(&switch, &firewall.each_ref().map(|key| (key.as_str(), "0"))).unwrap();
    let mut lines = vec![format!("link add br0 mtu {MTU} type bridge mcast_snooping 0 stp_state 0")];
    lines.extend(PLACES.map(|place| format!("link set {place} master br0")));
    lines.push("link set br0 up".to_owned());
    if let Err(error) = namespace::ip_batch(Some(&switch), &lines) {
        println!("skipped: no bridge in this kernel ({error})");
        return;
    }
    let ports_forward = || {
        let ports = namespace::ip(&["-n", &switch, "-d", "link", "show", "type", "bridge_slave"]).unwrap();
        ports.matches("state forwarding").count() == PLACES.len()
    };
    until("the bridge forwards", ports_forward);
    let expected = through(&site, &chunks);
    drop(site);
    assert!(expected.values().all(|frames| frames.len() > 100), "the bridge has forwarded something to everybody");
    for kinds in KINDS {
        let mut site = Site::bare(kinds, 3, MTU);
        silence(&site);
        // A bridge without VLANs and without a mind of its own.
        let config = site.chassis.config();
        let config = config.replace("\n[[blade]]", "\n[[blade]]\ntransparent = 1").replace("\n[[uplink]]", "\n[[uplink]]\ntransparent = 1");
        let quiet =
            "\n[identity]\nadvertise = false\nanswer_arp = false\nanswer_nd = false\nlearn = false\n[lanes]\nmessage = false\nip = false\n";
        site.start(&(config + quiet));
        let received = through(&site, &chunks);
        let mut differences = Vec::new();
        for (place, expected) in &expected {
            let received = &received[place];
            let frames: BTreeSet<_> = expected.keys().chain(received.keys()).collect();
            for frame in frames {
                let [theirs, ours] = [expected, received].map(|frames| frames.get(frame).copied().unwrap_or_default());
                if ours != theirs {
                    differences.push(format!("{place} gets this {ours} times, through the bridge {theirs} times: {frame:02x?}"));
                }
            }
        }
        assert!(
            differences.is_empty(),
            "{kinds:?}: {} differences, first {}",
            differences.len(),
            differences[..differences.len().min(9)].join("\n")
        );
        site.stop();
    }
}
