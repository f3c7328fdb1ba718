//! Every loop from other stations: addresses that differ from loop to loop, so that a switch has something to learn and a
//! firewall new flows (`--unique-ip`, `--unique-mac`).
//!
//! IP: the higher of the two addresses of a packet goes up by the loop's number, the lower one down, as in tcpreplay: both
//! directions of a flow change alike. Checksums go along.
//!
//! MAC: in every loop but the first, station `s` of the `n` in the captures is `x:xx:xx…` with the number `loop * n + s` below a
//! first octet that no station has (locally administered, unicast). No two stations of any two loops are alike. Group
//! addresses stay, and so does that of all zeros. What ARP, ND, DHCP and chassis messages say of addresses changes alike
//! ([`addresses`]).

use std::collections::HashMap;

use super::{Frame, addresses};
use crate::edit::checksum::{Covers, replace};
use crate::edit::layers::Layers;

/// Bytes of the two addresses in the header.
const HEADER_LEN: usize = 12;

/// What changes from loop to loop.
#[derive(Clone, Debug)]
pub struct Unique {
    /// IP addresses change every so many loops; `None`: never.
    ip_loops: Option<u64>,
    macs: Option<Macs>,
    /// Of each frame: where its headers are. Addresses change, their places do not.
    layers: Vec<Option<Layers>>,
}

#[derive(Clone, Debug)]
struct Macs {
    first_octet: u8,
    stations: u64,
    /// Of each frame: where a station's address is, and whose. All in the header come first.
    of_frame: Vec<Box<[(usize, u32)]>>,
}

impl Unique {
    /// For these frames. `ip_loops`: IP addresses change every so many loops.
    pub fn new(frames: &[Frame], ip_loops: Option<u64>, macs: bool) -> Unique {
        let changes = ip_loops.is_some() || macs;
        let layers = |frame: &Frame| {
            let mut bytes = frame.bytes.to_vec();
            bytes.resize(frame.wire_len(), 0);
            Layers::of(&bytes)
        };
        Unique {
            ip_loops: ip_loops.map(|loops| loops.max(1)),
            macs: macs.then(|| Macs::of(frames)),
            layers: if changes { frames.iter().map(layers).collect() } else { Vec::new() },
        }
    }

    /// Does anything ever change?
    pub fn changes(&self) -> bool {
        self.ip_loops.is_some() || self.macs.is_some()
    }

    /// Changes frame number `index` of the list as loop `round` has it; `bytes` are the frame's.
    pub fn apply(&self, index: usize, round: u64, bytes: &mut [u8]) {
        let layers = self.layers.get(index).and_then(Option::as_ref).filter(|layers| layers.ip.is_some());
        if let Some(macs) = &self.macs
            && round > 0
            && let Some(stations) = macs.of_frame.get(index)
        {
            for &(at, station) in stations {
                let mac = macs.mac(round, station);
                // In the header no checksum covers it, in ARP neither.
                match layers.filter(|_| at >= HEADER_LEN) {
                    Some(layers) => replace(bytes, layers, at, &mac, Covers::L4),
                    None => bytes.get_mut(at..at + 6).into_iter().for_each(|place| place.copy_from_slice(&mac)),
                }
            }
        }
        if let Some(loops) = self.ip_loops
            && round / loops > 0
            && let Some(layers) = layers
            && let Some([src, dst]) = layers.address_ranges()
            && let (Some(old_src), Some(old_dst)) = (bytes.get(src.clone()), bytes.get(dst.clone()))
        {
            let step = (round / loops) as u32;
            let source_is_higher = old_src > old_dst;
            // The last 32 bits: all of an IPv4 address.
            let changed = |end: usize, up: bool| {
                let old = u32::from_be_bytes(*bytes.get(end - 4..end)?.first_chunk()?);
                Some(if up { old.wrapping_add(step) } else { old.wrapping_sub(step) }.to_be_bytes())
            };
            let (new_src, new_dst) = (changed(src.end, source_is_higher), changed(dst.end, !source_is_higher));
            match (new_src, new_dst) {
                // Two neighbours are changed at once: checksums, too.
                (Some([a, b, c, d]), Some([e, f, g, h])) if src.end + 4 == dst.end => {
                    replace(bytes, layers, src.end - 4, &[a, b, c, d, e, f, g, h], Covers::Both);
                }
                _ => {
                    for (end, new) in [(src.end, new_src), (dst.end, new_dst)] {
                        new.iter().for_each(|new| replace(bytes, layers, end - 4, new, Covers::Both));
                    }
                }
            }
        }
    }
}

impl Macs {
    fn of(frames: &[Frame]) -> Macs {
        let mut known: HashMap<[u8; 6], u32> = HashMap::new();
        let mut station = |bytes: &[u8], at: usize| {
            let mac: [u8; 6] = *bytes.get(at..)?.first_chunk()?;
            let next = known.len() as u32;
            (mac[0] & 1 == 0 && mac != [0; 6]).then(|| (at, *known.entry(mac).or_insert(next)))
        };
        let of_one = |frame: &Frame| addresses::places(&frame.bytes).into_iter().filter_map(|at| station(&frame.bytes, at)).collect();
        let of_frame = frames.iter().map(of_one).collect();
        let is_free = |octet: &u8| known.keys().all(|mac| mac[0] != *octet);
        let first_octet = (0..64).map(|n| 2 + 4 * n).find(is_free).unwrap_or(2);
        Macs { first_octet, stations: (known.len() as u64).max(1), of_frame }
    }

    fn mac(&self, round: u64, station: u32) -> [u8; 6] {
        let number = round.wrapping_mul(self.stations).wrapping_add(u64::from(station)).to_be_bytes();
        [self.first_octet, number[3], number[4], number[5], number[6], number[7]]
    }
}
