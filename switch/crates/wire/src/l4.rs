//! UDP (RFC 768), TCP (RFC 9293) and ICMP (RFC 792, RFC 4443) headers as views.
//!
//! They take the payload of an IP packet that is no later fragment: a later fragment has no transport header.

/// A UDP datagram whose header and length are proved to be there.
#[derive(Clone, Copy)]
pub struct Udp<'a> {
    header: &'a [u8; UDP_HEADER_LEN],
    payload: &'a [u8],
}

/// Bytes of a UDP header.
pub const UDP_HEADER_LEN: usize = 8;
/// Bytes of a TCP header without options.
pub const TCP_HEADER_LEN: usize = 20;
/// Bytes of what all ICMP messages start with: type, code, checksum.
pub const ICMP_HEADER_LEN: usize = 4;

impl<'a> Udp<'a> {
    /// `None` unless the length field is at least 8 and fits into `bytes`.
    pub fn new_checked(bytes: &'a [u8]) -> Option<Udp<'a>> {
        let header = bytes.first_chunk::<UDP_HEADER_LEN>()?;
        let payload = bytes.get(UDP_HEADER_LEN..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
        Some(Udp { header, payload })
    }

    /// Source port; 0 means none.
    pub fn src_port(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// The checksum field; 0 means none over IPv4.
    pub fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.header[6], self.header[7]])
    }

    /// What follows the header, up to the length field.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// The flags of a TCP segment (RFC 9293 §3.1, the bits from FIN in bit 0 to CWR in bit 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// Reset the connection.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// Push function.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// The acknowledgement field counts.
    pub const ACK: TcpFlags = TcpFlags(0x10);
    /// The urgent pointer counts.
    pub const URG: TcpFlags = TcpFlags(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: TcpFlags = TcpFlags(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: TcpFlags = TcpFlags(0x80);

    /// All bits of `flags` are set.
    pub const fn contains(self, flags: TcpFlags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// The names of the set flags, from SYN on in the order people say them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [(TcpFlags, &str); 8] = [
            (TcpFlags::SYN, "SYN"),
            (TcpFlags::FIN, "FIN"),
            (TcpFlags::RST, "RST"),
            (TcpFlags::PSH, "PSH"),
            (TcpFlags::ACK, "ACK"),
            (TcpFlags::URG, "URG"),
            (TcpFlags::ECE, "ECE"),
            (TcpFlags::CWR, "CWR"),
        ];
        NAMES.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| name)
    }
}

