//! Does the machine's default route go over an interface? Then a switch that takes it cuts the machine off.

use std::io;
use std::path::Path;

/// The interfaces that a default route goes over (IPv4, IPv6), in the network namespace of the calling thread, and those below them: the
/// interfaces of a bond, the ports of a bridge, the one that carries a VLAN.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn default_interfaces() -> io::Result<Vec<String>> {
    let v4 = std::fs::read_to_string("/proc/thread-self/net/route")?;
    // Without IPv6 there is no such file.
    let v6 = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap_or_default();
    Ok(with_lower(Path::new("/sys/class/net"), parse(&v4, &v6)))
}

/// Adds the interfaces below those of `carriers`, all the way down. `class_net` is `/sys/class/net`, where `lower_NAME` says what is below.
pub fn with_lower(class_net: &Path, mut carriers: Vec<String>) -> Vec<String> {
    let mut next = 0;
    while let Some(upper) = carriers.get(next) {
        let entries = std::fs::read_dir(class_net.join(upper)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let lower: Vec<String> = names.filter_map(|name| name.strip_prefix("lower_").map(str::to_owned)).collect();
        carriers.extend(lower);
        // One may be below several; what stands there before is what has been looked at.
        let mut seen = std::collections::BTreeSet::new();
        carriers.retain(|name| seen.insert(name.clone()));
        next += 1;
    }
    carriers.sort();
    carriers
}

/// The interfaces that a default route goes over, sorted: `v4` and `v6` are the texts of `/proc/net/route` and `/proc/net/ipv6_route`.
pub fn parse(v4: &str, v6: &str) -> Vec<String> {
    const RTF_UP: u32 = 1;
    const RTF_REJECT: u32 = 0x200;
    let usable = |flags: &str| u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & RTF_UP != 0 && flags & RTF_REJECT == 0);
    let mut interfaces: Vec<String> = Vec::new();
    for line in v4.lines().skip(1) {
        // Iface Destination Gateway Flags RefCnt Use Metric Mask …
        if let [interface, "00000000", _, flags, _, _, _, "00000000", ..] = line.split_whitespace().collect::<Vec<_>>()[..]
            && usable(flags)
        {
            interfaces.push(interface.to_owned());
        }
    }
    for line in v6.lines() {
        // Destination, its prefix length, source, its prefix length, next hop, metric, counts, flags, interface.
        if let [destination, "00", _, _, _, _, _, _, flags, interface] = line.split_whitespace().collect::<Vec<_>>()[..]
            && destination.bytes().all(|byte| byte == b'0')
            && usable(flags)
        {
            interfaces.push(interface.to_owned());
        }
    }
    interfaces.sort();
    interfaces.dedup();
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_bridge_carries_its_route() {
        let dir = tempfile::tempdir().unwrap();
        for below in [
            "br0/lower_bond0",
            "br0/lower_tap0",
            "bond0/lower_eno1",
            "bond0/lower_eno2",
            "eno1/queues",
            "eno2/upper_bond0",
            "tap0/lower_br0",
        ] {
            std::fs::create_dir_all(dir.path().join(below)).unwrap();
        }
        assert_eq!(with_lower(dir.path(), vec!["br0".to_owned()]), ["bond0", "br0", "eno1", "eno2", "tap0"]);
        assert_eq!(with_lower(dir.path(), vec!["eno1".to_owned(), "gone".to_owned()]), ["eno1", "gone"]);
        assert!(with_lower(dir.path(), Vec::new()).is_empty());
    }

    #[test]
    fn default_routes_of_both_kinds() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  eth1\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let zeros = "00000000000000000000000000000000";
        let v6 = format!(
            "{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth2\n\
             fe800000000000000000000000000000 40 {zeros} 00 {zeros} 00000100 00000001 00000000 00000001     eth3\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200       lo\n"
        );
        assert_eq!(parse(v4, &v6), ["eth0", "eth2"]);
        assert!(parse("", "").is_empty());
        assert!(parse("x\ny z\n\n", "a b c\n").is_empty());
    }
}
