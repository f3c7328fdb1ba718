//! Where the MAC addresses of a frame are: in its header, and in the packets that tell addresses to others.
//!
//! ARP and RARP (RFC 826, RFC 903), neighbor discovery (RFC 4861, its link-layer address options), DHCP (RFC 2131, `chaddr` and the
//! client identifier of RFC 2132), DHCPv6 (RFC 8415, DUIDs made of an address), and the final destination of chassis messages.
//! A station that changes its address in the header has to change it there as well, or a switch that listens learns of stations
//! that do not exist.
//!
//! Left out: IPv6 addresses made of MACs (RFC 4291, appendix A), relayed DHCPv6, seals of control messages. What is cut short is not there.

use crate::edit::layers::{L4, Layers};

/// Options of one packet that are looked at: more than any client sends.
const OPTIONS_MAX: usize = 64;

/// The first bytes of all addresses of six bytes that lie whole in the frame, those of the header first.
pub fn places(bytes: &[u8]) -> Vec<usize> {
    let mut places = vec![0, 6];
    if let Some(layers) = Layers::of(bytes) {
        let at = 14 + 4 * layers.tags;
        match layers.ethertype {
            // Ethernet and IPv4, as everywhere.
            0x0806 | 0x8035 if bytes.get(at..at + 6) == Some(&[0, 1, 8, 0, 6, 4]) => places.extend([at + 8, at + 18]),
            // The final destination is a MAC.
            0x88b5 if bytes.get(at + 2) == Some(&1) => places.push(at + 8),
            _ => {}
        }
        if let (Some(ip), Some(l4)) = (layers.ip, layers.l4) {
            // Padding behind the packet is none of it.
            in_packet(&bytes[..bytes.len().min(ip.end)], l4, &mut places);
        }
    }
    places.retain(|at| at + 6 <= bytes.len());
    places
}

fn in_packet(bytes: &[u8], l4: L4, places: &mut Vec<usize>) {
    let half = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
    match (l4.protocol, half(l4.at), half(l4.at + 2)) {
        (58, Some(kind), _) => {
            // What stands before the options of RFC 4861, sections 4.1 to 4.5.
            let header = match kind >> 8 {
                133 => 8,
                134 => 16,
                135 | 136 => 24,
                137 => 40,
                _ => return,
            };
            let mut at = l4.at + header;
            for _ in 0..OPTIONS_MAX {
                let Some(&[kind, len]) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return };
                match (kind, len) {
                    (_, 0) => return,
                    (1 | 2, 1) => places.push(at + 2),
                    _ => {}
                }
                at += 8 * usize::from(len);
            }
        }
        (17, Some(67 | 68), Some(67 | 68)) => dhcp(bytes, l4.at + 8, places),
        (17, Some(546 | 547), Some(546 | 547)) => dhcpv6(bytes, l4.at + 8, places),
        _ => {}
    }
}

fn dhcp(bytes: &[u8], at: usize, places: &mut Vec<usize>) {
    // Hardware: Ethernet, with addresses of 6 bytes.
    if bytes.get(at + 1..at + 3) != Some(&[1, 6]) {
        return;
    }
    places.push(at + 28);
    if bytes.get(at + 236..at + 240) != Some(&[99, 130, 83, 99]) {
        return;
    }
    let mut at = at + 240;
    for _ in 0..OPTIONS_MAX {
        match bytes.get(at..) {
            Some([0, ..]) => at += 1,
            Some([61, 7, 1, ..]) => {
                places.push(at + 3);
                at += 9;
            }
            Some([1..=254, len, ..]) => at += 2 + usize::from(*len),
            _ => return,
        }
    }
}

