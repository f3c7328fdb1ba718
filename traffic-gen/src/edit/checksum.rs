//! Checksums of the Internet (RFC 1071): kept right while fields change (RFC 1624), and made anew.
//!
//! A field that changes takes its checksums along by the difference. A checksum that was wrong, on purpose or because the card
//! should have filled it in, is then as wrong as before; [`repair`] makes it right instead.

use super::layers::{Layers, Version};

/// Which checksums a field is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// The IPv4 header's only (TTL, TOS).
    Ip,
    /// That of TCP or UDP only (ports).
    L4,
    /// Both: addresses, which are in the pseudo header too.
    Both,
}

/// Sum of 16-bit words, folded; an odd last byte is the high half of a word.
///
/// Two words are taken at once: carries from the lower to the higher one are put right when the sum is folded (RFC 1071, 2 (C)).
#[inline]
fn sum(bytes: &[u8], start: u32) -> u32 {
    let (fours, rest) = bytes.as_chunks::<4>();
    let mut sum = u64::from(start);
    for four in fours {
        sum += u64::from(u32::from_be_bytes(*four));
    }
    let (twos, odd) = rest.as_chunks::<2>();
    sum += twos.first().map_or(0, |two| u64::from(u16::from_be_bytes(*two)));
    sum += odd.first().map_or(0, |&byte| u64::from(byte) << 8);
    fold(sum)
}

#[inline]
fn fold(sum: u64) -> u32 {
    // 33 bits, 18, 17, 16.
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u32
}

/// Writes `new` at byte `at`, an even number of bytes into its header or the second of such a pair, and takes the checksums
/// along. What lies beyond the frame is left out.
pub fn replace(bytes: &mut [u8], layers: &Layers, at: usize, new: &[u8], covers: Covers) {
    let Some(ip) = layers.ip else { return };
    // Whole words, counted from the header's first byte.
    let start = at - (at - ip.at) % 2;
    let stop = at + new.len() + (at + new.len() - ip.at) % 2;
    let Some(words) = bytes.get_mut(start..stop) else { return };
    // Subtracting is adding the complement.
    let old = 0xffff - sum(words, 0);
    words[at - start..at - start + new.len()].copy_from_slice(new);
    let change = sum(words, old);
    let (header, l4) = places(bytes, layers, covers);
    if let Some(at) = header {
        add_to(bytes, at, change);
    }
    if let Some((at, udp)) = l4 {
        add_to(bytes, at, change);
        if udp && bytes[at..at + 2] == [0, 0] {
            bytes[at..at + 2].fill(0xff);
        }
    }
}

/// Where the checksum of IPv4's header is, and that of the protocol above and whether that is UDP, as far as they cover such a field and
/// are there.
fn places(bytes: &[u8], layers: &Layers, covers: Covers) -> (Option<usize>, Option<(usize, bool)>) {
    let Some(ip) = layers.ip else { return (None, None) };
    let header = (ip.version == Version::V4 && covers != Covers::L4).then_some(ip.at + 10);
    let protocol = layers.l4.map(|l4| l4.protocol);
    // ICMP of IPv4 has no pseudo header.
    let in_l4 = covers != Covers::Ip && protocol != Some(1);
    let l4 = layers.l4_checksum(bytes).filter(|_| in_l4).map(|at| (at, protocol == Some(17)));
    // None was made (RFC 768).
    let l4 = l4.filter(|&(at, udp)| !udp || bytes[at..at + 2] != [0, 0]);
    (header, l4)
}

/// The checksums of a frame without its addresses: for a frame that is sent again and again with others. The same as [`replace`] on the
/// frame as it was.
#[derive(Clone, Copy, Debug)]
pub struct Without {
    /// Where the checksum of IPv4's header is, and its complement without the addresses.
    header: Option<(usize, u32)>,
    /// The same of the protocol above, and whether it is UDP.
    l4: Option<(usize, u32, bool)>,
}

impl Without {
    /// Of a frame and what is in it now: parts of its addresses, each of which begins an even number of bytes into its header.
    pub fn new(bytes: &[u8], layers: &Layers, now: &[u32]) -> Without {
        let (header, l4) = places(bytes, layers, Covers::Both);
        let old = 0xffff - fold(words(now));
        let without = |at: usize| u32::from(!u16::from_be_bytes([bytes[at], bytes[at + 1]])) + old;
        Without { header: header.map(|at| (at, without(at))), l4: l4.map(|(at, udp)| (at, without(at), udp)) }
    }

    /// Writes the checksums of the frame with these in the same places, which are not written.
    #[inline]
    pub fn write(&self, bytes: &mut [u8], new: &[u32]) {
        let new = words(new);
        let mut put = |at: usize, value: u16| {
            if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
                *place = value.to_be_bytes();
            }
        };
        if let Some((at, without)) = self.header {
            put(at, !(fold(u64::from(without) + new) as u16));
        }
        if let Some((at, without, udp)) = self.l4 {
            let value = !(fold(u64::from(without) + new) as u16);
            put(at, if udp && value == 0 { 0xffff } else { value });
        }
    }
}

/// The sum, not folded.
#[inline]
fn words(pairs: &[u32]) -> u64 {
    pairs.iter().map(|&pair| u64::from(pair)).sum()
}

/// HC' = ~(~HC + ~m + m') (RFC 1624, equation 3).
fn add_to(bytes: &mut [u8], at: usize, change: u32) {
    let Some(field) = bytes.get_mut(at..at + 2) else { return };
    let old = u16::from_be_bytes([field[0], field[1]]);
    let new = !(fold(u64::from(!old) + u64::from(change)) as u16);
    field.copy_from_slice(&new.to_be_bytes());
}

