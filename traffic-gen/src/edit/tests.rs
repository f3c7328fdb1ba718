use super::*;
use crate::plan::{Station, udp_frame};
use proptest::prelude::*;

fn frame() -> Vec<u8> {
    udp_frame(Station { mac: [2, 0, 0, 0, 0, 1], ip: [10, 1, 2, 3] }, Station { mac: [2, 0, 0, 0, 0, 2], ip: [10, 1, 2, 4] }, 60).into()
}

fn edited(edits: &Edits) -> Vec<u8> {
    let mut bytes = frame();
    edits.edit(&mut bytes, 0, 60, false);
    bytes
}

#[test]
fn tags_go_on_and_off() {
    let push: Vlan = "push=100,pcp=3,type=88a8".parse().unwrap();
    let bytes = edited(&Edits { vlan: vec![push], ..Edits::default() });
    assert_eq!((bytes.len(), &bytes[12..18]), (64, &[0x88, 0xa8, 0x60, 0x64, 0x08, 0x00][..]));
    let again = Edits { vlan: vec![push, "set=7".parse().unwrap()], ..Edits::default() };
    assert_eq!(edited(&again)[14..16], [0x60, 0x07]);
    let back = Edits { vlan: vec![push, "push=5".parse().unwrap(), Vlan::Pop, Vlan::Pop, Vlan::Pop], ..Edits::default() };
    assert_eq!(edited(&back), frame(), "there was nothing for the third to take off");
    for wrong in ["", "push", "push=4096", "push=1,pcp=8", "pop=1", "set=1,type=8100", "push=1,type=0800", "pop,pop", "push=1,set=2"] {
        assert!(wrong.parse::<Vlan>().is_err(), "{wrong}");
    }
}

#[test]
fn addresses_are_mapped_and_checksums_stay_right() {
    let edits = Edits {
        dst_macs: vec![MacAddr([4; 6])],
        mac_map: vec![(MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([6; 6]))],
        src_ip_map: vec!["10.0.0.0/8=172.16.0.0/12".parse().unwrap()],
        dst_ip_map: vec!["10.1.2.4:192.168.9.9".parse().unwrap()],
        port_map: vec![(7, 8000)],
        ttl: Some(Ttl::Down(1)),
        tos: Some(0xb8),
        ..Edits::default()
    };
    let bytes = edited(&edits);
    assert_eq!((&bytes[..6], &bytes[6..12]), (&[4; 6][..], &[6; 6][..]));
    assert_eq!((&bytes[26..30], &bytes[30..34]), (&[172, 17, 2, 3][..], &[192, 168, 9, 9][..]), "12 bits new, 20 bits old");
    assert_eq!((bytes[15], bytes[22], &bytes[36..38]), (0xb8, 63, &8000u16.to_be_bytes()[..]));
    assert_eq!(wire::checksum::checksum(&bytes[14..34]), 0);
}

#[test]
fn arp_is_mapped_too() {
    let mut bytes = vec![0xff; 6];
    bytes.extend([2, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    let edits = Edits {
        mac_map: vec![(MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([6; 6]))],
        src_ip_map: vec!["10.0.0.0/24=10.9.9.0/24".parse().unwrap()],
        ..Edits::default()
    };
    edits.edit(&mut bytes, 0, 42, false);
    assert_eq!((&bytes[6..12], &bytes[22..28]), (&[6; 6][..], &[6; 6][..]));
    assert_eq!((&bytes[28..32], &bytes[38..42]), (&[10, 9, 9, 1][..], &[10, 0, 0, 2][..]));
}

#[test]
fn lengths() {
    let mut frames = vec![Frame { port: 0, time: 0, bytes: frame()[..50].into(), original_len: 60, number: 1, file: 0, interface: 0 }];
    let with = |fix_len, frames: &[Frame]| {
        let mut frames = frames.to_vec();
        Edits { fix_len: Some(fix_len), ..Edits::default() }.apply(&mut frames);
        frames
    };
    assert_eq!((with(FixLen::Pad, &frames)[0].bytes.len(), with(FixLen::Pad, &frames)[0].is_snapped()), (60, false));
    let cut = &with(FixLen::Trunc, &frames)[0];
    assert_eq!((&cut.bytes[16..18], wire::checksum::checksum(&cut.bytes[14..34])), (&36u16.to_be_bytes()[..], 0));
    assert!(with(FixLen::Del, &frames).is_empty());
    Edits::default().apply(&mut frames);
    assert!(frames[0].is_snapped(), "nothing asked, nothing done");
    assert_eq!(edited(&Edits { truncate: Some(20), pad: Some(100), strip_fcs: true, ..Edits::default() }).len(), 100);
}

#[test]
fn a_seed_permutes() {
    for bits in [2, 8, 16] {
        let mut seen: Vec<u32> = (0..1 << bits).map(|value| permute(value, bits, 42)).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..1 << bits).collect::<Vec<_>>());
    }
    assert_ne!(permute(1, 24, 1), permute(1, 24, 2));
    let edits = Edits { ip_seed: Some(7), mac_seed: Some(7), ..Edits::default() };
    let (bytes, again) = (edited(&edits), edited(&edits));
    assert_eq!(bytes, again);
    assert_ne!(bytes[27..30], frame()[27..30]);
    assert_eq!((bytes[26], &bytes[..3], wire::checksum::checksum(&bytes[14..34])), (10, &frame()[..3], 0));
}

#[test]
fn what_is_no_map() {
    for wrong in ["", "10.0.0.0/8", "10.0.0.0/8=::/0", "=", "10.0.0.0/8=x"] {
        assert!(wrong.parse::<IpMap>().is_err(), "{wrong}");
    }
    assert!("[2001:db8::/32]:[fd00::/32]".parse::<IpMap>().is_ok());
    assert!("2001:db8::/32=fd00::/32".parse::<IpMap>().is_ok());
    assert_eq!(("+3".parse(), "-2".parse(), "9".parse()), (Ok(Ttl::Up(3)), Ok(Ttl::Down(2)), Ok(Ttl::Set(9))));
    assert!("256".parse::<Ttl>().is_err() && "".parse::<Ttl>().is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), kind in 0usize..5, snapped: bool) {
        if bytes.len() > 20 {
            let kinds = [0x0800u16, 0x86dd, 0x0806, 0x8100, 0x88b5];
            bytes[12..14].copy_from_slice(&kinds[kind].to_be_bytes());
            bytes[14] = if kind == 1 { 0x60 } else { 0x45 };
        }
        let edits = Edits {
            fix_len: Some(FixLen::Trunc), strip_fcs: true, dst_macs: vec![MacAddr([2; 6])], mac_seed: Some(1),
            vlan: vec!["push=1".parse().unwrap(), "set=2".parse().unwrap(), Vlan::Pop, Vlan::Pop], ip_seed: Some(2),
            src_ip_map: vec!["0.0.0.0/0=1.0.0.0/8".parse().unwrap()], port_map: vec![(0, 1)], ttl: Some(Ttl::Up(1)), tos: Some(255),
            pad: Some(64), fix_checksums: true, ..Edits::default()
        };
        edits.edit(&mut bytes, 3, 80, snapped);
        prop_assert!(bytes.len() >= 64);
    }
}
