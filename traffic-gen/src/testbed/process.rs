//! Any program that reads pcapng on stdin and writes pcapng on stdout as a device on the virtual clock; one process for each trial.
//!
//! - `switch:CONFIG.toml` runs `bladeswitch replay CONFIG.toml --stream`, found beside this program or in PATH; `switch:CASE` that of a case;
//! - `exec:COMMAND` runs a shell command; `exec:[p1=1G,p2=1G]COMMAND` if it does not tell its ports itself.
//!
//! The interfaces of both captures are the ports, by name. A frame's time in the input is when its last bit has arrived at the device, in the output when
//! its last bit has left. Frames out must be in the order of time at each port. Those of interfaces that are no ports (`drops`), and those noted as
//! inbound, are not taken for output. The ports and their rates are what the program describes in its output when its input is an empty capture.
//!
//! Limits: frames already sent cannot be taken back, so PAUSE frames are counted and not obeyed; there is nothing to reset. What a device learned ends
//! with the trial.
//!
//! Threads: one reads the output, one what the program complains of; both end with the process.

use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender as Channel, channel};
use std::thread::JoinHandle;

use port::capture::{CaptureStream, CaptureWriter, Direction, FrameNotes};
use port::{Nanos, PortId};

use super::judge::Judge;
use super::schedule::{Sender, turn};
use crate::regress::case::CONFIG_FILE;
use crate::stamp::Stamp;
use crate::trial::{DutFactory, TestPort, Testbed, TestbedError, Trial, TrialProgress, TrialResult};

/// Start of the captures: not 1970, which some programs take for "no time".
const EPOCH: Nanos = Nanos::from_secs(1);
/// Frames handed over at once by the thread that reads.
const BATCH: usize = 256;
/// Frames between two looks at what came and at whoever watches.
const LOOK_EVERY: u32 = 1024;
/// Bytes kept of what a program complains of.
const COMPLAINT_MAX: usize = 4096;

/// A frame that came out.
struct Output {
    port: PortId,
    time: Nanos,
    bytes: Vec<u8>,
}

/// What the thread that reads tells.
enum News {
    Frames(Vec<Output>),
    /// The end of the output, and what is wrong with it.
    End(Result<Vec<(String, Option<u64>)>, String>),
}

/// A program under test.
pub struct ProcessTestbed {
    program: PathBuf,
    arguments: Vec<String>,
    description: String,
    ports: Vec<TestPort>,
    pads: bool,
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> TestbedError {
    let what = what.into();
    move |source| TestbedError::System { what, source }
}

/// A program at work.
struct Running {
    child: Child,
    input: CaptureWriter<BufWriter<ChildStdin>>,
    news: Receiver<News>,
    complaints: JoinHandle<String>,
}

impl ProcessTestbed {
    /// A testbed of a program with these arguments. Without `ports` they are asked of the program.
    ///
    /// # Errors
    /// If the program cannot be run or does not tell its ports.
    pub fn new(program: PathBuf, arguments: Vec<String>, ports: Vec<TestPort>, pads: bool) -> Result<ProcessTestbed, TestbedError> {
        let description = format!("{} {}", program.display(), arguments.join(" "));
        let mut testbed = ProcessTestbed { program, arguments, description, ports, pads };
        if testbed.ports.is_empty() {
            testbed.ports = testbed.ask_ports()?;
        }
        match testbed.ports.len() {
            count @ (0 | 1) => Err(TestbedError::Setup(format!(
                "`{}` tells of {count} port(s), a trial needs two: name them, as exec:[p1=1G,p2=1G]COMMAND",
                testbed.description
            ))),
            count if count > port::PORTS_MAX => {
                Err(TestbedError::Setup(format!("`{}` has {count} ports: at most {} can be tested", testbed.description, port::PORTS_MAX)))
            }
            _ => Ok(testbed),
        }
    }

