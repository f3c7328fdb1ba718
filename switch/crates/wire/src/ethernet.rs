//! Ethernet frames (IEEE 802.3 clause 3, IEEE 802.2 LLC, IEEE 802.1Q tags).
//!
//! [`Frame`] is the view for code that is not per packet: it proves once that the addresses, the tags and the type are
//! there, and keeps where the payload starts. A frame may be shorter than [`MIN_FRAME_LEN`] (a capture taken before the
//! padding has such frames); whether to accept it is the reader's decision.
//!
//! Lengths are without preamble and FCS everywhere, as network interfaces hand frames over.

use std::fmt;

use crate::MacAddr;
use crate::vlan::{TAG_LEN, TPID_8021AD, TPID_8021Q, Tci};

/// Bytes of the header of an untagged frame: destination, source, EtherType or length.
pub const HEADER_LEN: usize = 14;
/// The shortest frame in bytes, without FCS (IEEE 802.3-2018 §4A.4.2, minFrameSize less 4).
pub const MIN_FRAME_LEN: usize = 60;
/// The longest frame in bytes, without FCS: the largest jumbo frame that is common in the field. IEEE 802.3 ends at 1,518 and 2,000.
pub const MAX_FRAME_LEN: usize = 9216;
/// Bytes of the frame check sequence, which the other lengths leave out.
pub const FCS_LEN: usize = 4;
/// Bytes of time a frame takes on the wire beside itself and its FCS: preamble 7, start delimiter 1, interpacket gap 12 (IEEE 802.3-2018 §4.2).
pub const WIRE_OVERHEAD: usize = 20;
/// The most stacked tags that [`Frame`] walks; what follows them is payload even if it looks like one more tag.
pub const MAX_TAGS: usize = 4;
/// The largest value of the type field that is a length (IEEE 802.3-2018 §3.2.6).
pub const MAX_LENGTH: u16 = 1500;

/// The type field of a frame: what the payload is or, up to 1,500, how long it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: EtherType = EtherType(0x0800);
    /// Address Resolution Protocol (RFC 826).
    pub const ARP: EtherType = EtherType(0x0806);
    /// Wake-on-LAN magic packet.
    pub const WAKE_ON_LAN: EtherType = EtherType(0x0842);
    /// TRILL (RFC 6325).
    pub const TRILL: EtherType = EtherType(0x22f3);
    /// C-VLAN tag (IEEE 802.1Q).
    pub const VLAN: EtherType = EtherType(TPID_8021Q);
    /// IPv6 (RFC 2464).
    pub const IPV6: EtherType = EtherType(0x86dd);
    /// Ethernet flow control: pause and PFC (IEEE 802.3 annex 31B, 802.1Qbb).
    pub const PAUSE: EtherType = EtherType(0x8808);
    /// Slow protocols: LACP, marker, OAM (IEEE 802.3 annex 57A).
    pub const SLOW: EtherType = EtherType(0x8809);
    /// MPLS unicast (RFC 3032).
    pub const MPLS: EtherType = EtherType(0x8847);
    /// PPPoE discovery (RFC 2516).
    pub const PPPOE_DISCOVERY: EtherType = EtherType(0x8863);
    /// PPPoE session (RFC 2516).
    pub const PPPOE_SESSION: EtherType = EtherType(0x8864);
    /// Port authentication, EAP over LAN (IEEE 802.1X).
    pub const EAPOL: EtherType = EtherType(0x888e);
    /// S-VLAN tag (IEEE 802.1Q, formerly 802.1ad).
    pub const QINQ: EtherType = EtherType(TPID_8021AD);
    /// The chassis message ([`crate::message`]): IEEE 802 local experimental EtherType 1.
    pub const MESSAGE: EtherType = EtherType(0x88b5);
    /// What switch blades of joined chassis say to each other: the second EtherType for local experiments (IEEE 802 §9.2.3).
    pub const CHASSIS: EtherType = EtherType(0x88b6);
    /// Link Layer Discovery Protocol (IEEE 802.1AB).
    pub const LLDP: EtherType = EtherType(0x88cc);
    /// MAC security (IEEE 802.1AE).
    pub const MACSEC: EtherType = EtherType(0x88e5);
    /// Precision Time Protocol (IEEE 1588 annex F).
    pub const PTP: EtherType = EtherType(0x88f7);
    /// Connectivity fault management (IEEE 802.1ag).
    pub const CFM: EtherType = EtherType(0x8902);
    /// Fibre Channel over Ethernet (T11 FC-BB-5).
    pub const FCOE: EtherType = EtherType(0x8906);
    /// Loopback test (configuration testing protocol of Ethernet II).
    pub const LOOPBACK: EtherType = EtherType(0x9000);

    /// The field is a length, up to 1,500, and LLC follows. 1,501 to 1,535 are neither lengths nor types (IEEE 802.3-2018 §3.2.6).
    #[inline]
    pub const fn is_length(self) -> bool {
        self.0 <= MAX_LENGTH
    }

    /// The type of an 802.1Q or 802.1ad tag.
    #[inline]
    pub const fn is_tag(self) -> bool {
        matches!(self.0, TPID_8021Q | TPID_8021AD)
    }

    /// What the field calls it; `None` for a length and for types without a constant here.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::IPV4 => "IPv4",
            Self::ARP => "ARP",
            Self::WAKE_ON_LAN => "Wake-on-LAN",
            Self::TRILL => "TRILL",
            Self::VLAN => "802.1Q",
            Self::IPV6 => "IPv6",
            Self::PAUSE => "flow control",
            Self::SLOW => "slow protocols",
            Self::MPLS => "MPLS",
            Self::PPPOE_DISCOVERY => "PPPoE discovery",
            Self::PPPOE_SESSION => "PPPoE session",
            Self::EAPOL => "EAPOL",
            Self::QINQ => "802.1ad",
            Self::MESSAGE => "chassis message",
            Self::LLDP => "LLDP",
            Self::MACSEC => "MACsec",
            Self::PTP => "PTP",
            Self::CFM => "CFM",
            Self::FCOE => "FCoE",
            Self::LOOPBACK => "loopback",
            EtherType(_) => return None,
        })
    }
}

