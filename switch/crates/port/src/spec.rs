//! What a port is made of: `KIND[:ARG][,key=value…]`.
//!
//! `memory:` is a port in this process; `pcap:in.pcap,out=out.pcapng` plays a capture and records what is sent. The kinds of
//! interfaces (AF_XDP, AF_PACKET, TAP, DPDK, memif, vhost-user) have the same form; which of them this program was built with is known
//! to whoever opens the port ([`open`](mod@crate::open)), not here: only the text is judged. The switch's configuration and the
//! generator's command line use the same specs.
//!
//! ARG begins after the first colon and ends at the first comma; it may contain further colons (`dpdk:0000:01:00.0`), but no
//! comma, and nothing is quoted: a file with a comma in its name cannot be said.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// What frames of a port come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortKind {
    /// Rings in this process.
    Memory,
    /// Capture files.
    Pcap,
    /// An interface through an AF_XDP socket.
    AfXdp,
    /// An interface through an AF_PACKET socket.
    AfPacket,
    /// An interface by the best way that works: AF_XDP zero-copy, native, generic, then AF_PACKET.
    Auto,
    /// A TAP interface.
    Tap,
    /// A DPDK device.
    Dpdk,
    /// Shared memory of the memif protocol.
    Memif,
    /// A virtual machine.
    VhostUser,
}

impl PortKind {
    /// Every kind.
    pub const ALL: [PortKind; 9] = [
        PortKind::Memory,
        PortKind::Pcap,
        PortKind::AfXdp,
        PortKind::AfPacket,
        PortKind::Auto,
        PortKind::Tap,
        PortKind::Dpdk,
        PortKind::Memif,
        PortKind::VhostUser,
    ];

