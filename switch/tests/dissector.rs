//! The Wireshark dissector `docs/bladeswitch.lua` against frames the switch has sent: what tshark reads out of them is what was
//! put in. Without tshark the tests say so and pass.

mod blades;

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use blades::*;
use bladeswitch::replay::Stage;
use port::PortId;
use port::capture::{CaptureWriter, FrameNotes};
use wire::MacAddr;
use wire::ethernet::EtherType;
use wire::message::{Ack, AckStatus, Control, ControlMessage, Final, Hello, Message, MessageType, Name};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bladeswitch.lua");

fn has_tshark() -> bool {
    let found = Command::new("tshark").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: tshark is not installed (apt-get install tshark)");
    }
    found
}

/// What tshark prints of these frames with these arguments.
fn tshark(frames: &[Vec<u8>], args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sent.pcapng");
    let mut writer = CaptureWriter::new(Vec::new()).unwrap();
    writer.add_interface("out", None).unwrap();
    for (number, frame) in frames.iter().enumerate() {
        writer.write_frame(0, number as u64 * 1000, frame, frame.len() as u32, &FrameNotes::default()).unwrap();
    }
    fs::write(&path, writer.finish().unwrap()).unwrap();
    assert!(Path::new(SCRIPT).is_file());
    let output = Command::new("tshark")
        .args(["-n", "-X", &format!("lua_script:{SCRIPT}"), "-r"])
        .arg(&path)
        .args(args)
        .env("HOME", folder.path()) // Nobody's own plugins or preferences.
        .env("XDG_CONFIG_HOME", folder.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("Lua"), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The values of these fields, a row for each frame. Of a field that occurs several times, all values with commas between.
fn fields(frames: &[Vec<u8>], names: &[&str]) -> Vec<Vec<String>> {
    let mut args = vec!["-T", "fields", "-E", "separator=|"];
    args.extend(names.iter().flat_map(|name| ["-e", name]));
    tshark(frames, &args).lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

fn frames(stage: &mut Stage) -> Vec<Vec<u8>> {
    sent(stage).into_iter().map(|(_, bytes)| bytes).collect()
}

/// FIG. 6b and 7b as Wireshark shows them, with final destinations of every kind.
#[test]
fn messages_that_were_switched() {
    if !has_tshark() {
        return;
    }
    let mut stage = stage(&chassis(SILENT, 3));
    teach(&mut stage, &[(slot(1), blade(1)), (slot(2), blade(2)), (slot(3), blade(3))]);
    let finals = [Final::Mac(blade(2)), Final::Ipv4(ip(2)), Final::Ipv6(ip6(2))];
    stage.feed(slot(1), finals.iter().map(|&to| message(SWITCH, blade(1), to, b"hello")));
    let switched = frames(&mut stage);
    assert_eq!(switched.len(), 3);
    let names = [
        "eth.dst",
        "eth.src",
        "eth.type",
        "bladeswitch.version",
        "bladeswitch.type",
        "bladeswitch.kind",
        "bladeswitch.flags",
        "bladeswitch.inner",
        "bladeswitch.body_len",
        "bladeswitch.final.mac",
        "bladeswitch.final.ipv4",
        "bladeswitch.final.ipv6",
        "bladeswitch.body",
    ];
    let (two, one) = (blade(2).to_string(), blade(1).to_string());
    let row = |kind: &str, mac: &str, v4: &str, v6: &str| -> Vec<String> {
        [&two, &one, "0x88b5", "1", "0", kind, "0x00", "0x0000", "5", mac, v4, v6, "68656c6c6f"].map(str::to_owned).to_vec()
    };
    let expected = [row("1", &two, "", ""), row("2", "", "198.18.0.2", ""), row("3", "", "", "2001:db8::2")];
    assert_eq!(fields(&switched, &names), expected);
    // Nothing in them is remarkable, and the filter of the final destination finds the one that names it.
    assert_eq!(tshark(&switched, &["-Y", "_ws.expert"]), "");
    assert_eq!(tshark(&switched, &["-Y", "bladeswitch.final.mac == 02:00:00:00:00:02"]).lines().count(), 1);

    // The response (FIG. 7b) in full.
    stage.feed(slot(2), [message(SWITCH, blade(2), blade(1), b"hello, 1")]);
    let text = tshark(&frames(&mut stage), &["-V"]);
    for line in ["Chassis Message", "Version: 1", "Type: Data (0)", "Final destination (MAC): 02:00:00:00:00:01", "Body length: 8"] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    end(stage);
}

/// The body of a Data message is dissected as what its inner EtherType says, behind a tag as well.
#[test]
fn what_a_message_carries() {
    if !has_tshark() {
        return;
    }
    let mut stage = stage(&format!("{SILENT}[[blade]]\nslot = 1\n[[blade]]\nslot = 2\ntrunk = [1]\n[[uplink]]\n"));
    stage.feed(slot(2), [tagged(MacAddr::BROADCAST, blade(2), &[(0x8100, 1)], EtherType(0x88b6), &[])]);
    sent(&mut stage);
    let (inner, body) = ip_packet(ip(1).into(), ip(2).into());
    let final_destination = Final::Mac(blade(2));
    let message =
        Message { initial_destination: SWITCH, source: blade(1), message_type: MessageType::Data, final_destination, inner, body: &body };
    stage.feed(slot(1), [message.emit(&[]).unwrap()]);
    let names = ["vlan.id", "bladeswitch.inner", "bladeswitch.body_len", "ip.src", "ip.dst"];
    assert_eq!(fields(&frames(&mut stage), &names), [["1", "0x0800", "20", "198.18.0.1", "198.18.0.2"].map(str::to_owned)]);
    end(stage);
}

/// What the switch itself sends: a Notice, and who is in which slot.
#[test]
fn messages_of_the_switch() {
    if !has_tshark() {
        return;
    }
    let mut stage = stage(&chassis("", 2));
    let advertised = frames(&mut stage);
    let names = [
        "bladeswitch.type",
        "bladeswitch.final.mac",
        "bladeswitch.advertise.count",
        "bladeswitch.advertise.slot",
        "bladeswitch.advertise.macs",
        "bladeswitch.advertise.ips",
        "bladeswitch.advertise.mac",
        "bladeswitch.advertise.ipv4",
        "bladeswitch.advertise.ipv6",
    ];
    let all = |one: String, two: String| format!("{one},{two}");
    let row = [
        "2".to_owned(),
        MacAddr::BROADCAST.to_string(),
        "2".to_owned(),
        "1,2".to_owned(),
        "1,1".to_owned(),
        "2,2".to_owned(),
        all(blade(1).to_string(), blade(2).to_string()),
        all(ip(1).to_string(), ip(2).to_string()),
        all(ip6(1).to_string(), ip6(2).to_string()),
    ];
    assert_eq!(fields(&advertised, &names), [row.clone(), row]);

    for to in [Final::Mac(blade(99)), Final::Ipv4(ip(99)), Final::Ipv6(ip6(99))] {
        let lost = message(SWITCH, blade(1), to, b"?");
        stage.feed(slot(1), [lost.clone()]);
        let (kind, address, field) = match to {
            Final::Mac(mac) => ("1", mac.to_string(), "bladeswitch.notice.final.mac"),
            Final::Ipv4(ip) => ("2", IpAddr::V4(ip).to_string(), "bladeswitch.notice.final.ipv4"),
            Final::Ipv6(ip) => ("3", IpAddr::V6(ip).to_string(), "bladeswitch.notice.final.ipv6"),
        };
        let hex: String = lost[14..14 + 25].iter().map(|octet| format!("{octet:02x}")).collect();
        let names =
            ["eth.dst", "bladeswitch.type", "bladeswitch.notice.reason", "bladeswitch.notice.kind", field, "bladeswitch.notice.offending"];
        let row = [blade(1).to_string(), "1".to_owned(), "1".to_owned(), kind.to_owned(), address, hex];
        let sent = sent(&mut stage);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, PortId(0));
        assert_eq!(fields(&[sent[0].1.clone()], &names), [row]);
    }
    end(stage);
}

/// Every control message: what was put in, and the seal told from the content.
#[test]
fn control_messages() {
    if !has_tshark() {
        return;
    }
    let name = |text: &str| Name::new(text).unwrap();
    let frame = |transaction: u32, control: Control, counter: Option<u64>| {
        let message_type = control.message_type();
        typed(SWITCH, blade(1), SWITCH, message_type, &ControlMessage { session: 0xabc, transaction, control }.encode(counter))
    };
    let hello = Hello {
        slot: 3,
        interval_ms: 1000,
        rate_bps: 2_500_000_000,
        macs: vec![blade(3), blade(4)],
        ips: vec![ip(3).into(), ip6(3).into()],
        functions: vec![name("web"), name("mail")],
    };
    let ack = Ack { acked: MessageType::Execute, status: AckStatus::Failed, text: "disk is full".to_owned() };
    let sent = [
        frame(1, Control::Hello(hello), None),
        frame(2, Control::SetMode(name("maintenance")), Some(77)),
        frame(3, Control::Execute(name("fsck")), None),
        frame(4, Control::Listen(513), None),
        frame(5, Control::Provision(vec![(name("mtu"), "9000".to_owned()), (name("motd"), "grüße".to_owned())]), Some(u64::MAX)),
        frame(6, Control::Ack(ack), None),
        frame(7, Control::Rate { to: name("blade2"), rate_bps: 500_000_000 }, None),
    ];
    let row = |frame: usize, names: &[&str]| fields(&sent[frame..=frame], names).swap_remove(0);
    let head = ["bladeswitch.type", "bladeswitch.control.version", "bladeswitch.control.session", "bladeswitch.control.transaction"];
    for (frame, number) in (16..).enumerate().take(sent.len()) {
        assert_eq!(row(frame, &head), [number.to_string(), "1".to_owned(), "0x00000abc".to_owned(), (frame + 1).to_string()]);
    }
    let names = ["slot", "interval", "rate", "macs", "ips", "functions", "mac", "ipv4", "ipv6", "function"];
    let names: Vec<String> = names.iter().map(|name| format!("bladeswitch.hello.{name}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let macs = format!("{},{}", blade(3), blade(4));
    assert_eq!(row(0, &names), ["3", "1000", "2500000000", "2", "2", "2", &macs, "198.18.0.3", "2001:db8::3", "web,mail"]);
    let seal = ["bladeswitch.control.counter", "bladeswitch.control.code"];
    assert_eq!(row(1, &["bladeswitch.set_mode.mode"]), ["maintenance"]);
    assert_eq!(row(1, &seal), ["77".to_owned(), "0".repeat(64)]);
    assert_eq!(row(2, &["bladeswitch.execute.function", seal[0]]), ["fsck", ""]);
    assert_eq!(row(3, &["bladeswitch.listen.timeslot"]), ["513"]);
    let names = ["bladeswitch.provision.count", "bladeswitch.provision.name", "bladeswitch.provision.value", seal[0]];
    assert_eq!(row(4, &names), ["2", "mtu,motd", "9000,grüße", "18446744073709551615"]);
    let names = ["bladeswitch.ack.type", "bladeswitch.ack.status", "bladeswitch.ack.text"];
    assert_eq!(row(5, &names), ["18", "3", "disk is full"]);
    assert_eq!(row(6, &["bladeswitch.rate.rate", "bladeswitch.rate.to"]), ["500000000", "blade2"]);
    assert_eq!(tshark(&sent, &["-Y", "_ws.expert"]), "", "nothing in them is remarkable");

    // Cut off within the content, a name with a space, another version, a type of a later version.
    let mode = |body: &[u8]| typed(SWITCH, blade(1), SWITCH, MessageType::SetMode, body);
    let remarkable = [
        mode(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9, b'x']),
        mode(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, b'x']),
        mode(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, b'a', b' ', b'b']),
        mode(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, b'x']),
        typed(SWITCH, blade(1), SWITCH, MessageType::Unknown(99), &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, b'x']),
    ];
    assert_eq!(tshark(&remarkable, &["-Y", "_ws.expert"]).lines().count(), remarkable.len());
}

/// What the switch drops as `message-malformed` Wireshark marks as an error, and nothing else.
#[test]
fn malformed_messages_are_marked() {
    if !has_tshark() {
        return;
    }
    let good = message(SWITCH, blade(1), blade(2), b"hello");
    for (at, value) in [(14, 2), (14, 0), (16, 0), (16, 9), (21, 23), (21, 22), (15, 200), (17, 1), (14, 1)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        let mut stage = stage(&chassis(SILENT, 2));
        teach(&mut stage, &[(slot(2), blade(2))]);
        stage.feed(slot(1), [bytes.clone()]);
        sent(&mut stage);
        let dropped = drops(&stage, slot(1), "message-malformed") == 1;
        end(stage);
        let marked = !tshark(&[bytes], &["-Y", "_ws.expert.severity == error"]).is_empty();
        assert_eq!(marked, dropped, "octet {at} = {value}");
    }
}