    /// Gives it these frames (port, time since the start, bytes), in the order of time, and tells `each` what comes out.
    ///
    /// # Errors
    /// If it cannot be run, or fails, or writes what is no capture.
    pub fn pass<'a>(
        &self,
        frames: impl Iterator<Item = (usize, Nanos, &'a [u8])>,
        each: &mut dyn FnMut(usize, Nanos, &[u8]),
    ) -> Result<(), TestbedError> {
        let mut running = self.start(&self.ports)?;
        let notes = FrameNotes::default();
        let mut gone = false;
        for (port, time, bytes) in frames {
            let at = EPOCH + time;
            // A program that has ended early is found by its status.
            gone = running.input.write_frame(port as u32, at.0, bytes, bytes.len() as u32, &notes).is_err();
            if gone {
                break;
            }
        }
        self.end(running, &mut |frame| each(frame.port.0.into(), frame.time.since(EPOCH), &frame.bytes))?;
        match gone {
            true => Err(TestbedError::Setup(format!("`{}` did not read its input to the end", self.description))),
            false => Ok(()),
        }
    }

    fn ask_ports(&self) -> Result<Vec<TestPort>, TestbedError> {
        let running = self.start(&[])?;
        let interfaces = self.end(running, &mut |_| {})?;
        let port = |(name, speed): (String, Option<u64>)| match speed {
            Some(line_bps) if line_bps > 0 => Ok(TestPort { name, line_bps }),
            _ => Err(TestbedError::Setup(format!(
                "`{}` does not tell the rate of port `{name}` (if_speed in its capture): name ports and rates, as exec:[{name}=1G,…]COMMAND",
                self.description
            ))),
        };
        interfaces.into_iter().filter(|(name, _)| name != "drops").map(port).collect()
    }

    /// Starts the program, and describes the ports to it.
    fn start(&self, ports: &[TestPort]) -> Result<Running, TestbedError> {
        let failed = |what: &str| system(format!("`{}`: {what}", self.description));
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed("cannot be started"))?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err(failed("has no pipes")(io::ErrorKind::BrokenPipe.into()));
        };
        let names: Vec<String> = ports.iter().map(|port| port.name.clone()).collect();
        let (channel, news) = channel();
        std::thread::spawn(move || read(stdout, &names, &channel));
        let complaints = std::thread::spawn(move || complaints(stderr));
        let mut running_input = CaptureWriter::new(BufWriter::with_capacity(1 << 16, stdin)).map_err(failed("does not read"))?;
        for port in ports {
            running_input.add_interface(&port.name, Some(port.line_bps)).map_err(failed("does not read"))?;
        }
        Ok(Running { child, input: running_input, news, complaints })
    }

    /// Ends the input, takes all that still comes, and waits for the program: the interfaces it described.
    fn end(&self, running: Running, each: &mut dyn FnMut(Output)) -> Result<Vec<(String, Option<u64>)>, TestbedError> {
        let Running { mut child, input, news, complaints } = running;
        // A program that has gone away is found by its status, with its own words.
        drop(input.finish());
        let mut end = Err("said nothing".to_owned());
        for news in news {
            match news {
                News::Frames(frames) => frames.into_iter().for_each(&mut *each),
                News::End(result) => end = result,
            }
        }
        let status = child.wait().map_err(system(format!("`{}`", self.description)))?;
        let complaint = complaints.join().unwrap_or_default();
        let complaint = complaint.trim();
        if !status.success() {
            return Err(TestbedError::Setup(format!("`{}` failed ({status}): {complaint}", self.description)));
        }
        end.map_err(|why| TestbedError::Setup(format!("what `{}` writes cannot be used: {why} {complaint}", self.description)))
    }
}

