//! `--port SPEC@RATE --port SPEC@RATE…`, or in one word `--dut ports:SPEC@RATE+SPEC@RATE…`: whatever lies between ports of this machine, in real time.
//!
//! The specs are those of the switch's ports (`af_packet:eth1`, `af_xdp:eth2,queues=1` …), each with the rate of its line. All kinds that
//! `port::open` opens will do, but capture files, which have no time of their own.

use std::str::FromStr;

use port::clock::TscClock;
use port::open::{OpenOptions, open};
use port::spec::{PortKind, PortSpec};
use port::{Device, Hugepages, Mempool, Nanos};

use super::process::rate;
use super::realtime::{LATE_MAX, RealtimeTestbed, Wires};
use crate::link;
use crate::trial::{DutFactory, TestPort, Testbed, TestbedError};

/// Buffers for each port: what its queues hold, and what the tester has in hand.
const BUFFERS_PER_PORT: u32 = 8192;
/// Frames a transmit queue holds.
const QUEUE: usize = 1024;
/// Jumbo frames of 9,220 bytes with FCS.
const FRAME_LEN_MAX: usize = 9216;

/// `--dut ports:…`.
#[derive(Clone, Copy, Debug)]
pub struct PortsFactory;

impl DutFactory for PortsFactory {
    fn kind(&self) -> &'static str {
        "ports"
    }

    fn usage(&self) -> &'static str {
        "SPEC@RATE+SPEC@RATE…: what lies between ports of this machine, in real time, as ports:af_packet:eth1@1G+af_packet:eth2@1G"
    }

    fn open(&self, rest: &str) -> Result<Box<dyn Testbed>, TestbedError> {
        open_ports(&rest.split('+').collect::<Vec<_>>(), LATE_MAX)
    }
}

/// Whatever lies between these ports, each `SPEC@RATE`, in real time. Frames that would leave later than `late_max` are not sent.
///
/// # Errors
/// If one cannot be had, or its link does not come up, or there are too few: what was expected.
pub fn open_ports(texts: &[&str], late_max: Nanos) -> Result<Box<dyn Testbed>, TestbedError> {
    let setup = |text: String| TestbedError::Setup(text);
    let mut specs = Vec::new();
    for &text in texts {
        let (spec, speed) = text.rsplit_once('@').ok_or_else(|| setup(format!("`{text}`: expected SPEC@RATE, as af_packet:eth1@1G")))?;
        let line_bps = rate(speed).ok_or_else(|| setup(format!("`{speed}`: expected a rate with a unit, as 1G or 100M")))?;
        let spec = PortSpec::from_str(spec).map_err(|error| setup(error.to_string()))?;
        if spec.kind == PortKind::Pcap {
            return Err(setup(format!("`{spec}`: a capture file cannot be tested in real time")));
        }
        specs.push((spec, line_bps));
    }
    if !(2..=port::PORTS_MAX).contains(&specs.len()) {
        return Err(setup(format!("expected 2 to {} ports, not {}", port::PORTS_MAX, specs.len())));
    }
    let mut claims: Vec<String> = specs.iter().flat_map(|(spec, _)| spec.claims()).collect();
    claims.sort();
    if let Some(twice) = claims.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(setup(format!("{} is named twice", twice[0])));
    }
    let buffers = (specs.len() as u32).saturating_mul(BUFFERS_PER_PORT);
    let mempool =
        Mempool::new(buffers, Hugepages::Auto).map_err(|source| TestbedError::System { what: "packet pool".to_owned(), source })?;
    let mut ports: Vec<(TestPort, port::Port)> = Vec::new();
    for (spec, line_bps) in specs {
        let name = spec.arg.clone();
        let options = OpenOptions {
            name: &name,
            speed_bps: line_bps,
            queue: QUEUE,
            frame_len_max: FRAME_LEN_MAX,
            mempool: &mempool,
            // The tester floods what it is given: never the interface this machine is reached by.
            force_default_route: false,
        };
        let port = open(&spec, &options).map_err(|error| setup(format!("port {name}: {error}")))?;
        ports.push((TestPort { name, line_bps }, port));
    }
    let clock = TscClock::new();
    let mut devices: Vec<(&str, &mut dyn Device)> =
        ports.iter_mut().map(|(line, port)| (line.name.as_str(), &mut *port.device as &mut dyn Device)).collect();
    link::wait(&mut devices, link::PATIENCE, &clock, &|| false).map_err(setup)?;
    let testbed = RealtimeTestbed::new(ports, Wires::Own, &mempool, clock, "ports of this machine", Box::new(()));
    Ok(Box::new(testbed.with_late_max(late_max)))
}