/// Makes the checksums of IPv4, TCP, UDP and ICMP anew, where the frame has all that they cover. Returns whether all were.
pub fn repair(bytes: &mut [u8]) -> bool {
    let Some(layers) = Layers::of(bytes) else { return true };
    let Some(ip) = layers.ip else { return true };
    if ip.version == Version::V4 {
        let end = layers.l4.map_or(ip.at + usize::from(bytes[ip.at] & 15) * 4, |l4| l4.at);
        bytes[ip.at + 10..ip.at + 12].fill(0);
        let header = !(sum(&bytes[ip.at..end], 0) as u16);
        bytes[ip.at + 10..ip.at + 12].copy_from_slice(&header.to_be_bytes());
    }
    let (Some(l4), Some(at)) = (layers.l4, layers.l4_checksum(bytes)) else {
        return layers.l4.is_none_or(|l4| ![1, 6, 17, 58].contains(&l4.protocol));
    };
    if ip.end > bytes.len() || ip.end < at + 2 || l4.fragment {
        return false;
    }
    let Some([src, dst]) = layers.address_ranges() else { return true };
    bytes[at..at + 2].fill(0);
    let pseudo = match (l4.protocol, ip.version) {
        (1, Version::V4) => 0,
        _ => {
            let len = (ip.end - l4.at) as u32;
            let rest = [len.to_be_bytes(), u32::from(l4.protocol).to_be_bytes()].concat();
            sum(&rest, sum(&bytes[src.start..dst.end], 0))
        }
    };
    let mut value = !(sum(&bytes[l4.at..ip.end], pseudo) as u16);
    if l4.protocol == 17 && value == 0 {
        value = 0xffff;
    }
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The IPv4 header of RFC 1624's time: an example worked out by hand in many places, checksum b861.
    const HEADER: [u8; 20] =
        [0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7];

    fn udp(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend(HEADER);
        frame[16..18].copy_from_slice(&(28 + payload.len() as u16).to_be_bytes());
        frame.extend([0x10, 0x00, 0x00, 0x07]);
        frame.extend((8 + payload.len() as u16).to_be_bytes());
        frame.extend([0xde, 0xad]);
        frame.extend(payload);
        assert!(repair(&mut frame));
        frame
    }

    #[test]
    fn a_header_worked_out_by_hand() {
        let mut frame = [&[0; 12], &[0x08, 0x00][..], &HEADER].concat();
        frame[24..26].fill(0x55);
        assert!(repair(&mut frame));
        assert_eq!(frame[14..34], HEADER);
    }

    proptest! {
        /// In one step from the frame as it was, or in two: addresses of both sides, of all protocols and checksums.
        #[test]
        fn without_the_addresses_is_replacing_them(
            mut frame in prop::collection::vec(any::<u8>(), 54..90),
            protocol in prop::sample::select(vec![1_u8, 6, 17, 58, 99]),
            v6: bool,
            none: bool,
            new: [u32; 2],
        ) {
            frame[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[8, 0] });
            if v6 {
                (frame[14], frame[20]) = (0x60, protocol);
            } else {
                (frame[14], frame[20], frame[21], frame[23]) = (0x45, 0, 0, protocol);
            }
            let layers = Layers::of(&frame).unwrap();
            if none && let Some(at) = layers.l4_checksum(&frame) {
                frame[at..at + 2].fill(0);
            }
            let places = layers.address_ranges().unwrap().map(|range| range.end - 4);
            let now = places.map(|at| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap()));
            let without = Without::new(&frame, &layers, &now);
            let mut replaced = frame.clone();
            for (at, new) in places.into_iter().zip(new) {
                replace(&mut replaced, &layers, at, &new.to_be_bytes(), Covers::Both);
                frame[at..at + 4].copy_from_slice(&new.to_be_bytes());
            }
            without.write(&mut frame, &new);
            prop_assert_eq!(frame, replaced);
        }

        /// The wire crate's arithmetic is another's: what we made must come to 0 there.
        #[test]
        fn changed_and_made_anew_are_the_same(
            payload in proptest::collection::vec(any::<u8>(), 0..60), address: [u8; 4], ttl: u8, tos: u8, port: [u8; 2], dst: bool,
        ) {
            let mut frame = udp(&payload);
            let layers = Layers::of(&frame).unwrap();
            replace(&mut frame, &layers, if dst { 30 } else { 26 }, &address, Covers::Both);
            replace(&mut frame, &layers, 22, &[ttl], Covers::Ip);
            replace(&mut frame, &layers, 15, &[tos], Covers::Ip);
            replace(&mut frame, &layers, 36, &port, Covers::L4);
            prop_assert_eq!(wire::checksum::checksum(&frame[14..34]), 0);
            let mut anew = frame.clone();
            anew[24..26].fill(0x12);
            prop_assert!(repair(&mut anew));
            // 0 and ffff are one number in this arithmetic, and RFC 768 never sends 0.
            prop_assert_eq!(frame, anew);
        }

        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), v6: bool, tagged: bool) {
            if bytes.len() > 20 {
                bytes[12..14].copy_from_slice(&if tagged { 0x8100u16 } else if v6 { 0x86dd } else { 0x0800 }.to_be_bytes());
                let at = if tagged { 18 } else { 14 };
                if tagged {
                    bytes[16..18].copy_from_slice(&if v6 { 0x86ddu16 } else { 0x0800 }.to_be_bytes());
                }
                bytes[at] = if v6 { 0x60 } else { 0x45 };
            }
            repair(&mut bytes);
            if let Some(layers) = Layers::of(&bytes)
                && let Some([src, _]) = layers.address_ranges()
            {
                let new = vec![7; src.len()];
                replace(&mut bytes, &layers, src.start, &new, Covers::Both);
            }
        }
    }
}