/// Reads the program's output to its end. If nobody listens any more, the rest is passed over, so that the program can end.
fn read(output: impl Read, names: &[String], channel: &Channel<News>) {
    let mut stream = CaptureStream::new(output, "its output");
    let mut batch = Vec::new();
    let mut result = Ok(());
    loop {
        if !batch.is_empty() && (batch.len() >= BATCH || !stream.is_ready()) {
            let _ = channel.send(News::Frames(std::mem::take(&mut batch)));
        }
        let (interface, time, bytes) = match stream.next_frame() {
            None => break,
            Some(Err(error)) => {
                result = Err(error.to_string());
                break;
            }
            Some(Ok(frame)) if frame.notes.direction == Some(Direction::Inbound) => continue,
            Some(Ok(frame)) => (frame.interface, Nanos(frame.time_ns), frame.bytes.to_vec()),
        };
        let name = stream.interfaces().get(interface as usize).map(|interface| interface.name.as_str());
        let port = name.and_then(|name| names.iter().position(|port| port == name));
        if let Some(port) = port {
            batch.push(Output { port: PortId(port as u8), time, bytes });
        }
    }
    let _ = channel.send(News::Frames(batch));
    let interfaces = stream.interfaces().iter().map(|interface| (interface.name.clone(), interface.speed_bps)).collect();
    let _ = channel.send(News::End(result.map(|()| interfaces)));
}

/// The beginning of what a program complains of; the rest is read and passed over.
fn complaints(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let room = COMPLAINT_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

impl Testbed for ProcessTestbed {
    fn ports(&self) -> &[TestPort] {
        &self.ports
    }

    fn describe(&self) -> String {
        format!("{}, on the virtual clock, a process for each trial", self.description)
    }

    fn is_virtual(&self) -> bool {
        true
    }

    fn pads(&self) -> bool {
        self.pads
    }

    fn run(&mut self, trial: &Trial, watch: &mut dyn FnMut(TrialProgress) -> bool) -> Result<TrialResult, TestbedError> {
        if trial.ports.len() != self.ports.len() {
            return Err(TestbedError::Setup(format!("the trial is for {} ports, there are {}", trial.ports.len(), self.ports.len())));
        }
        if trial.reset_at.is_some() {
            return Err(TestbedError::Unsupported("reset the device in the midst of a trial".to_owned()));
        }
        let mut running = self.start(&self.ports)?;
        let notes = FrameNotes::default();
        let write = |running: &mut Running, port: usize, at: Nanos, bytes: &[u8]| {
            running.input.write_frame(port as u32, at.0, bytes, bytes.len() as u32, &notes)
        };
        // A program that has ended early is found by its status: nothing more is written then.
        let mut gone = false;
        let mut now = EPOCH;
        for (index, port) in trial.ports.iter().enumerate() {
            for frame in &port.learning {
                now = now + trial.learning_gap;
                gone = gone || write(&mut running, index, now, frame).is_err();
            }
        }
        let start = now + trial.learning_settle;
        let mut senders: Vec<Sender> =
            trial.ports.iter().zip(&self.ports).map(|(port, line)| Sender::new(port, trial.streams.len(), line.line_bps)).collect();
        let mut judge = Judge::new(trial, &self.ports, start);
        let length = trial.length();
        let (mut last_sent, mut countdown, mut scratch) = (start, LOOK_EVERY, Vec::new());
        // What came out before the trial (learning frames) is nobody's.
        let take = |judge: &mut Judge, senders: &[Sender], frame: Output| {
            if frame.time > start {
                judge.received(frame.port, frame.time, &frame.bytes, senders);
            }
        };
        while !gone {
            let due = |(index, sender): (usize, &Sender)| sender.next_departure().map(|at| (at, turn(start + at, index), index));
            let Some((_, _, index)) = senders.iter().enumerate().filter_map(due).min() else { break };
            let Some(departure) = senders[index].depart() else { continue };
            let (intended, sent) = (start + departure.intended, start + departure.sent);
            last_sent = sent;
            scratch.clear();
            scratch.extend_from_slice(&departure.frame.bytes);
            if let Some(stream) = departure.frame.stream {
                Stamp { stream, sequence: departure.sequence, intended, sent }.write(&mut scratch);
                judge.sent(stream, departure.sequence, sent);
            }
            gone = write(&mut running, index, sent, &scratch).is_err();
            countdown -= 1;
            if countdown == 0 {
                countdown = LOOK_EVERY;
                while let Ok(News::Frames(frames)) = running.news.try_recv() {
                    frames.into_iter().for_each(|frame| take(&mut judge, &senders, frame));
                }
                if !watch(TrialProgress { elapsed: sent.since(start), length }) {
                    let _ = running.child.kill();
                    let _ = running.child.wait();
                    return Err(TestbedError::Interrupted);
                }
            }
        }
        let until = last_sent + trial.wait;
        self.end(running, &mut |frame| {
            if frame.time <= until {
                take(&mut judge, &senders, frame);
            }
        })?;
        if gone {
            return Err(TestbedError::Setup(format!("`{}` did not read its input to the end", self.description)));
        }
        let result = judge.finish(trial, &self.ports, &senders);
        if watch(TrialProgress { elapsed: length, length }) { Ok(result) } else { Err(TestbedError::Interrupted) }
    }
}

/// `--dut switch:CONFIG.toml`.
#[derive(Clone, Copy, Debug)]
pub struct SwitchFactory;

impl DutFactory for SwitchFactory {
    fn kind(&self) -> &'static str {
        "switch"
    }

    fn usage(&self) -> &'static str {
        "CONFIG.toml or switch:CASE: bladeswitch with this configuration, on the virtual clock"
    }

    fn open(&self, rest: &str) -> Result<Box<dyn Testbed>, TestbedError> {
        Ok(Box::new(switch(rest)?))
    }
}

