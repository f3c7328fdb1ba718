//! The frames of all inputs in one order: that of their times.

use std::io::Read;
use std::path::{Path, PathBuf};

use control::config::Config;
use port::PortId;
use port::capture::{CaptureError, CaptureFile, CaptureStream, CapturedFrame, Cursor, Direction, Interface};

use super::ReplayError;

/// A frame that goes in.
#[derive(Debug)]
pub(super) struct Arrival {
    /// In nanoseconds since 1970.
    pub time_ns: u64,
    pub port: PortId,
    pub bytes: Vec<u8>,
    /// The capture has only a part of it.
    pub snapped: bool,
}

/// Where frames come from, in order.
pub(super) trait Arrivals {
    /// The next frame, or why there are no more of its input: the others go on.
    fn next(&mut self) -> Option<Result<Arrival, CaptureError>>;

    /// Will [`next`](Self::next) have to wait?
    fn must_wait(&self) -> bool {
        false
    }
}

/// Which port an interface of a capture is.
fn port_of(config: &Config, interfaces: &[Interface], number: u32, path: &Path) -> Result<PortId, ReplayError> {
    let name = interfaces.get(number as usize).map_or("", |interface| interface.name.as_str());
    config.port_named(name).ok_or_else(|| ReplayError::Interface {
        path: path.to_owned(),
        number,
        name: name.to_owned(),
        ports: config.ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// Capture files, merged.
pub(super) struct Files {
    files: Vec<InputFile>,
}

struct InputFile {
    file: CaptureFile,
    cursor: Cursor,
    /// By interface.
    ports: Ports,
    last_ns: u64,
    next: Option<Result<Arrival, CaptureError>>,
}

enum Ports {
    All(PortId),
    ByInterface(Vec<Option<PortId>>),
}

impl Files {
    /// Opens the inputs.
    ///
    /// # Errors
    /// One is no capture, or has frames of an interface that is no port.
    pub fn open(config: &Config, inputs: &[(Option<PortId>, PathBuf)]) -> Result<Files, ReplayError> {
        let mut files = Vec::new();
        for (port, path) in inputs {
            let file = CaptureFile::open(path)?;
            let ports = match port {
                Some(port) => Ports::All(*port),
                None => Ports::ByInterface(ports_by_name(config, &file)?),
            };
            let mut input = InputFile { cursor: file.cursor(None), file, ports, last_ns: 0, next: None };
            input.look_ahead();
            files.push(input);
        }
        Ok(Files { files })
    }
}

/// The ports of the interfaces that have frames.
fn ports_by_name(config: &Config, file: &CaptureFile) -> Result<Vec<Option<PortId>>, ReplayError> {
    let mut ports = vec![None; file.interfaces().len()];
    for frame in file.frames().map_while(Result::ok).filter(|frame| !is_output(frame)) {
        let port = &mut ports[frame.interface as usize];
        if port.is_none() {
            *port = Some(port_of(config, file.interfaces(), frame.interface, file.path())?);
        }
    }
    Ok(ports)
}

/// Is it what an annotated capture says came out, or was dropped? That does not go in.
fn is_output(frame: &CapturedFrame<'_>) -> bool {
    let dropped = frame.notes.verdict.as_ref().is_some_and(|verdict| verdict.starts_with("drop:"));
    frame.notes.direction == Some(Direction::Outbound) || frame.notes.direction.is_none() && dropped
}

impl InputFile {
    fn look_ahead(&mut self) {
        self.next = loop {
            match self.file.next_frame(&mut self.cursor) {
                None => break None,
                Some(Err(error)) => break Some(Err(error)),
                Some(Ok(frame)) => {
                    let port = match &self.ports {
                        Ports::All(port) => Some(*port),
                        Ports::ByInterface(_) if is_output(&frame) => None,
                        Ports::ByInterface(ports) => ports.get(frame.interface as usize).copied().flatten(),
                    };
                    let Some(port) = port else { continue };
                    // Times that go back count as no time passed.
                    self.last_ns = self.last_ns.max(frame.time_ns);
                    let snapped = frame.original_len as usize > frame.bytes.len();
                    break Some(Ok(Arrival { time_ns: self.last_ns, port, bytes: frame.bytes.to_vec(), snapped }));
                }
            }
        };
    }
}

impl Arrivals for Files {
    fn next(&mut self) -> Option<Result<Arrival, CaptureError>> {
        // At one time: in the order of ports, and within a port in that of its files. What is wrong is told when it is met.
        let key = |(number, input): (usize, &InputFile)| {
            let next = input.next.as_ref()?;
            Some((next.as_ref().map_or((0, PortId(0)), |arrival| (arrival.time_ns, arrival.port)), number))
        };
        let (_, first) = self.files.iter().enumerate().filter_map(key).min()?;
        let next = self.files[first].next.take();
        self.files[first].look_ahead();
        next
    }
}

/// A capture that somebody is still writing, its interfaces named like the ports.
pub(super) struct Stream<'a, R> {
    input: CaptureStream<R>,
    config: &'a Config,
    /// By interface.
    ports: Vec<Option<PortId>>,
    last_ns: u64,
    /// An interface that is no port ends the input.
    pub wrong: Option<ReplayError>,
}

impl<'a, R: Read> Stream<'a, R> {
    pub fn new(config: &'a Config, input: R) -> Stream<'a, R> {
        Stream { input: CaptureStream::new(input, "stdin"), config, ports: Vec::new(), last_ns: 0, wrong: None }
    }
}

impl<R: Read> Arrivals for Stream<'_, R> {
    fn next(&mut self) -> Option<Result<Arrival, CaptureError>> {
        let Stream { input, config, ports, last_ns, wrong } = self;
        loop {
            let (interface, arrival) = match input.next_frame()? {
                Err(error) => return Some(Err(error)),
                Ok(frame) if is_output(&frame) => continue,
                Ok(frame) => {
                    *last_ns = frame.time_ns.max(*last_ns);
                    let snapped = frame.original_len as usize > frame.bytes.len();
                    (frame.interface, Arrival { time_ns: *last_ns, port: PortId(0), bytes: frame.bytes.to_vec(), snapped })
                }
            };
            let index = interface as usize;
            ports.resize(ports.len().max(index + 1), None);
            let port = match ports[index] {
                Some(port) => port,
                None => match port_of(config, input.interfaces(), interface, Path::new("stdin")) {
                    Ok(port) => *ports[index].insert(port),
                    Err(error) => {
                        *wrong = Some(error);
                        return None;
                    }
                },
            };
            return Some(Ok(Arrival { port, ..arrival }));
        }
    }

    fn must_wait(&self) -> bool {
        !self.input.is_ready()
    }
}
