//! Wires on a virtual clock around a device in this process.
//!
//! The clock moves from one event to the next: a frame's last bit arrives at the device, or the device has something to do. Minutes
//! of little traffic pass in milliseconds, and a run gives the same result every time.
//!
//! The clock goes on from trial to trial: addresses the device has learned age as they would.
//!
//! Frames that arrive in the same ns are given to the device one after the other, in an order drawn anew each time ([`turn`]). One thread.

use port::{Nanos, PortId};

use super::judge::Judge;
use super::schedule::{Sender, turn};
use crate::stamp::Stamp;
use crate::trial::{TestPort, Testbed, TestbedError, Trial, TrialProgress, TrialResult};

/// Frames between two looks at whoever watches.
const WATCH_EVERY: u64 = 20_000;

/// A device under test on a virtual clock.
pub trait VirtualDut {
    /// A frame's last bit has arrived at `port`.
    fn feed(&mut self, now: Nanos, port: PortId, frame: &[u8]);

    /// Does what is to be done at `now`, and hands out each frame whose last bit has left by now, port and bytes.
    fn settle(&mut self, now: Nanos, out: &mut dyn FnMut(PortId, &[u8]));

    /// When, without a frame arriving, something happens next: never before the last `settle`.
    fn next_event(&self) -> Option<Nanos>;

    /// Resets the device, as pulling its plug and putting it back would; `false` if that cannot be done.
    fn reset(&mut self, now: Nanos) -> bool {
        let _ = now;
        false
    }

    /// Can [`reset`](Self::reset) be done?
    fn can_reset(&self) -> bool {
        false
    }

    /// Frames that could not be handed to the device for want of room on the tester's side, since the start, by port.
    fn not_taken(&self) -> Vec<u64> {
        Vec::new()
    }
}

/// A device with wires at its ports, and the clock.
pub struct VirtualTestbed {
    ports: Vec<TestPort>,
    dut: Box<dyn VirtualDut>,
    description: String,
    now: Nanos,
    scratch: Vec<u8>,
}

impl VirtualTestbed {
    /// Wires of these rates at the ports of `dut`, which is described in one line.
    pub fn new(ports: Vec<TestPort>, dut: Box<dyn VirtualDut>, description: impl Into<String>) -> VirtualTestbed {
        VirtualTestbed { ports, dut, description: description.into(), now: Nanos::ZERO, scratch: Vec::new() }
    }

    /// The time of its clock.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Lets time pass until `until` without anything being sent; what comes out is nobody's.
    fn pass(&mut self, until: Nanos) {
        while let Some(next) = self.dut.next_event().filter(|&next| next <= until) {
            let now = next.max(self.now);
            self.now = now;
            self.dut.settle(now, &mut |_, _| {});
            // A device that is due and does nothing must not stop the clock.
            if self.dut.next_event().is_some_and(|again| again <= now) {
                self.now = now + Nanos(1);
            }
        }
        self.now = self.now.max(until);
        self.dut.settle(self.now, &mut |_, _| {});
    }

    fn learn(&mut self, trial: &Trial) {
        for (index, port) in trial.ports.iter().enumerate() {
            for frame in &port.learning {
                let at = self.now + trial.learning_gap;
                self.pass(at);
                self.dut.feed(self.now, PortId(index as u8), frame);
            }
        }
        self.pass(self.now + trial.learning_settle);
    }
}

/// Lets the device do what is to be done at `now`; notes what comes out, and the pauses asked for.
fn settle(dut: &mut dyn VirtualDut, now: Nanos, judge: &mut Judge, senders: &[Sender], pauses: &mut Vec<(usize, u16)>) {
    dut.settle(now, &mut |port, frame| {
        if let Some(quanta) = judge.received(port, now, frame, senders) {
            pauses.push((port.index(), quanta));
        }
    });
}

impl Testbed for VirtualTestbed {
    fn ports(&self) -> &[TestPort] {
        &self.ports
    }

    fn describe(&self) -> String {
        format!("{}, on the virtual clock", self.description)
    }

    fn is_virtual(&self) -> bool {
        true
    }

    fn can_reset(&self) -> bool {
        self.dut.can_reset()
    }