/// The program that `switch:CONFIG.toml`, `switch:CASE` or `exec:COMMAND` names.
///
/// # Errors
/// If it is another kind of device, or cannot be run.
pub fn open(dut: &str) -> Result<ProcessTestbed, TestbedError> {
    match dut.split_once(':') {
        Some(("switch", rest)) => switch(rest),
        Some(("exec", rest)) => exec(rest),
        _ => {
            Err(TestbedError::Setup("expected switch:CONFIG.toml, switch:CASE or exec:COMMAND: a program on the virtual clock".to_owned()))
        }
    }
}

/// The folder of a case has its configuration.
fn switch(rest: &str) -> Result<ProcessTestbed, TestbedError> {
    let case = Path::new(rest).join(CONFIG_FILE);
    let config = if case.is_file() { case.display().to_string() } else { rest.to_owned() };
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("bladeswitch"))).filter(|path| path.is_file());
    let program = beside.unwrap_or_else(|| PathBuf::from("bladeswitch"));
    let arguments = ["replay", &config, "--stream"].map(str::to_owned).to_vec();
    // The capture's way into the switch pads short frames, as a card would.
    ProcessTestbed::new(program, arguments, Vec::new(), true)
}

/// `--dut exec:COMMAND`.
#[derive(Clone, Copy, Debug)]
pub struct ExecFactory;

impl DutFactory for ExecFactory {
    fn kind(&self) -> &'static str {
        "exec"
    }

    fn usage(&self) -> &'static str {
        "COMMAND or exec:[p1=1G,p2=10G]COMMAND: a program that reads and writes pcapng, on the virtual clock"
    }

    fn open(&self, rest: &str) -> Result<Box<dyn Testbed>, TestbedError> {
        Ok(Box::new(exec(rest)?))
    }
}

fn exec(rest: &str) -> Result<ProcessTestbed, TestbedError> {
    let (ports, command) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
        None => (Vec::new(), rest),
        Some(Some((ports, command))) => (ports.split(',').map(test_port).collect::<Result<_, _>>()?, command),
        Some(None) => return Err(TestbedError::Setup("expected `]` after the ports, as exec:[p1=1G,p2=1G]COMMAND".to_owned())),
    };
    if command.trim().is_empty() {
        return Err(TestbedError::Setup("expected a command after exec:".to_owned()));
    }
    let arguments = ["-c", command].map(str::to_owned).to_vec();
    ProcessTestbed::new(PathBuf::from("sh"), arguments, ports, false)
}

fn test_port(text: &str) -> Result<TestPort, TestbedError> {
    let port = text.split_once('=').and_then(|(name, speed)| Some(TestPort { name: name.to_owned(), line_bps: rate(speed)? }));
    port.ok_or_else(|| TestbedError::Setup(format!("`{text}`: expected NAME=RATE with a unit, as p1=1G, p2=100M")))
}

/// A whole rate with a unit, 1k to 1000G, in bits a second.
pub(super) fn rate(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let unit = match unit {
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|bps| (1..=1_000_000_000_000).contains(bps))
}