impl fmt::Display for EtherType {
    /// The name, or `length 38`, or `0x88f8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None if self.is_length() => write!(f, "length {}", self.0),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtherType({:#06x})", self.0)
    }
}

/// One VLAN tag as it stands in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Tag protocol identifier: [`EtherType::VLAN`] or [`EtherType::QINQ`].
    pub tpid: EtherType,
    /// Priority, drop eligibility and VID.
    pub tci: Tci,
}

/// A frame whose addresses, tags and type are proved to be there.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    /// Where the payload starts: [`HEADER_LEN`] and [`TAG_LEN`] for each tag. Never beyond `bytes`.
    payload_start: usize,
}

impl<'a> Frame<'a> {
    /// `None` if the frame ends before the type field that follows its last tag.
    pub fn new_checked(bytes: &'a [u8]) -> Option<Frame<'a>> {
        let mut payload_start = HEADER_LEN;
        for _ in 0..MAX_TAGS {
            if !type_before(bytes, payload_start)?.is_tag() {
                break;
            }
            payload_start += TAG_LEN;
        }
        type_before(bytes, payload_start)?;
        Some(Frame { bytes, payload_start })
    }

    /// The destination: for a chassis message its initial destination.
    pub fn dst(&self) -> MacAddr {
        MacAddr(octets(self.bytes, 0))
    }

    /// The source.
    pub fn src(&self) -> MacAddr {
        MacAddr(octets(self.bytes, 6))
    }

    /// The tags, outermost first; at most [`MAX_TAGS`].
    pub fn tags(&self) -> impl ExactSizeIterator<Item = Tag> + use<'a> {
        let tags = &self.bytes[HEADER_LEN - 2..self.payload_start - 2];
        tags.chunks_exact(TAG_LEN)
            .map(|tag| Tag { tpid: EtherType(u16::from_be_bytes(octets(tag, 0))), tci: Tci(u16::from_be_bytes(octets(tag, 2))) })
    }

    /// The type after the tags. A tag type if the frame has more than [`MAX_TAGS`] tags.
    pub fn ethertype(&self) -> EtherType {
        EtherType(u16::from_be_bytes(octets(self.bytes, self.payload_start - 2)))
    }

    /// What follows the type, padding included.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.payload_start..]
    }

    /// The whole frame.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The LLC header, if the type field is a length that the frame holds and that has room for the header.
    pub fn llc(&self) -> Option<Llc<'a>> {
        let ethertype = self.ethertype();
        if !ethertype.is_length() {
            return None;
        }
        Llc::new_checked(self.payload().get(..usize::from(ethertype.0))?)
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Frame");
        out.field("dst", &self.dst()).field("src", &self.src()).field("tags", &self.tags().collect::<Vec<_>>());
        out.field("ethertype", &self.ethertype()).field("payload_len", &self.payload().len()).finish()
    }
}

/// An LLC protocol data unit (IEEE 802.2 §3), SNAP included (IEEE 802-2014 §9.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Llc<'a> {
    /// Destination service access point: 0x42 spanning tree, 0xfe ISO, 0xaa SNAP.
    pub dsap: u8,
    /// Source service access point; bit 0 tells a response from a command.
    pub ssap: u8,
    /// Control field; I and S formats have two octets, of which the first is in the low bits.
    pub control: u16,
    /// Organisation and its protocol, if both access points are SNAP's.
    pub snap: Option<Snap>,
    /// What follows the header, padding of the frame left out.
    pub payload: &'a [u8],
}

