//! Reading a machine: `/proc` and `/sys` below a root folder, which a test may make itself.
//!
//! A file that is not there or cannot be read is `None`: what that means is for the check to say. Nothing is ever written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flate2::read::GzDecoder;

/// The longest file that is read, in bytes: the configuration of a kernel has some 300 KB.
const FILE_LEN_MAX: u64 = 4 << 20;
/// The highest number of a core that a list may have.
const CORE_MAX: usize = 8191;

/// A machine, as the files below a folder show it.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

impl Machine {
    /// The one this program runs on.
    pub fn this() -> Machine {
        Machine::at("/")
    }

    /// The one whose `proc`, `sys`, `boot` and `etc` are in `root`. Symbolic links in there must be relative.
    pub fn at(root: impl Into<PathBuf>) -> Machine {
        Machine { root: root.into() }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The text of a file, without white space around it.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        File::open(self.path(path)).ok()?.take(FILE_LEN_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The text of a file that gzip has packed.
    pub(super) fn packed_text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        GzDecoder::new(File::open(self.path(path)).ok()?).take(FILE_LEN_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The number that a file has.
    pub(super) fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// The cores that a file lists.
    pub(super) fn cores(&self, path: &str) -> BTreeSet<usize> {
        self.text(path).map(|text| cores(&text)).unwrap_or_default()
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The names in a folder, sorted.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Where a path leads when all links are followed.
    pub(super) fn target(&self, path: &str) -> Option<PathBuf> {
        self.path(path).canonicalize().ok()
    }

    /// The name of what a link points at: a driver, an IOMMU group.
    pub(super) fn link_name(&self, path: &str) -> Option<String> {
        let target = std::fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }
}

/// A list of cores as the kernel writes it, such as `0-3,8`. What is not a number is left out.
pub(super) fn cores(text: &str) -> BTreeSet<usize> {
    let mut cores = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            cores.extend(first..=last.min(CORE_MAX));
        }
    }
    cores
}

/// The list as the kernel writes it.
pub(super) fn core_list(cores: &BTreeSet<usize>) -> String {
    let mut text = String::new();
    let mut rest = cores.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while let Some(next) = rest.next_if_eq(&(last + 1)) {
            last = next;
        }
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = if first == last { write!(text, "{comma}{first}") } else { write!(text, "{comma}{first}-{last}") };
    }
    text
}

/// The PCI address in a path of `/sys/devices`: the last part that looks like `0000:3b:00.0`.
pub(super) fn pci_address(path: &Path) -> Option<String> {
    let parts = path.components().rev().filter_map(|part| part.as_os_str().to_str());
    parts.map(str::to_owned).find(|part| is_pci_address(part))
}

/// Is this a PCI address with its domain?
pub(super) fn is_pci_address(text: &str) -> bool {
    let form = "hhhh:hh:hh.h";
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, like)| if like == b'h' { byte.is_ascii_hexdigit() } else { byte == like })
}

/// What the kernel was built with.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// Its release, such as `6.1.0-18-amd64`.
    pub release: String,
    /// Major and minor number of it.
    pub version: (u32, u32),
    /// Its options, `y` or `m` each; `None` if nobody says.
    options: Option<BTreeMap<String, char>>,
}

impl Kernel {
    pub(super) fn of(machine: &Machine) -> Kernel {
        let release = machine.text("proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let text = machine.packed_text("proc/config.gz");
        let text = text.or_else(|| machine.text(&format!("boot/config-{release}")));
        let text = text.or_else(|| machine.text(&format!("lib/modules/{release}/config")));
        let options = text.map(|text| {
            let set = text.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='));
            set.filter_map(|(key, value)| Some((key.to_owned(), value.chars().next().filter(|c| "ym".contains(*c))?))).collect()
        });
        Kernel { release, version, options }
    }

    /// Does it have an option, built in or as a module? `None` if nobody says.
    pub(super) fn has(&self, option: &str) -> Option<bool> {
        self.options.as_ref().map(|options| options.contains_key(option))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        for text in ["0", "0-3", "0-3,8", "1,3,5-7,4095", ""] {
            assert_eq!(core_list(&cores(text)), text);
        }
        assert_eq!(core_list(&cores("0-18446744073709551615")), format!("0-{CORE_MAX}"));
        assert_eq!(core_list(&cores("x,3-,2,5-4")), "2");
    }

    #[test]
    fn addresses_of_devices() {
        assert_eq!(pci_address(Path::new("/sys/devices/pci0000:00/0000:00:03.0/virtio2")).as_deref(), Some("0000:00:03.0"));
        assert_eq!(pci_address(Path::new("/sys/devices/virtual/net/lo")), None);
        assert!(
            is_pci_address("0000:3b:00.1")
                && !is_pci_address("3b:00.1")
                && !is_pci_address("net_tap0,ifa")
                && !is_pci_address("0000-3b-00.1")
        );
    }
}
