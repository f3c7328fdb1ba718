//! The message lane across namespaces: a message made by hand goes to the switch blade and arrives at its final destination,
//! and Wireshark reads it with docs/bladeswitch.lua.

use std::process::Command;

use bladeswitch::lab::Place;
use wire::MacAddr;
use wire::ethernet::EtherType;
use wire::message::{Final, Message, MessageType};

use crate::site::{KINDS, Site, can, marker};

const BODY: &[u8] = b"from blade 1 to blade 2";

#[test]
fn a_message_reaches_its_final_destination() {
    if !can(&["tcpdump", "tcpreplay", "tshark"]) {
        return;
    }
    let (one, two) = (Place::Blade(1), Place::Blade(2));
    let lua = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bladeswitch.lua");
    for kinds in KINDS {
        let mut site = Site::up(kinds, 3, 1500);
        let _recording = site.record(two, "message.pcap");
        let source = one.mac().unwrap();
        // By MAC, IPv4 and IPv6 address, to the switch blade first.
        let finals = [Final::Mac(two.mac().unwrap()), Final::Ipv4(two.ipv4().unwrap()), Final::Ipv6(two.ipv6().unwrap())];
        let mut frames: Vec<Vec<u8>> = Vec::new();
        for final_destination in finals {
            let message = Message {
                initial_destination: MacAddr([2, 0, 0, 0, 0, 0xfe]),
                source,
                message_type: MessageType::Data,
                final_destination,
                inner: EtherType(0x9000),
                body: BODY,
            };
            frames.push(message.emit(&[]).unwrap());
        }
        // Blade 2 is known to the FDB when it has said something.
        site.send(two, &[marker(two.mac().unwrap().0)]);
        let mut sent = frames.clone();
        sent.push(marker(source.0));
        site.send(one, &sent);
        let received = site.recorded("message.pcap");
        for frame in &mut frames {
            frame[..6].copy_from_slice(&two.mac().unwrap().0);
        }
        let messages: Vec<&Vec<u8>> = received.iter().filter(|frame| frame[6..12] == source.0 && frame[12..14] == [0x88, 0xb5]).collect();
        assert_eq!(messages, frames.iter().collect::<Vec<_>>(), "{kinds:?}: initial and final destination are now the same");
        let names = ["eth.dst", "final.mac", "final.ipv4", "final.ipv6", "inner", "body_len"]
            .map(|name| if name.starts_with("eth") { name.to_owned() } else { format!("bladeswitch.{name}") });
        let read = Command::new("tshark")
            .args(["-X", &format!("lua_script:{lua}"), "-r"])
            .arg(site.path("message.pcap"))
            .args(["-Y", &format!("bladeswitch && eth.src == {source}"), "-T", "fields", "-E", "separator=|"])
            .args(names.iter().flat_map(|name| ["-e", name.as_str()]))
            .output()
            .unwrap();
        let row = |mac: &str, ipv4: &str, ipv6: &str| format!("{}|{mac}|{ipv4}|{ipv6}|0x9000|{}", two.mac().unwrap(), BODY.len());
        let (mac, ipv4, ipv6) = (two.mac().unwrap().to_string(), two.ipv4().unwrap().to_string(), two.ipv6().unwrap().to_string());
        let expected = [row(&mac, "", ""), row("", &ipv4, ""), row("", "", &ipv6)];
        let said = String::from_utf8_lossy(&read.stdout);
        assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{kinds:?}: {}", String::from_utf8_lossy(&read.stderr));
        site.stop();
    }
}
