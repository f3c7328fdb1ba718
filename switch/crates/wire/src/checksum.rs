//! The Internet checksum (RFC 1071) and the pseudo headers of IPv4 (RFC 768) and IPv6 (RFC 8200 §8.1).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::ip::Protocol;

/// The checksum to put into a field that was zero when `bytes` was summed. Over bytes that hold their checksum it is 0 if they are intact.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = Sum::new();
    sum.add(bytes);
    sum.finish()
}

/// A one's complement sum in progress.
///
/// Bounds: the sum is 64 bits wide and never folded before the end; it holds 2^48 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// An empty sum.
    pub const fn new() -> Sum {
        Sum(0)
    }

    /// The pseudo header of UDP, TCP over IPv4. `len` is the bytes of the transport header and its payload.
    pub fn with_ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, len: u16) -> Sum {
        let mut sum = Sum(u64::from(protocol.0) + u64::from(len));
        sum.add(&src.octets());
        sum.add(&dst.octets());
        sum
    }

    /// The pseudo header of UDP, TCP and ICMPv6 over IPv6. `len` is the bytes of the upper layer's header and payload.
    pub fn with_ipv6(src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol, len: u32) -> Sum {
        // Summing 16-bit words commutes with adding the number whole: the fold at the end adds its halves.
        let mut sum = Sum(u64::from(protocol.0) + u64::from(len));
        sum.add(&src.octets());
        sum.add(&dst.octets());
        sum
    }

    /// Adds bytes as big-endian words. An odd last byte counts as if a zero followed: only the last part may be odd.
    pub fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<2>();
        self.0 += words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
        if let [last] = rest {
            self.0 += u64::from(*last) << 8;
        }
    }

    /// The complement of the sum, folded to 16 bits.
    pub fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes), !0xddf2);
        assert_eq!(checksum(&bytes[..7]), !0xdcfb); // The last word is 0xf600: 0x0001 + 0xf203 + 0xf4f5 + 0xf600 = 0x2dcf9.
    }

    #[test]
    fn nothing_sums_to_zero() {
        assert_eq!(checksum(&[]), 0xffff);
        assert_eq!(checksum(&[0; 40]), 0xffff);
        assert_eq!(checksum(&[0xff; 20]), 0);
    }

    #[test]
    fn pseudo_headers() {
        // A DNS query of four bytes of payload, summed by hand: addresses, 17, 12, then the datagram.
        let udp = [0xc0, 0x00, 0x00, 0x35, 0x00, 0x0c, 0x00, 0x00, 0xde, 0xad, 0xbe, 0xef];
        let mut sum = Sum::with_ipv4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), Protocol::UDP, 12);
        sum.add(&udp);
        let mut whole = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, 12];
        whole.extend_from_slice(&udp);
        assert_eq!(sum.finish(), checksum(&whole));

        let (src, dst) = (Ipv6Addr::LOCALHOST, Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, 4));
        let sum = Sum::with_ipv6(src, dst, Protocol::ICMPV6, 0x0001_0002);
        let mut whole = Vec::new();
        whole.extend_from_slice(&src.octets());
        whole.extend_from_slice(&dst.octets());
        whole.extend_from_slice(&[0, 1, 0, 2, 0, 0, 0, 58]);
        assert_eq!(sum.finish(), checksum(&whole));
    }

    proptest! {
        #[test]
        fn bytes_with_their_checksum_sum_to_nought(mut bytes in prop::collection::vec(any::<u8>(), 2..300)) {
            bytes[0] = 0;
            bytes[1] = 0;
            let sum = checksum(&bytes);
            bytes[..2].copy_from_slice(&sum.to_be_bytes());
            prop_assert_eq!(checksum(&bytes), 0);
        }

        #[test]
        fn parts_sum_as_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..150) {
            let cut = (cut * 2).min(bytes.len() & !1);
            let mut sum = Sum::new();
            sum.add(&bytes[..cut]);
            sum.add(&bytes[cut..]);
            prop_assert_eq!(sum.finish(), checksum(&bytes));
        }
    }
}
