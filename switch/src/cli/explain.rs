//! `explain`: the way of one frame, as typed and as told.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use control::config::Config;
use port::PortId;
use port::capture::CaptureFile;
use wire::{MacAddr, Vid};

use super::{Done, Failure, PortFile, load, port, port_files, print, print_json};
use crate::explain::{Explanation, Request, Sent, explain as tell};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, in TOML; the kinds of its ports do not matter here
    config: PathBuf,
    /// The port the frame comes in by
    #[arg(long = "in", value_name = "PORT")]
    port: String,
    /// The frame without FCS, in hexadecimal digits; blanks, `:` and `-` between them do not matter
    #[arg(long, value_name = "HEX", required_unless_present = "pcap", conflicts_with = "pcap")]
    hex: Option<String>,
    /// The frame with this number (from 1, as Wireshark counts) of a capture
    #[arg(long, value_name = "FILE:N")]
    pcap: Option<FrameOf>,
    /// A station the switch has heard before; again for further ones
    #[arg(long, value_name = "PORT=MAC[@VLAN]")]
    learn: Vec<Station>,
    /// A capture that went into a port before, all of it; again for further ones
    #[arg(long, value_name = "PORT=FILE")]
    after: Vec<PortFile>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `FILE:N`.
#[derive(Clone, Debug)]
struct FrameOf {
    file: PathBuf,
    number: usize,
}

impl FromStr for FrameOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.rsplit_once(':').filter(|(file, _)| !file.is_empty());
        let number = parts.and_then(|(_, number)| number.parse().ok()).filter(|&number| number > 0);
        match (parts, number) {
            (Some((file, _)), Some(number)) => Ok(FrameOf { file: file.into(), number }),
            _ => Err("expected FILE:N with the number of a frame, from 1, such as capture.pcapng:3".to_owned()),
        }
    }
}

/// `PORT=MAC[@VLAN]`.
#[derive(Clone, Debug)]
struct Station {
    port: String,
    mac: MacAddr,
    vlan: Option<Vid>,
}

impl FromStr for Station {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (port, station) = text.split_once('=').ok_or("expected PORT=MAC[@VLAN], such as blade2=02:00:00:00:00:02@10")?;
        let (mac, vlan) = station.split_once('@').map_or((station, None), |(mac, vlan)| (mac, Some(vlan)));
        let vlan =
            vlan.map(|vlan| vlan.parse().ok().and_then(Vid::new).ok_or_else(|| format!("VLAN {vlan} does not exist: expected 1 to 4094")));
        let mac = mac.parse().map_err(|error: wire::mac::MacAddrParseError| error.to_string())?;
        Ok(Station { port: port.to_owned(), mac, vlan: vlan.transpose()? })
    }
}

/// Tells.
pub fn explain(args: Args) -> Done {
    let config = load(&args.config)?;
    let request = request(config, &args)?;
    let explanation = tell(&request).map_err(Failure::input)?;
    if args.json {
        print_json(&explanation)?
    } else {
        print(&text(&explanation))?
    }
    Ok(ExitCode::SUCCESS)
}

fn request(config: Config, args: &Args) -> Result<Request, Failure> {
    let ingress = port(&config, "--in", &args.port)?;
    let frame = match (&args.hex, &args.pcap) {
        (Some(hex), _) => bytes(hex).map_err(|error| Failure::input(format!("--hex: {error}")))?,
        (None, Some(of)) => frame_of(&of.file, of.number)?,
        (None, None) => unreachable!("the parser asks for one of them"),
    };
    let station = |station: &Station| -> Result<(PortId, MacAddr, Option<Vid>), Failure> {
        Ok((port(&config, "--learn", &station.port)?, station.mac, station.vlan))
    };
    let learn = args.learn.iter().map(station).collect::<Result<_, _>>()?;
    let after = port_files(&config, "--after", &args.after)?;
    Ok(Request { config, port: ingress, frame, learn, after })
}

/// Hexadecimal digits as bytes.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut nibbles = Vec::with_capacity(text.len());
    for (offset, letter) in text.char_indices() {
        match letter.to_digit(16) {
            Some(digit) => nibbles.push(digit as u8),
            None if letter.is_whitespace() || matches!(letter, ':' | '-') => {}
            None => return Err(format!("{letter:?} at offset {offset} is not a hexadecimal digit")),
        }
    }
    if !nibbles.len().is_multiple_of(2) {
        return Err(format!("{} digits are not whole bytes: expected an even number", nibbles.len()));
    }
    Ok(nibbles.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn frame_of(path: &Path, number: usize) -> Result<Vec<u8>, Failure> {
    let file = CaptureFile::open(path).map_err(Failure::input)?;
    let mut frames = file.frames();
    for _ in 1..number {
        match frames.next() {
            Some(frame) => frame.map_err(Failure::input)?,
            None => break,
        };
    }
    match frames.next() {
        Some(frame) => Ok(frame.map_err(Failure::input)?.bytes.to_vec()),
        None => Err(Failure::input(format!("{}: there is no frame {number}: it has {}", path.display(), file.frame_count()))),
    }
}

fn text(told: &Explanation) -> String {
    let mut text = String::new();
    section(&mut text, "frame", &told.frame.layers);
    for step in &told.steps {
        section(&mut text, step.phase, &step.lines);
    }
    section(&mut text, "verdict", std::slice::from_ref(&told.summary));
    if !told.control.is_empty() {
        section(&mut text, "control", &told.control);
    }
    for sent in &told.replies {
        section(&mut text, "", &reply(sent));
    }
    text
}

fn reply(sent: &Sent) -> Vec<String> {
    let indented = sent.frame.layers.iter().map(|layer| format!("  {layer}"));
    std::iter::once(format!("out of {}:", sent.port)).chain(indented).collect()
}

/// Lines behind a name, each on a line of its own.
fn section(text: &mut String, name: &str, lines: &[String]) {
    let mut name = name;
    for line in lines {
        let _ = writeln!(text, "{name:<9} {line}"); // Writing to a string cannot fail.
        name = "";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits() {
        assert_eq!(bytes("02:00-ff 0A\n1b"), Ok(vec![2, 0, 255, 10, 27]));
        assert_eq!(bytes(""), Ok(vec![]));
        assert_eq!(bytes("0x1").unwrap_err(), "'x' at offset 1 is not a hexadecimal digit");
        assert!(bytes("012").unwrap_err().starts_with("3 digits"));
    }

    #[test]
    fn stations_and_frames_as_typed() {
        let station: Station = "blade2=02:00:00:00:00:02@10".parse().unwrap();
        assert_eq!((station.port.as_str(), station.vlan), ("blade2", Vid::new(10)));
        for wrong in ["blade2", "blade2=02:00", "a=02:00:00:00:00:02@0", "a=02:00:00:00:00:02@4095", "a=02:00:00:00:00:02@"] {
            assert!(wrong.parse::<Station>().is_err(), "{wrong}");
        }
        assert_eq!("a:b.pcap:12".parse::<FrameOf>().map(|of| (of.file, of.number)), Ok(("a:b.pcap".into(), 12)));
        for wrong in ["a.pcap", "a.pcap:0", ":1", "a.pcap:-1"] {
            assert!(wrong.parse::<FrameOf>().is_err(), "{wrong}");
        }
    }
}