/// The organisation's protocol in a SNAP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snap {
    /// Organisationally unique identifier; 00:00:00 means that `pid` is an EtherType (RFC 1042).
    pub oui: [u8; 3],
    /// The protocol in the organisation's own numbering.
    pub pid: u16,
}

impl<'a> Llc<'a> {
    /// The access point of spanning tree BPDUs (IEEE 802.1D).
    pub const SAP_STP: u8 = 0x42;
    /// The access point that announces a SNAP header.
    pub const SAP_SNAP: u8 = 0xaa;

    /// `pdu` is as long as the frame's length field says. `None` if it ends within the header.
    pub fn new_checked(pdu: &'a [u8]) -> Option<Llc<'a>> {
        let [dsap, ssap, control, rest @ ..] = pdu else { return None };
        // Two low bits of one mark the U format, the only one with one octet (IEEE 802.2 §5.2).
        let (control, rest) = match (control & 3, rest) {
            (3, rest) => (u16::from(*control), rest),
            (_, [second, rest @ ..]) => (u16::from_le_bytes([*control, *second]), rest),
            (_, []) => return None,
        };
        let mut llc = Llc { dsap: *dsap, ssap: *ssap, control, snap: None, payload: rest };
        if *dsap == Self::SAP_SNAP && ssap & 0xfe == Self::SAP_SNAP {
            let [o0, o1, o2, p0, p1, payload @ ..] = rest else { return None };
            llc.snap = Some(Snap { oui: [*o0, *o1, *o2], pid: u16::from_be_bytes([*p0, *p1]) });
            llc.payload = payload;
        }
        Some(llc)
    }
}

/// A frame of these parts, with zeros after the payload up to [`MIN_FRAME_LEN`]. For control and tests; it allocates.
///
/// Tags are written in the order given, outermost first. The length is not limited here.
pub fn emit(dst: MacAddr, src: MacAddr, tags: &[Tag], ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    let len = HEADER_LEN + TAG_LEN * tags.len() + payload.len();
    let mut frame = Vec::with_capacity(len.max(MIN_FRAME_LEN));
    frame.extend_from_slice(&dst.0);
    frame.extend_from_slice(&src.0);
    for tag in tags {
        frame.extend_from_slice(&tag.tpid.0.to_be_bytes());
        frame.extend_from_slice(&tag.tci.0.to_be_bytes());
    }
    frame.extend_from_slice(&ethertype.0.to_be_bytes());
    frame.extend_from_slice(payload);
    if frame.len() < MIN_FRAME_LEN {
        frame.resize(MIN_FRAME_LEN, 0);
    }
    frame
}

/// The type field that ends at `end`, which is at least two.
fn type_before(bytes: &[u8], end: usize) -> Option<EtherType> {
    bytes.get(end - 2..)?.first_chunk().map(|octets| EtherType(u16::from_be_bytes(*octets)))
}

/// `N` octets from `start`; the caller has proved that they are there.
fn octets<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[start..start + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vid;
    use proptest::prelude::*;

    const DST: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const SRC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    #[test]
    fn an_untagged_frame() {
        let bytes = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x06, 0xaa, 0xbb];
        let frame = Frame::new_checked(&bytes).unwrap();
        assert_eq!((frame.dst(), frame.src(), frame.ethertype()), (DST, SRC, EtherType::ARP));
        assert_eq!((frame.tags().len(), frame.payload()), (0, &[0xaa, 0xbb][..]));
        assert!(Frame::new_checked(&bytes[..14]).unwrap().payload().is_empty());
        assert!(Frame::new_checked(&bytes[..13]).is_none());
        assert!(Frame::new_checked(&[]).is_none());
    }

