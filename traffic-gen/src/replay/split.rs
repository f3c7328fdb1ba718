//! Which port a frame leaves by.

use std::collections::HashMap;
use std::str::FromStr;

use super::select::Cidr;
use super::tcpprep::{Cache, Side};
use crate::edit::layers::Layers;

/// How frames are given to ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// All by one port, the first.
    One,
    /// Each file by the port of its number.
    ByFile,
    /// Each interface of the captures by the port of its number: of all interfaces, file after file.
    ByInterface,
    /// A station belongs to the port by which its first frame left; each new station that is answered by others gets the next
    /// port in turn. So a capture of one wire becomes the traffic of several.
    FirstSeenMac,
    /// Frames from these networks leave by the first port, others by the second.
    Cidr(Vec<Cidr>),
    /// As tcpprep has decided: two ports.
    Cache(Cache),
}

/// `--split`, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitRule {
    /// `first-seen-mac`.
    FirstSeenMac,
    /// `cidr=NET,…`.
    Cidr(Vec<Cidr>),
}

impl FromStr for SplitRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=').unwrap_or((text, "")) {
            ("first-seen-mac", "") => Ok(SplitRule::FirstSeenMac),
            ("cidr", nets) => nets.split(',').map(str::parse).collect::<Result<_, _>>().map(SplitRule::Cidr),
            _ => Err(format!("`{text}`: expected first-seen-mac or cidr=NETWORK,…")),
        }
    }
}

/// Gives frames to ports, one after the other.
#[derive(Debug)]
pub struct Splitter {
    split: Split,
    ports: usize,
    owners: HashMap<[u8; 6], usize>,
    next: usize,
}

/// What a frame is to be split by.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Its file.
    pub file: usize,
    /// Its interface, counted over all files.
    pub interface: usize,
    /// Its number in its file, from 1.
    pub number: u64,
}

impl Splitter {
    /// For so many ports, at least 1.
    pub fn new(split: Split, ports: usize) -> Splitter {
        Splitter { split, ports: ports.max(1), owners: HashMap::new(), next: 0 }
    }

    /// The port of a frame; `None`: it is not to be sent.
    ///
    /// # Errors
    /// If no port is meant for it: says what to do.
    pub fn port(&mut self, origin: Origin, bytes: &[u8]) -> Result<Option<usize>, String> {
        let within = |port: usize, what: &str| match port < self.ports {
            true => Ok(Some(port)),
            false => Err(format!(
                "{what} {port} (counted from 0) has no port: there are {}: give a --port for each, or one --port for all",
                self.ports
            )),
        };
        match &self.split {
            Split::One => Ok(Some(0)),
            Split::ByFile => within(origin.file, "file"),
            Split::ByInterface => within(origin.interface, "interface"),
            Split::Cidr(nets) => {
                let source = Layers::of(bytes).and_then(|layers| layers.addresses(bytes)).map(|[src, _]| src);
                Ok(Some(usize::from(!source.is_some_and(|src| nets.iter().any(|net| net.contains(src))))))
            }
            Split::Cache(cache) => match cache.side(origin.number) {
                Some(Side::Primary) => Ok(Some(0)),
                Some(Side::Secondary) => Ok(Some(1)),
                Some(Side::Skip) => Ok(None),
                None => Err(format!(
                    "packet {} is not in the cache, which speaks of {}: make it again from this capture",
                    origin.number,
                    cache.packets()
                )),
            },
            Split::FirstSeenMac => Ok(Some(self.owner(bytes))),
        }
    }

    fn owner(&mut self, bytes: &[u8]) -> usize {
        let mac = |at: usize| bytes.get(at..).and_then(|bytes| bytes.first_chunk::<6>()).copied();
        let Some(src) = mac(6) else { return 0 };
        if let Some(&port) = self.owners.get(&src) {
            return port;
        }
        // Not the port of the station it speaks to, if that is known: a switch would not have to forward it.
        let peer = mac(0).and_then(|dst| self.owners.get(&dst).copied());
        if Some(self.next) == peer {
            self.next = (self.next + 1) % self.ports;
        }
        let port = self.next;
        self.next = (self.next + 1) % self.ports;
        self.owners.insert(src, port);
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(dst: u8, src: u8) -> Vec<u8> {
        let mut frame = vec![0; 60];
        (frame[5], frame[11]) = (dst, src);
        frame
    }

    #[test]
    fn the_first_port_that_sourced_a_mac_owns_it() {
        let mut splitter = Splitter::new(Split::FirstSeenMac, 3);
        let origin = Origin { file: 0, interface: 0, number: 1 };
        let talk = [(2, 1), (1, 2), (9, 1), (1, 3), (2, 4), (4, 1), (1, 5), (5, 4)];
        let ports: Vec<_> = talk.map(|(dst, src)| splitter.port(origin, &frame(dst, src)).unwrap().unwrap()).to_vec();
        // 1, 2, 3 get ports in turn; 4 is next in turn at 0; 5 speaks to 1, whose port 0 it does not share.
        assert_eq!(ports, [0, 1, 0, 2, 0, 0, 1, 0]);
    }

    #[test]
    fn a_file_or_an_interface_needs_its_port() {
        let origin = Origin { file: 2, interface: 1, number: 7 };
        assert_eq!(Splitter::new(Split::ByInterface, 2).port(origin, &[]), Ok(Some(1)));
        let error = Splitter::new(Split::ByFile, 2).port(origin, &[]).unwrap_err();
        assert!(error.contains("file 2 (counted from 0) has no port: there are 2"), "{error}");
    }

    #[test]
    fn rules_are_read() {
        assert_eq!("first-seen-mac".parse(), Ok(SplitRule::FirstSeenMac));
        assert!(matches!("cidr=10.0.0.0/8,::1".parse(), Ok(SplitRule::Cidr(nets)) if nets.len() == 2));
        for wrong in ["", "mac", "cidr", "cidr=", "cidr=x", "first-seen-mac=3"] {
            assert!(wrong.parse::<SplitRule>().is_err(), "{wrong}");
        }
    }
}
