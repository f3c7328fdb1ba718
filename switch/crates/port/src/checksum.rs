//! Completing checksums that a sender has left to its network card.
//!
//! A Linux stack whose interface offers to compute checksums puts the sum of the pseudo header alone into the field and lets the
//! card do the rest (CHECKSUM_PARTIAL). A veth has no card: the frame arrives at the other end as it is, and whoever sends it on
//! over a real wire, or to a receiver that checks, has to complete it. So does a port that a local stack is behind.
//!
//! Such a frame is recognised by its field, which holds the folded sum of the pseudo header, not complemented. A frame whose
//! complete checksum happens to be that number (one in 65,536) is summed in vain and comes out as it was.
//!
//! Left out: fragments (their checksum is not in this frame), SCTP and tunnels (veths do not leave those to the card unless told to).

use std::net::{Ipv4Addr, Ipv6Addr};

use wire::checksum::Sum;
use wire::ip::Protocol;

/// Completes the TCP or UDP checksum of an Ethernet frame, with up to two VLAN tags, if it is partial. Returns whether it was.
pub fn complete(frame: &mut [u8]) -> bool {
    find(frame).is_some_and(|(transport, sum)| {
        let Some(segment) = frame.get_mut(transport.start..transport.end) else { return false };
        let field = transport.field;
        let Some(stored) = segment.get(field..field + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]])) else { return false };
        if stored != !sum.finish() {
            return false;
        }
        let mut sum = sum;
        segment[field..field + 2].fill(0);
        sum.add(segment);
        let checksum = match sum.finish() {
            0 if transport.udp => 0xffff, // RFC 768: zero means that there is none.
            checksum => checksum,
        };
        segment[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        true
    })
}

struct Transport {
    start: usize,
    end: usize,
    /// Where the checksum is, from `start`.
    field: usize,
    udp: bool,
}

/// The transport header and the sum of its pseudo header; `None` if there is none that we complete.
fn find(frame: &[u8]) -> Option<(Transport, Sum)> {
    let u16_at = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let mut network = 14;
    let mut ethertype = u16_at(12)?;
    for _ in 0..2 {
        if !matches!(ethertype, 0x8100 | 0x88a8) {
            break;
        }
        ethertype = u16_at(network + 2)?;
        network += 4;
    }
    let packet = frame.get(network..)?;
    let (start, end, protocol, sum) = match ethertype {
        0x0800 => {
            let header = packet.first_chunk::<20>()?;
            let header_len = usize::from(header[0] & 0x0f) * 4;
            let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff; // More fragments, and the offset.
            if header[0] >> 4 != 4 || header_len < 20 || total < header_len || fragment != 0 {
                return None;
            }
            let (src, dst) = (header[12..16].first_chunk::<4>()?, header[16..20].first_chunk::<4>()?);
            let protocol = Protocol(header[9]);
            let sum = Sum::with_ipv4(Ipv4Addr::from(*src), Ipv4Addr::from(*dst), protocol, (total - header_len) as u16);
            (network + header_len, network + total, protocol, sum)
        }
        0x86dd => {
            let header = packet.first_chunk::<40>()?;
            let end = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
            let (mut next, mut at) = (header[6], 40);
            // Hop-by-hop options and destination options; a routing header changes the destination that counts.
            for _ in 0..4 {
                if !matches!(next, 0 | 60) {
                    break;
                }
                let extension = packet.get(at..)?.first_chunk::<2>()?;
                next = extension[0];
                at += 8 + usize::from(extension[1]) * 8;
            }
            if header[0] >> 4 != 6 || end < at {
                return None;
            }
            let (src, dst) = (header[8..24].first_chunk::<16>()?, header[24..40].first_chunk::<16>()?);
            let protocol = Protocol(next);
            let sum = Sum::with_ipv6(Ipv6Addr::from(*src), Ipv6Addr::from(*dst), protocol, (end - at) as u32);
            (network + at, network + end, protocol, sum)
        }
        _ => return None,
    };
    match protocol.0 {
        6 => Some((Transport { start, end, field: 16, udp: false }, sum)),
        17 => Some((Transport { start, end, field: 6, udp: true }, sum)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame with a correct checksum, and the same with a partial one.
    fn pair(v6: bool, udp: bool, tags: usize, payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for tag in 0..tags {
            frame.extend([if tag == 0 && tags == 2 { 0x88 } else { 0x81 }, if tag == 0 && tags == 2 { 0xa8 } else { 0 }, 0, 7]);
        }
        let (header_len, field) = if udp { (8, 6) } else { (20, 16) };
        let len = header_len + payload.len();
        let protocol = if udp { 17 } else { 6 };
        let (src, dst): (Vec<u8>, Vec<u8>);
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, (len >> 8) as u8, len as u8, protocol, 64]);
            src = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).octets().to_vec();
            dst = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2).octets().to_vec();
        } else {
            let total = len + 20;
            frame.extend([8, 0, 0x45, 0, (total >> 8) as u8, total as u8, 0, 1, 0x40, 0, 64, protocol, 0, 0]);
            (src, dst) = (vec![198, 18, 0, 1], vec![198, 18, 0, 2]);
        }
        frame.extend(&src);
        frame.extend(&dst);
        let start = frame.len();
        frame.extend(vec![0x11; header_len]);
        if udp {
            frame[start + 4..start + 6].copy_from_slice(&(len as u16).to_be_bytes());
        }
        frame[start + field..start + field + 2].fill(0);
        frame.extend(payload);
        // By hand, from the definition: 16-bit words of pseudo header and segment.
        let words =
            |bytes: &[u8]| bytes.chunks(2).map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |byte| u64::from(*byte))).sum();
        let fold = |mut sum: u64| {
            while sum >> 16 != 0 {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            sum as u16
        };
        let pseudo: u64 = [words(&src), words(&dst), u64::from(protocol), len as u64].iter().sum::<u64>();
        let whole: u64 = pseudo + {
            let sum: u64 = words(&frame[start..]);
            sum
        };
        let checksum = match !fold(whole) {
            0 if udp => 0xffff,
            checksum => checksum,
        };
        frame.extend([0; 3]); // Padding, which does not count.
        let mut partial = frame.clone();
        frame[start + field..start + field + 2].copy_from_slice(&checksum.to_be_bytes());
        partial[start + field..start + field + 2].copy_from_slice(&fold(pseudo).to_be_bytes());
        (frame, partial)
    }

    proptest! {
        #[test]
        fn partial_ones_become_complete(v6: bool, udp: bool, tags in 0usize..3, payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let (whole, mut partial) = pair(v6, udp, tags, &payload);
            prop_assert!(complete(&mut partial));
            prop_assert_eq!(&partial, &whole);
            complete(&mut partial);
            prop_assert_eq!(partial, whole, "a complete one stays");
        }

        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), ethertype in prop::sample::select(vec![0x0800u16, 0x86dd, 0x8100])) {
            if bytes.len() >= 14 {
                bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
            }
            let len = bytes.len();
            complete(&mut bytes);
            prop_assert_eq!(bytes.len(), len);
        }

        #[test]
        fn cut_frames_stay_as_they_are(udp: bool, keep in 14usize..60) {
            let (_, partial) = pair(false, udp, 0, &[7; 40]);
            let mut cut = partial[..keep].to_vec();
            prop_assert!(!complete(&mut cut));
            prop_assert_eq!(&cut[..], &partial[..keep]);
        }
    }

    #[test]
    fn fragments_are_left_alone() {
        let (_, mut partial) = pair(false, true, 0, &[1; 30]);
        partial[20] |= 0x20;
        assert!(!complete(&mut partial));
    }
}
