//! What rtnetlink says of an interface (`linux/rtnetlink.h`, `linux/if_link.h`): `struct ifinfomsg` and its attributes.

use wire::MacAddr;

use crate::device::LinkState;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_CARRIER_DOWN_COUNT: u16 = 48;
/// The flags that must all be there for frames to pass: switched on, operational, carrier.
const RUNNING: u32 = (libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOWER_UP) as u32;

/// An interface as it is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number; another one when it was deleted and made again.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `IFF_…`.
    pub flags: u32,
    /// The kind of hardware: 1 is Ethernet (`ARPHRD_…`).
    pub hardware: u16,
    /// The most bytes of payload in a frame.
    pub mtu: u32,
    /// Its address, if it is six bytes long.
    pub mac: Option<MacAddr>,
    /// What made it: `veth`, `tun`, `bridge`; empty for a card.
    pub kind: String,
    /// For a veth the index of its other end, in that one's namespace.
    pub peer: Option<u32>,
    /// Number of the namespace the other end is in, if it is another one.
    pub peer_namespace: Option<i32>,
    /// How often it has lost its carrier.
    pub carrier_downs: u32,
}

impl Link {
    /// Do frames pass?
    pub fn state(&self) -> LinkState {
        if self.flags & RUNNING == RUNNING { LinkState::Up } else { LinkState::Down }
    }

    /// Why frames do not pass, in words.
    pub fn why_down(&self) -> &'static str {
        if self.flags & libc::IFF_UP as u32 == 0 { "switched off" } else { "no carrier" }
    }

    /// Reads the body of an RTM_NEWLINK message.
    pub(crate) fn parse(body: &[u8]) -> Option<Link> {
        let head = body.first_chunk::<16>()?;
        let mut link = Link {
            hardware: u16::from_ne_bytes([head[2], head[3]]),
            index: u32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
            flags: u32::from_ne_bytes([head[8], head[9], head[10], head[11]]),
            ..Link::default()
        };
        for (kind, value) in attributes(&body[16..]) {
            let number = value.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes));
            match kind {
                IFLA_ADDRESS => link.mac = value.first_chunk::<6>().filter(|_| value.len() == 6).map(|bytes| MacAddr(*bytes)),
                IFLA_IFNAME => link.name = text(value),
                IFLA_MTU => link.mtu = number?,
                IFLA_LINK => link.peer = number,
                IFLA_LINK_NETNSID => link.peer_namespace = number.map(|number| number as i32),
                IFLA_CARRIER_DOWN_COUNT => link.carrier_downs = number?,
                IFLA_LINKINFO => {
                    if let Some((_, value)) = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND) {
                        link.kind = text(value);
                    }
                }
                _ => {}
            }
        }
        Some(link)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or(&[])).into_owned()
}

/// The attributes in `bytes`, up to the first that is not whole.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff; // The two upper bits say nested and byte order.
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [(4 + value.len() as u16).to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_veth() {
        let mut body = vec![0, 0, 1, 0];
        body.extend(7u32.to_ne_bytes());
        body.extend(RUNNING.to_ne_bytes());
        body.extend([0; 4]);
        for (kind, value) in [
            (IFLA_IFNAME, b"port1\0".to_vec()),
            (IFLA_ADDRESS, vec![2, 0, 0, 0, 0, 9]),
            (IFLA_MTU, 1500u32.to_ne_bytes().to_vec()),
            (IFLA_LINK, 3u32.to_ne_bytes().to_vec()),
            (IFLA_LINK_NETNSID, 0u32.to_ne_bytes().to_vec()),
            (IFLA_CARRIER_DOWN_COUNT, 4u32.to_ne_bytes().to_vec()),
            (IFLA_LINKINFO | 0x8000, attribute(IFLA_INFO_KIND, b"veth\0")),
        ] {
            body.extend(attribute(kind, &value));
        }
        let link = Link::parse(&body).unwrap();
        assert_eq!((link.index, link.hardware, link.mtu, link.carrier_downs), (7, 1, 1500, 4));
        assert_eq!((link.name.as_str(), link.kind.as_str(), link.peer, link.peer_namespace), ("port1", "veth", Some(3), Some(0)));
        assert_eq!((link.mac, link.state()), (Some(MacAddr([2, 0, 0, 0, 0, 9])), LinkState::Up));
        body[8] &= !1;
        let off = Link::parse(&body).unwrap();
        assert_eq!((off.state(), off.why_down()), (LinkState::Down, "switched off"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(link) = Link::parse(&bytes) {
                prop_assert!(bytes.len() >= 16);
                prop_assert!(link.name.len() <= bytes.len() * 3);
            }
        }
    }
}