    #[test]
    fn stacked_tags_are_walked_outermost_first() {
        let bytes = [
            2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xa8, 0x20, 0x64, 0x81, 0x00, 0xe0, 0x00, 0x86, 0xdd, 0x60, //
        ];
        let frame = Frame::new_checked(&bytes).unwrap();
        let tags: Vec<Tag> = frame.tags().collect();
        assert_eq!(tags[0], Tag { tpid: EtherType::QINQ, tci: Tci(0x2064) });
        assert_eq!((tags[0].tci.pcp(), tags[0].tci.vid()), (1, Vid::new(100)));
        assert_eq!(tags[1], Tag { tpid: EtherType::VLAN, tci: Tci(0xe000) });
        assert_eq!((tags.len(), frame.ethertype(), frame.payload()), (2, EtherType::IPV6, &[0x60][..]));
        // The type after the last tag must be there, at every cut.
        for len in 0..22 {
            assert!(Frame::new_checked(&bytes[..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn the_fifth_tag_is_payload() {
        let tag = Tag { tpid: EtherType::VLAN, tci: Tci(7) };
        let four = emit(DST, SRC, &[tag; 4], EtherType::IPV4, &[1]);
        let frame = Frame::new_checked(&four).unwrap();
        assert_eq!((frame.tags().len(), frame.ethertype(), frame.payload()[0]), (4, EtherType::IPV4, 1));
        let five = emit(DST, SRC, &[tag; 5], EtherType::IPV4, &[1]);
        let frame = Frame::new_checked(&five).unwrap();
        assert_eq!((frame.tags().len(), frame.ethertype()), (4, EtherType::VLAN));
        assert_eq!(frame.payload()[..5], [0, 7, 0x08, 0, 1]);
    }

    #[test]
    fn a_bpdu_has_llc() {
        let mut bytes = emit(MacAddr([1, 0x80, 0xc2, 0, 0, 0]), SRC, &[], EtherType(5), &[0x42, 0x42, 0x03, 0, 0]);
        let llc = Frame::new_checked(&bytes).unwrap().llc().unwrap();
        assert_eq!((llc.dsap, llc.ssap, llc.control, llc.snap, llc.payload), (Llc::SAP_STP, 0x42, 3, None, &[0, 0][..]));
        bytes.truncate(18); // The length says five, four are there.
        assert!(Frame::new_checked(&bytes).unwrap().llc().is_none());
    }

    #[test]
    fn snap_and_two_octet_control() {
        let snap = [0xaa, 0xaa, 0x03, 0x00, 0x00, 0x0c, 0x20, 0x00, 0x01]; // Cisco, CDP
        let llc = Llc::new_checked(&snap).unwrap();
        assert_eq!(llc.snap, Some(Snap { oui: [0, 0, 0x0c], pid: 0x2000 }));
        assert_eq!(llc.payload, [1]);
        assert!(Llc::new_checked(&snap[..8]).unwrap().payload.is_empty());
        assert!(Llc::new_checked(&snap[..7]).is_none());
        let supervisory = [0xf0, 0xf1, 0x01, 0x0a];
        assert_eq!(Llc::new_checked(&supervisory).unwrap().control, 0x0a01);
        assert!(Llc::new_checked(&supervisory[..3]).is_none());
        assert!(Llc::new_checked(&[0x42, 0x42]).is_none());
    }

    #[test]
    fn types_and_lengths() {
        assert!(EtherType(0).is_length() && EtherType(1500).is_length());
        assert!(!EtherType(1501).is_length() && !EtherType(1536).is_length());
        assert!(EtherType::VLAN.is_tag() && EtherType::QINQ.is_tag() && !EtherType(0x9100).is_tag());
        assert_eq!(EtherType::MESSAGE.to_string(), "chassis message");
        assert_eq!(EtherType(38).to_string(), "length 38");
        assert_eq!(EtherType(0x0600).to_string(), "0x0600");
    }

    #[test]
    fn frames_are_padded_to_the_minimum_and_no_further() {
        assert_eq!(emit(DST, SRC, &[], EtherType::IPV4, &[1; 45]).len(), 60);
        assert_eq!(emit(DST, SRC, &[], EtherType::IPV4, &[1; 46]).len(), 60);
        assert_eq!(emit(DST, SRC, &[], EtherType::IPV4, &[1; 47]).len(), 61);
        assert_eq!(emit(DST, SRC, &[], EtherType::IPV4, &[1; 45])[59], 0);
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_read(dst: [u8; 6], src: [u8; 6], tags in prop::collection::vec(any::<(bool, u16)>(), 0..=MAX_TAGS),
                                   ethertype in 1536u16.., payload in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assume!(!EtherType(ethertype).is_tag());
            let tags: Vec<Tag> = tags.into_iter()
                .map(|(s, tci)| Tag { tpid: if s { EtherType::QINQ } else { EtherType::VLAN }, tci: Tci(tci) }).collect();
            let bytes = emit(MacAddr(dst), MacAddr(src), &tags, EtherType(ethertype), &payload);
            prop_assert!(bytes.len() >= MIN_FRAME_LEN);
            let frame = Frame::new_checked(&bytes).unwrap();
            prop_assert_eq!((frame.dst().0, frame.src().0, frame.ethertype().0), (dst, src, ethertype));
            prop_assert_eq!(frame.tags().collect::<Vec<_>>(), tags);
            prop_assert!(frame.payload().starts_with(&payload));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x81), Just(0)], 0..80)) {
            if let Some(frame) = Frame::new_checked(&bytes) {
                let _ = (format!("{frame:?}"), frame.llc());
            }
            let _ = Llc::new_checked(&bytes);
        }
    }
}
