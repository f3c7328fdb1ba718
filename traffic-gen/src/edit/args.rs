//! Edits as they are typed: the options that `replay` has for them.

use wire::MacAddr;

use super::{Edits, FixLen, IpMap, Ttl, Vlan};

/// Options that change frames. Names are those of tcprewrite where it has them.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Edits")]
#[group(skip)]
pub struct Args {
    /// Destination MAC address; with commas, one for each port
    #[arg(long, value_name = "MAC", value_delimiter = ',')]
    enet_dmac: Vec<MacAddr>,
    /// Source MAC address; with commas, one for each port
    #[arg(long, value_name = "MAC", value_delimiter = ',')]
    enet_smac: Vec<MacAddr>,
    /// One MAC address becomes another wherever it is, in ARP too
    #[arg(long, visible_alias = "enet-subsmac", value_name = "OLD,NEW", value_parser = mac_pair)]
    mac_map: Vec<(MacAddr, MacAddr)>,
    /// Other MAC addresses of the same manufacturers, chosen by this number
    #[arg(long, visible_alias = "enet-mac-seed", value_name = "N")]
    mac_seed: Option<u64>,
    /// The outer VLAN tag: push=VID[,pcp=N][,type=88a8], set=VID[,pcp=N] or pop; again for more
    #[arg(long, value_name = "HOW")]
    vlan: Vec<Vlan>,
    /// IP addresses of one network become those of another, source and destination: 10.0.0.0/8=172.16.0.0/12
    #[arg(short = 'N', long, visible_alias = "ip-map", value_name = "NET=NET", value_delimiter = ',')]
    pnat: Vec<IpMap>,
    /// The same of sources
    #[arg(short = 'S', long, value_name = "NET=NET", value_delimiter = ',')]
    srcipmap: Vec<IpMap>,
    /// The same of destinations
    #[arg(short = 'D', long, value_name = "NET=NET", value_delimiter = ',')]
    dstipmap: Vec<IpMap>,
    /// Other IP addresses that begin alike, chosen by this number
    #[arg(short = 's', long, value_name = "N")]
    seed: Option<u64>,
    /// TCP and UDP ports: 80:8080
    #[arg(short = 'r', long, value_name = "OLD:NEW", value_delimiter = ',', value_parser = port_pair)]
    portmap: Vec<(u16, u16)>,
    /// TTL and hop limit: 64, +1 or -1
    #[arg(long, value_name = "TTL", allow_hyphen_values = true)]
    ttl: Option<Ttl>,
    /// Type of service and traffic class, 0 to 255
    #[arg(long, visible_alias = "tclass", value_name = "N")]
    tos: Option<u8>,
    /// Frames that the capture cut short
    #[arg(long, value_enum)]
    fixlen: Option<FixLen>,
    /// The captures have kept the FCS, as 4 last bytes, and do not say so
    #[arg(long)]
    efcs: bool,
    /// Cut longer frames to so many bytes, without FCS
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(14..=65_535))]
    truncate: Option<u32>,
    /// Pad shorter frames to so many bytes, without FCS
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(14..=65_535))]
    pad: Option<u32>,
    /// Make the checksums of IPv4, TCP, UDP and ICMP anew
    #[arg(short = 'C', long)]
    fixcsum: bool,
}

impl Args {
    /// What they mean.
    pub fn edits(&self) -> Edits {
        let with = |own: &[IpMap]| own.iter().chain(&self.pnat).copied().collect();
        Edits {
            fix_len: self.fixlen,
            strip_fcs: self.efcs,
            truncate: self.truncate.map(|len| len as usize),
            dst_macs: self.enet_dmac.clone(),
            src_macs: self.enet_smac.clone(),
            mac_map: self.mac_map.clone(),
            mac_seed: self.mac_seed,
            vlan: self.vlan.clone(),
            src_ip_map: with(&self.srcipmap),
            dst_ip_map: with(&self.dstipmap),
            ip_seed: self.seed,
            port_map: self.portmap.clone(),
            ttl: self.ttl,
            tos: self.tos,
            pad: self.pad.map(|len| len as usize),
            fix_checksums: self.fixcsum,
        }
    }
}

fn mac_pair(text: &str) -> Result<(MacAddr, MacAddr), String> {
    let (old, new) = text.split_once(',').ok_or_else(|| format!("`{text}`: expected OLD,NEW"))?;
    let mac = |text: &str| text.parse().map_err(|error| format!("{error}"));
    Ok((mac(old)?, mac(new)?))
}

fn port_pair(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("`{text}`: expected OLD:NEW, two ports from 0 to 65535");
    let (old, new) = text.split_once(':').ok_or_else(wrong)?;
    Ok((old.parse().map_err(|_| wrong())?, new.parse().map_err(|_| wrong())?))
}
