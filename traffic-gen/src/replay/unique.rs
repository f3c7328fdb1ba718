//! Every loop from other stations: addresses that differ from loop to loop, so that a switch has something to learn and a
//! firewall new flows (`--unique-ip`, `--unique-mac`).
//!
//! IP: the higher of the two addresses of a packet goes up by the loop's number, the lower one down, as in tcpreplay: both
//! directions of a flow change alike. Checksums go along: what they are without the two addresses is worked out once.
//!
//! MAC: in every loop but the first, station `s` of the `n` in the captures is `x:xx:xx…` with the number `loop * n + s` below a
//! first octet that no station has (locally administered, unicast). No two stations of any two loops are alike. Group
//! addresses stay, and so does that of all zeros. What ARP, ND, DHCP and chassis messages say of addresses changes alike
//! ([`addresses`]).

use std::collections::HashMap;

use super::{Frame, addresses};
use crate::edit::checksum::{Covers, Without, replace};
use crate::edit::layers::Layers;

/// Bytes of the two addresses in the header.
const HEADER_LEN: usize = 12;

/// What changes from loop to loop.
#[derive(Clone, Debug)]
pub struct Unique {
    /// IP addresses change every so many loops; `None`: never.
    ip_loops: Option<u64>,
    /// Of each frame: its IP addresses, if they change.
    ips: Vec<Option<Ips>>,
    macs: Option<Macs>,
    /// Of each frame, if MACs change: where its headers are. Addresses change, their places do not.
    layers: Vec<Option<Layers>>,
}

/// The two IP addresses of a frame.
#[derive(Clone, Copy, Debug)]
struct Ips {
    /// Where the last 32 bits of each are: all of an IPv4 address.
    src_at: usize,
    dst_at: usize,
    /// As captured.
    src: u32,
    dst: u32,
    source_is_higher: bool,
    without: Without,
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
        let padded = |frame: &Frame| {
            let mut bytes = frame.bytes.to_vec();
            bytes.resize(frame.wire_len(), 0);
            bytes
        };
        Unique {
            ip_loops: ip_loops.map(|loops| loops.max(1)),
            ips: if ip_loops.is_some() { frames.iter().map(|frame| Ips::of(&padded(frame))).collect() } else { Vec::new() },
            macs: macs.then(|| Macs::of(frames)),
            layers: if macs { frames.iter().map(|frame| Layers::of(&padded(frame))).collect() } else { Vec::new() },
        }
    }

    /// Does anything ever change?
    pub fn changes(&self) -> bool {
        self.ip_loops.is_some() || self.macs.is_some()
    }

    /// Changes frame number `index` of the list as loop `round` has it; `bytes` are the frame's.
    pub fn apply(&self, index: usize, round: u64, bytes: &mut [u8]) {
        if round == 0 {
            return;
        }
        // First: it counts on the frame being as captured.
        if let Some(loops) = self.ip_loops
            && let Some(Some(ips)) = self.ips.get(index)
        {
            // Mostly 1, and a division takes its time.
            let step = if loops == 1 { round } else { round / loops };
            ips.apply(step as u32, bytes);
        }
        if let Some(macs) = &self.macs
            && let Some(stations) = macs.of_frame.get(index)
        {
            for &(at, station) in stations {
                let mac = macs.mac(round, station);
                // In the header no checksum covers it, in ARP neither.
                if at < HEADER_LEN {
                    bytes.get_mut(at..at + 6).into_iter().for_each(|place| place.copy_from_slice(&mac));
                    continue;
                }
                match self.layers.get(index).and_then(Option::as_ref).filter(|layers| layers.ip.is_some()) {
                    Some(layers) => replace(bytes, layers, at, &mac, Covers::L4),
                    None => bytes.get_mut(at..at + 6).into_iter().for_each(|place| place.copy_from_slice(&mac)),
                }
            }
        }
    }
}

impl Ips {
    fn of(bytes: &[u8]) -> Option<Ips> {
        let layers = Layers::of(bytes)?;
        let [src, dst] = layers.address_ranges()?;
        let source_is_higher = bytes.get(src.clone())? > bytes.get(dst.clone())?;
        let (src_at, dst_at) = (src.end - 4, dst.end - 4);
        let [src, dst] = [src_at, dst_at].map(|at| bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes));
        let (src, dst) = (src?, dst?);
        Some(Ips { src_at, dst_at, src, dst, source_is_higher, without: Without::new(bytes, &layers, &[src, dst]) })
    }

    #[inline]
    fn apply(&self, step: u32, bytes: &mut [u8]) {
        if step == 0 {
            return;
        }
        let step = if self.source_is_higher { step } else { step.wrapping_neg() };
        let (src, dst) = (self.src.wrapping_add(step), self.dst.wrapping_sub(step));
        for (at, new) in [(self.src_at, src), (self.dst_at, dst)] {
            if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
                *place = new.to_be_bytes();
            }
        }
        self.without.write(bytes, &[src, dst]);
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
