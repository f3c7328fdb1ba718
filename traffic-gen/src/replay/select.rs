//! Which frames of a capture are sent: `--include` and `--exclude`.
//!
//! A rule is `P:1-5,9,15-` (packets of a file by number, from 1), `S:`, `D:`, `B:` or `E:` and networks (`10.0.0.0/8,192.168.1.1`):
//! the source, the destination, both or either of the IP addresses lies in one of them. The letters are those of tcpreplay.

use std::net::IpAddr;
use std::str::FromStr;

use crate::edit::layers::Layers;

/// An IP network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// An address of it.
    pub address: IpAddr,
    /// Bits that all its addresses have in common.
    pub prefix: u8,
}

impl Cidr {
    /// Does the address lie in it?
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0,
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0,
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let wrong = || format!("`{text}` is no network: expected such as 10.0.0.0/8, 192.168.1.7 or 2001:db8::/32");
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if prefix > most { Err(wrong()) } else { Ok(Cidr { address, prefix }) }
    }
}

/// A rule that frames fit or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Packets by number: ranges, ends included.
    Packets(Vec<(u64, u64)>),
    /// The source lies in one of these.
    Source(Vec<Cidr>),
    /// The destination does.
    Destination(Vec<Cidr>),
    /// Both do.
    Both(Vec<Cidr>),
    /// At least one does.
    Either(Vec<Cidr>),
}

impl Rule {
    /// Does packet `number` of its file fit?
    pub fn fits(&self, number: u64, bytes: &[u8]) -> bool {
        let ends = || Layers::of(bytes).and_then(|layers| layers.addresses(bytes));
        let inside = |nets: &[Cidr], address| nets.iter().any(|net| net.contains(address));
        match self {
            Rule::Packets(ranges) => ranges.iter().any(|(first, last)| (*first..=*last).contains(&number)),
            Rule::Source(nets) => ends().is_some_and(|[src, _]| inside(nets, src)),
            Rule::Destination(nets) => ends().is_some_and(|[_, dst]| inside(nets, dst)),
            Rule::Both(nets) => ends().is_some_and(|[src, dst]| inside(nets, src) && inside(nets, dst)),
            Rule::Either(nets) => ends().is_some_and(|[src, dst]| inside(nets, src) || inside(nets, dst)),
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let forms = "expected packets such as P:1-5,9,15- or networks such as S:10.0.0.0/8 (S source, D destination, B both, E either)";
        let (letter, list) = text.split_once(':').filter(|(letter, _)| letter.len() == 1).unwrap_or(("P", text));
        let nets = || list.split(',').map(str::parse).collect::<Result<Vec<Cidr>, String>>();
        match letter {
            "P" => list.split(',').map(packet_range).collect::<Option<_>>().map(Rule::Packets).ok_or_else(|| format!("`{text}`: {forms}")),
            "S" => nets().map(Rule::Source),
            "D" => nets().map(Rule::Destination),
            "B" => nets().map(Rule::Both),
            "E" => nets().map(Rule::Either),
            _ => Err(format!("`{text}`: {forms}")),
        }
    }
}

/// `7`, `3-9`, `15-`.
fn packet_range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = match text.split_once('-') {
        None => (text.parse().ok()?, text.parse().ok()?),
        Some((first, "")) => (first.parse().ok()?, u64::MAX),
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
    };
    (1..=last).contains(&first).then_some((first, last))
}

/// Which packets go.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only those that fit one of these, if there are any.
    pub include: Vec<Rule>,
    /// None that fits one of these.
    pub exclude: Vec<Rule>,
}

impl Selection {
    /// Does packet `number` of its file go?
    pub fn takes(&self, number: u64, bytes: &[u8]) -> bool {
        let fits = |rule: &Rule| rule.fits(number, bytes);
        (self.include.is_empty() || self.include.iter().any(fits)) && !self.exclude.iter().any(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let packets: Rule = "1-2,5,9-".parse().unwrap();
        let taken: Vec<u64> = (0..12).filter(|&number| packets.fits(number, &[])).collect();
        assert_eq!(taken, [1, 2, 5, 9, 10, 11]);
        assert_eq!("P:1-2,5,9-".parse(), Ok(packets));
        let frame = crate::plan::udp_frame(
            crate::plan::Station { mac: [2; 6], ip: [10, 0, 0, 1] },
            crate::plan::Station { mac: [4; 6], ip: [192, 168, 1, 7] },
            60,
        );
        for (rule, fits) in [
            ("S:10.0.0.0/8", true),
            ("S:11.0.0.0/8", false),
            ("D:192.168.1.7", true),
            ("D:192.168.1.6/31", true),
            ("D:192.168.1.8/31", false),
            ("B:0.0.0.0/0", true),
            ("B:10.0.0.0/8", false),
            ("E:10.0.0.0/8", true),
            ("E:::/0", false),
        ] {
            assert_eq!(rule.parse::<Rule>().unwrap().fits(1, &frame), fits, "{rule}");
        }
        for wrong in ["", "P:", "0", "5-3", "X:1", "S:", "S:10.0.0.0/33", "1;2"] {
            assert!(wrong.parse::<Rule>().is_err(), "{wrong}");
        }
    }
}