    fn run(&mut self, trial: &Trial, watch: &mut dyn FnMut(TrialProgress) -> bool) -> Result<TrialResult, TestbedError> {
        if trial.ports.len() != self.ports.len() {
            return Err(TestbedError::Setup(format!("the trial is for {} ports, there are {}", trial.ports.len(), self.ports.len())));
        }
        if trial.reset_at.is_some() && !self.dut.can_reset() {
            return Err(TestbedError::Unsupported("reset the device in the midst of a trial".to_owned()));
        }
        let not_taken = self.dut.not_taken();
        self.learn(trial);
        let start = self.now;
        let mut senders: Vec<Sender> =
            trial.ports.iter().zip(&self.ports).map(|(port, line)| Sender::new(port, trial.streams.len(), line.line_bps)).collect();
        let mut judge = Judge::new(trial, &self.ports, start);
        let length = trial.length();
        let mut reset_at = trial.reset_at.map(|at| start + at);
        // Nothing more is waited for once all is sent and `wait` is over.
        let mut last_sent = start;
        let mut pauses: Vec<(usize, u16)> = Vec::new();
        let mut due: Vec<usize> = Vec::new();
        let mut countdown = WATCH_EVERY;
        loop {
            let departure = senders.iter().filter_map(Sender::next_departure).min().map(|at| start + at);
            let event = self.dut.next_event().filter(|&at| departure.is_some() || at <= last_sent + trial.wait);
            let Some(next) = [departure, event, reset_at].into_iter().flatten().min() else { break };
            let now = next.max(self.now);
            self.now = now;
            if reset_at.is_some_and(|at| at <= now) {
                self.dut.reset(now);
                reset_at = None;
            }
            // Those whose frame arrives now, in the order of this instant.
            due.clear();
            due.extend(
                senders
                    .iter()
                    .enumerate()
                    .filter(|(_, sender)| sender.next_departure().is_some_and(|at| start + at <= now))
                    .map(|(index, _)| index),
            );
            due.sort_by_key(|&index| turn(now, index));
            for &index in &due {
                while senders[index].next_departure().is_some_and(|at| start + at <= now) {
                    let Some(departure) = senders[index].depart() else { continue };
                    let (intended, sent) = (start + departure.intended, start + departure.sent);
                    last_sent = sent;
                    countdown = countdown.saturating_sub(1);
                    let port = PortId(index as u8);
                    match departure.frame.stream {
                        None => self.dut.feed(now, port, &departure.frame.bytes),
                        Some(stream) => {
                            self.scratch.clear();
                            self.scratch.extend_from_slice(&departure.frame.bytes);
                            Stamp { stream, sequence: departure.sequence, intended, sent }.write(&mut self.scratch);
                            judge.sent(stream, departure.sequence, sent);
                            self.dut.feed(now, port, &self.scratch);
                        }
                    }
                }
                if due.len() > 1 {
                    settle(self.dut.as_mut(), now, &mut judge, &senders, &mut pauses);
                }
            }
            settle(self.dut.as_mut(), now, &mut judge, &senders, &mut pauses);
            for (port, quanta) in pauses.drain(..) {
                senders[port].pause(now.since(start), quanta);
            }
            // A device that is due and does nothing must not stop the clock.
            if self.dut.next_event().is_some_and(|again| again <= now) && departure.is_none_or(|at| at > now) {
                self.now = now + Nanos(1);
            }
            if countdown == 0 {
                countdown = WATCH_EVERY;
                if !watch(TrialProgress { elapsed: now.since(start), length }) {
                    return Err(TestbedError::Interrupted);
                }
            }
        }
        self.pass(self.now.max(last_sent + trial.wait) + trial.rest);
        let mut result = judge.finish(trial, &self.ports, &senders);
        for (index, (before, after)) in not_taken.iter().zip(self.dut.not_taken()).enumerate() {
            if after > *before {
                let port = self.ports[index].name.clone();
                result.invalid.push(crate::trial::Invalid::NotTaken { port, frames: after - before });
            }
        }
        if watch(TrialProgress { elapsed: length, length }) { Ok(result) } else { Err(TestbedError::Interrupted) }
    }
}