fn dhcpv6(bytes: &[u8], at: usize, places: &mut Vec<usize>) {
    let mut at = at + 4;
    for _ in 0..OPTIONS_MAX {
        let Some(&[_, code, len_high, len_low]) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return };
        let len = u16::from_be_bytes([len_high, len_low]);
        // Of client and server: DUID-LLT has a time before the address, DUID-LL has not.
        match (code, len, bytes.get(at + 4..at + 8)) {
            (1 | 2, 14, Some([0, 1, 0, 1])) => places.push(at + 12),
            (1 | 2, 10, Some([0, 3, 0, 1])) => places.push(at + 8),
            _ => {}
        }
        at += 4 + usize::from(len);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame of this type, tagged or not, with a header of IP before a payload of that protocol.
    fn frame(tagged: bool, kind: u16, payload: &[u8]) -> Vec<u8> {
        let tag: &[u8] = if tagged { &[0x81, 0, 0, 7] } else { &[] };
        [&[2; 12], tag, &kind.to_be_bytes(), payload].concat()
    }

    fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let len = (20 + payload.len() as u16).to_be_bytes();
        [&[0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], payload].concat()
    }

    fn v6(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let len = (payload.len() as u16).to_be_bytes();
        [&[0x60, 0, 0, 0, len[0], len[1], protocol, 255], &[0xfe; 32][..], payload].concat()
    }

    #[test]
    fn addresses_are_found_where_they_are() {
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[2; 20]].concat();
        assert_eq!(places(&frame(false, 0x0806, &arp)), [0, 6, 22, 32]);
        assert_eq!(places(&frame(true, 0x0806, &arp)), [0, 6, 26, 36]);
        assert_eq!(places(&frame(false, 0x0806, &arp[..20])), [0, 6, 22], "cut short");
        let message = [&[1, 1, 1, 0, 8, 0, 0, 0][..], &[2; 16]].concat();
        assert_eq!(places(&frame(false, 0x88b5, &message)), [0, 6, 22]);
        // A solicitation with its source's address after an option of another kind (nonce, RFC 3971).
        let ns = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &[0xfe; 16], &[14, 1, 0, 0, 0, 0, 0, 0], &[1, 1, 2, 2, 2, 2, 2, 2]].concat();
        assert_eq!(places(&frame(false, 0x86dd, &v6(58, &ns))), [0, 6, 14 + 40 + 24 + 8 + 2]);
        let mut looping = ns.clone();
        looping[25] = 0;
        assert_eq!(places(&frame(false, 0x86dd, &v6(58, &looping))), [0, 6]);
        let mut dhcp =
            [&[0, 68, 0, 67, 0, 0, 0, 0, 1, 1, 6][..], &[0; 233], &[99, 130, 83, 99, 53, 1, 1, 0, 61, 7, 1], &[2; 6], &[255]].concat();
        let start = 14 + 20 + 8;
        assert_eq!(places(&frame(false, 0x0800, &v4(17, &dhcp))), [0, 6, start + 28, start + 240 + 7]);
        dhcp[9] = 6;
        assert_eq!(places(&frame(false, 0x0800, &v4(17, &dhcp))), [0, 6], "not Ethernet");
        let solicit = [&[2, 34, 2, 35, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 14, 0, 1, 0, 1, 0, 0, 0, 0][..], &[2; 6]].concat();
        assert_eq!(places(&frame(false, 0x86dd, &v6(17, &solicit))), [0, 6, 14 + 40 + 24]);
        assert_eq!(places(&[2; 11]), [0]);
    }

    proptest! {
        #[test]
        fn places_lie_in_the_frame(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0usize..5) {
            let kinds: [&[u8]; 5] = [&[8, 6], &[0x88, 0xb5], &[8, 0, 0x45], &[0x86, 0xdd, 0x60], &[]];
            if bytes.len() > 60 {
                bytes[12..12 + kinds[kind].len()].copy_from_slice(kinds[kind]);
                (bytes[20], bytes[23]) = (58, 17);
            }
            prop_assert!(places(&bytes).iter().all(|at| at + 6 <= bytes.len()));
        }
    }
}