/// A TCP segment whose header with its options is proved to be there.
#[derive(Clone, Copy)]
pub struct Tcp<'a> {
    header: &'a [u8; TCP_HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Tcp<'a> {
    /// `None` unless the data offset is at least 20 bytes and fits into `bytes`.
    pub fn new_checked(bytes: &'a [u8]) -> Option<Tcp<'a>> {
        let header = bytes.first_chunk::<TCP_HEADER_LEN>()?;
        let header_len = usize::from(header[12] >> 4) * 4;
        if header_len < TCP_HEADER_LEN {
            return None;
        }
        Some(Tcp { header, payload: bytes.get(header_len..)? })
    }

    /// Source port.
    pub fn src_port(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// Sequence number of the first byte of the payload.
    pub fn sequence(&self) -> u32 {
        u32::from_be_bytes([self.header[4], self.header[5], self.header[6], self.header[7]])
    }

    /// The next sequence number expected, if ACK is set.
    pub fn acknowledgement(&self) -> u32 {
        u32::from_be_bytes([self.header[8], self.header[9], self.header[10], self.header[11]])
    }

    /// Bytes of the header with its options, 20 to 60.
    pub fn header_len(&self) -> usize {
        usize::from(self.header[12] >> 4) * 4
    }

    /// The flags.
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(self.header[13])
    }

    /// Receive window, unscaled.
    pub fn window(&self) -> u16 {
        u16::from_be_bytes([self.header[14], self.header[15]])
    }

    /// What follows the header and its options.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// An ICMP or ICMPv6 message whose type, code and checksum are proved to be there.
#[derive(Clone, Copy)]
pub struct Icmp<'a> {
    message: &'a [u8],
}

impl<'a> Icmp<'a> {
    /// `None` if there are fewer than four bytes.
    pub fn new_checked(bytes: &'a [u8]) -> Option<Icmp<'a>> {
        (bytes.len() >= ICMP_HEADER_LEN).then_some(Icmp { message: bytes })
    }

    /// Type; ICMP and ICMPv6 number differently.
    pub fn icmp_type(&self) -> u8 {
        self.message[0]
    }

    /// Code, a finer type.
    pub fn code(&self) -> u8 {
        self.message[1]
    }

    /// The checksum field. ICMPv6 sums the pseudo header too ([`crate::checksum::Sum::with_ipv6`]).
    pub fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.message[2], self.message[3]])
    }

    /// The whole message, for checksums.
    pub fn bytes(&self) -> &'a [u8] {
        self.message
    }

    /// What follows the checksum.
    pub fn payload(&self) -> &'a [u8] {
        &self.message[ICMP_HEADER_LEN..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::checksum;
    use proptest::prelude::*;

    #[test]
    fn udp_fields_and_lengths() {
        let mut bytes = [0xc0, 0x01, 0x00, 0x35, 0x00, 0x0a, 0x12, 0x34, 0xaa, 0xbb, 0x00];
        let udp = Udp::new_checked(&bytes).unwrap();
        assert_eq!((udp.src_port(), udp.dst_port(), udp.checksum(), udp.payload()), (0xc001, 53, 0x1234, &[0xaa, 0xbb][..]));
        for (len, fits) in [(0, false), (7, false), (8, true), (11, true), (12, false)] {
            bytes[5] = len;
            assert_eq!(Udp::new_checked(&bytes).is_some(), fits, "{len}");
        }
        assert!(Udp::new_checked(&bytes[..7]).is_none());
    }

    #[test]
    fn tcp_fields_and_lengths() {
        let mut bytes = [
            0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, 0x12, 0xfa, 0xf0, 0, 0, 0, 0, 2, 4, 5, 0xb4, 0x16, //
        ];
        let tcp = Tcp::new_checked(&bytes).unwrap();
        assert_eq!((tcp.src_port(), tcp.dst_port(), tcp.sequence(), tcp.acknowledgement()), (40000, 443, 1, 2));
        assert_eq!((tcp.header_len(), tcp.window(), tcp.payload()), (24, 64240, &[0x16][..]));
        assert!(tcp.flags().contains(TcpFlags::SYN) && tcp.flags().contains(TcpFlags::ACK) && !tcp.flags().contains(TcpFlags::FIN));
        assert_eq!(tcp.flags().names().collect::<Vec<_>>(), ["SYN", "ACK"]);
        for (offset, fits) in [(0x40, false), (0x50, true), (0x70, false)] {
            bytes[12] = offset;
            assert_eq!(Tcp::new_checked(&bytes).is_some(), fits, "{offset:#x}");
        }
        assert!(Tcp::new_checked(&bytes[..19]).is_none());
    }

    #[test]
    fn icmp_fields() {
        let echo = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
        let icmp = Icmp::new_checked(&echo).unwrap();
        assert_eq!((icmp.icmp_type(), icmp.code(), icmp.checksum(), icmp.payload()), (8, 0, 0xf7fd, &[0, 1, 0, 1][..]));
        assert_eq!(checksum(icmp.bytes()), 0);
        assert!(Icmp::new_checked(&echo[..4]).is_some() && Icmp::new_checked(&echo[..3]).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(udp) = Udp::new_checked(&bytes) {
                prop_assert!(udp.payload().len() + UDP_HEADER_LEN <= bytes.len());
            }
            if let Some(tcp) = Tcp::new_checked(&bytes) {
                prop_assert_eq!(tcp.payload().len() + tcp.header_len(), bytes.len());
                let _ = tcp.flags().names().count();
            }
            if let Some(icmp) = Icmp::new_checked(&bytes) {
                prop_assert_eq!(icmp.payload().len() + ICMP_HEADER_LEN, bytes.len());
            }
        }
    }
}