    /// The word for it in a port spec.
    pub const fn as_str(self) -> &'static str {
        match self {
            PortKind::Memory => "memory",
            PortKind::Pcap => "pcap",
            PortKind::AfXdp => "af_xdp",
            PortKind::AfPacket => "af_packet",
            PortKind::Auto => "auto",
            PortKind::Tap => "tap",
            PortKind::Dpdk => "dpdk",
            PortKind::Memif => "memif",
            PortKind::VhostUser => "vhost-user",
        }
    }

    /// How a spec of this kind is written.
    pub const fn form(self) -> &'static str {
        match self {
            PortKind::Memory => "memory:[NAME]",
            PortKind::Pcap => "pcap:FILE[,out=FILE]",
            PortKind::AfXdp => "af_xdp:INTERFACE[,mode=M][,queues=N][,busy-poll=US]",
            PortKind::AfPacket => "af_packet:INTERFACE[,fanout=N]",
            PortKind::Auto => "auto:INTERFACE[,queues=N]",
            PortKind::Tap => "tap:INTERFACE[,mtu=N]",
            PortKind::Dpdk => "dpdk:DEVICE[,key=value…]",
            PortKind::Memif => "memif:SOCKET[,id=N][,role=server|client][,queues=N][,ring-size=LOG2][,buffer-size=N][,secret=WORD]",
            PortKind::VhostUser => "vhost-user:SOCKET[,role=server|client][,queues=N]",
        }
    }

    /// The options it has; `None` where the backend will judge them.
    const fn options(self) -> Option<&'static [&'static str]> {
        match self {
            PortKind::Memory => Some(&[]),
            PortKind::Pcap => Some(&["out"]),
            PortKind::AfXdp => Some(&["mode", "queues", "busy-poll"]),
            PortKind::AfPacket => Some(&["fanout"]),
            PortKind::Auto => Some(&["queues"]),
            PortKind::Tap => Some(&["mtu"]),
            PortKind::Memif => Some(&["id", "role", "queues", "ring-size", "buffer-size", "secret"]),
            PortKind::VhostUser => Some(&["role", "queues"]),
            PortKind::Dpdk => None,
        }
    }
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A port spec, `KIND[:ARG][,key=value…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// What kind of port.
    pub kind: PortKind,
    /// Which one: a file, an interface, a device. Empty only for `memory`.
    pub arg: String,
    /// Options by name.
    pub options: BTreeMap<String, String>,
}

impl PortSpec {
    /// A memory port without a name.
    pub fn memory() -> PortSpec {
        PortSpec { kind: PortKind::Memory, arg: String::new(), options: BTreeMap::new() }
    }

    /// The value of an option.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }

    /// What only one port can have: its files, its interface. Two ports with a claim in common get in each other's way.
    ///
    /// Paths are compared as text, without `.` and doubled slashes; links are not followed.
    pub fn claims(&self) -> Vec<String> {
        let file = |path: &str| {
            let path: std::path::PathBuf = Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
            format!("file {}", path.display())
        };
        match self.kind {
            PortKind::Memory if self.arg.is_empty() => vec![],
            PortKind::Memory => vec![format!("memory port {}", self.arg)],
            PortKind::Pcap => [self.arg.as_str()].into_iter().chain(self.option("out")).map(file).collect(),
            PortKind::AfXdp | PortKind::AfPacket | PortKind::Auto | PortKind::Tap => vec![format!("interface {}", self.arg)],
            PortKind::Dpdk => vec![format!("device {}", self.arg)],
            PortKind::VhostUser => vec![file(&self.arg)],
            // One socket carries several interfaces, told apart by their number.
            PortKind::Memif => vec![format!("{} with id {}", file(&self.arg), self.option("id").unwrap_or("0"))],
        }
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.arg)?;
        self.options.iter().try_for_each(|(key, value)| write!(f, ",{key}={value}"))
    }
}

impl Serialize for PortSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text is not a port spec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PortSpecError(String);

impl FromStr for PortSpec {
    type Err = PortSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(',');
        let head = parts.next().unwrap_or("");
        let (word, arg) = head.split_once(':').unwrap_or((head, ""));
        let Some(kind) = PortKind::ALL.into_iter().find(|kind| kind.as_str() == word) else {
            let kinds = PortKind::ALL.map(PortKind::as_str);
            let suggestion = suggestion(word, kinds);
            let known = kinds.join(", ");
            return Err(PortSpecError(match word {
                "" => {
                    format!("expected a port spec KIND[:ARG][,key=value…], such as \"memory:\" or \"pcap:in.pcap\" (known kinds: {known})")
                }
                word => format!("unknown kind of port `{}`{suggestion} (known kinds: {known})", word.escape_debug()),
            }));
        };
        let refuse = |problem: String| Err(PortSpecError(format!("{problem}: expected {}", kind.form())));
        if text.contains(char::is_control) {
            return refuse("a port spec has no control characters".to_owned());
        }
        if arg.is_empty() && kind != PortKind::Memory {
            return refuse(format!("`{kind}` needs to know which"));
        }
        let mut options = BTreeMap::new();
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            if key.is_empty() || value.is_empty() {
                return refuse(format!("`{part}` is not an option key=value"));
            }
            if kind.options().is_some_and(|known| !known.contains(&key)) {
                let likely = nearest(key, kind.options().unwrap_or_default().iter().copied());
                let likely = likely.map_or(String::new(), |known| format!(", perhaps `{known}`"));
                return refuse(format!("`{kind}` has no option `{key}`{likely}"));
            }
            if options.insert(key.to_owned(), value.to_owned()).is_some() {
                return refuse(format!("option `{key}` is given twice"));
            }
        }
        Ok(PortSpec { kind, arg: arg.to_owned(), options })
    }
}

/// The candidate most like `word`, if any is like it: what somebody may have meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Enough for one slip in three letters. Jaro-Winkler is kind to words with a common beginning, the edit distance to
    // short words with two letters swapped.
    const LIKE: f64 = 0.65;
    let likeness = |a: &str, b: &str| strsim::jaro_winkler(a, b).max(strsim::normalized_damerau_levenshtein(a, b));
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (likeness(&word, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > LIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `: did you mean …?`, or nothing.
pub fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or(String::new(), |known| format!(": did you mean `{known}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kinds_arguments_and_options() {
        for (text, kind, arg, options, shown) in [
            ("memory", PortKind::Memory, "", vec![], "memory:"),
            ("memory:", PortKind::Memory, "", vec![], "memory:"),
            ("memory:left", PortKind::Memory, "left", vec![], "memory:left"),
            ("pcap:a b.pcap,out=c:d.pcapng", PortKind::Pcap, "a b.pcap", vec![("out", "c:d.pcapng")], "pcap:a b.pcap,out=c:d.pcapng"),
            (
                "dpdk:0000:01:00.0,queues=4,a=b=c",
                PortKind::Dpdk,
                "0000:01:00.0",
                vec![("a", "b=c"), ("queues", "4")],
                "dpdk:0000:01:00.0,a=b=c,queues=4",
            ),
            ("af_xdp:eth0", PortKind::AfXdp, "eth0", vec![], "af_xdp:eth0"),
            ("memif:/run/m.sock,id=1", PortKind::Memif, "/run/m.sock", vec![("id", "1")], "memif:/run/m.sock,id=1"),
            ("vhost-user:/run/v,role=client", PortKind::VhostUser, "/run/v", vec![("role", "client")], "vhost-user:/run/v,role=client"),
        ] {
            let spec: PortSpec = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            let found: Vec<_> = spec.options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!((spec.kind, spec.arg.as_str(), found), (kind, arg, options), "{text}");
            assert_eq!(spec.to_string(), shown);
            assert_eq!(shown.parse::<PortSpec>().as_ref(), Ok(&spec));
        }
    }

    #[test]
    fn what_is_no_port() {
        for (text, message) in [
            ("", "expected a port spec KIND[:ARG][,key=value…], such as \"memory:\" or \"pcap:in.pcap\""),
            ("memroy:", "unknown kind of port `memroy`: did you mean `memory`? (known kinds: memory, pcap, af_xdp,"),
            ("Pcap:x", "unknown kind of port `Pcap`: did you mean `pcap`?"),
            ("\u{7}", "unknown kind of port `\\u{7}` (known"),
            ("pcap", "`pcap` needs to know which: expected pcap:FILE[,out=FILE]"),
            ("tap:", "`tap` needs to know which: expected tap:INTERFACE"),
            ("pcap:a,b", "`b` is not an option key=value: expected pcap:FILE[,out=FILE]"),
            ("pcap:a,out=", "`out=` is not an option key=value"),
            ("pcap:a,uot=b", "`pcap` has no option `uot`, perhaps `out`: expected pcap:FILE[,out=FILE]"),
            ("vhost-user:/run/v,mtu=9000", "`vhost-user` has no option `mtu`: expected vhost-user:SOCKET[,role=server|client][,queues=N]"),
            ("memory:,x=1", "`memory` has no option `x`: expected memory:[NAME]"),
            ("pcap:a,out=b,out=c", "option `out` is given twice"),
            ("pcap:a\nb", "no control characters"),
        ] {
            let error = text.parse::<PortSpec>().expect_err(text).to_string();
            assert!(error.contains(message), "{text}: {error}");
            assert!(!error.contains('\n'), "{text}");
        }
    }

    #[test]
    fn claims_tell_ports_that_collide() {
        let shared = |a: &str, b: &str| {
            let (a, b): (PortSpec, PortSpec) = (a.parse().unwrap(), b.parse().unwrap());
            a.claims().iter().any(|claim| b.claims().contains(claim))
        };
        assert!(shared("af_xdp:eth0", "af_packet:eth0,fanout=1"));
        assert!(shared("auto:eth0", "tap:eth0"));
        assert!(shared("pcap:in.pcap", "pcap:.//in.pcap"));
        assert!(shared("pcap:a,out=b", "pcap:b"));
        assert!(shared("memory:left", "memory:left"));
        assert!(!shared("memory:", "memory:"));
        assert!(!shared("memif:/run/m,id=1", "memif:/run/m,id=2"));
        assert!(shared("memif:/run/m", "memif:/run/m,id=0"));
        assert!(shared("vhost-user:/run/v", "vhost-user:/run//v,role=client"));
        assert!(!shared("af_xdp:eth0", "memory:eth0"));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_spec_round_trips(text in "((memory|pcap|tap|dpdk)[:,=a-c/.]{0,12})|\\PC{0,16}") {
            if let Ok(spec) = text.parse::<PortSpec>() {
                prop_assert_eq!(spec.to_string().parse::<PortSpec>(), Ok(spec));
            }
        }
    }
}
