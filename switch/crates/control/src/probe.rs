//! Probes: blades that are asked again and again whether they are well, and what came of it.
//!
//! A state machine without I/O. [`Probes::due`] tells whom to ask at `now`; whoever asks says so by [`Probes::asked`], and what came back by
//! [`Probes::answered`]; [`Probes::handle_timeout`] does what is due of unanswered questions; [`Probes::poll_timeout`] says when there is
//! something to do again. A question is asked exactly every interval and is unanswered exactly when its time is over; an answer
//! at that instant counts.
//!
//! A blade is well until it has failed `fall` questions in a row, and again after `rise` right answers in a row. One whose link was down or whose
//! port was switched off is not asked meanwhile, and begins as one that has failed: what comes back proves itself first. At the start
//! of the switch all that are there are taken for well.

use std::collections::BTreeMap;

use port::{Nanos, PortId};
use serde::{Deserialize, Serialize};

use crate::config::ProbeConfig;

/// Who asks whom: the function, or `None` for the blade itself, and the port.
pub type Key = (Option<String>, PortId);

/// What is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// An ARP reply for this address.
    Arp(std::net::Ipv4Addr),
    /// The acknowledgement of this transaction.
    Ack(u32),
}

/// What is known of one blade by asking it.
#[derive(Clone, Debug)]
pub struct Probe {
    /// How it is asked.
    pub config: ProbeConfig,
    /// It is well.
    pub well: bool,
    /// Answers in a row that speak against [`well`](Self::well).
    pub against: u32,
    /// Questions asked.
    pub asked: u64,
    /// Of these, those that were answered as they should be.
    pub answered: u64,
    /// The last answer; `None`: there was none yet.
    pub last: Option<Answer>,
    /// Its port is up: it is asked.
    runs: bool,
    next: Nanos,
    pending: Option<(Nanos, Awaited)>,
}

/// An answer, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// When it came, or when waiting was over, in nanoseconds since the start.
    pub time_ns: u64,
    /// `ok`, `timeout`, `no-address`, `no-hello`, or what the blade has said: `unsupported`, `failed`, `refused` or a number.
    pub said: String,
    /// Nanoseconds from question to answer; `None` without one.
    pub round_trip_ns: Option<u64>,
}

/// All probes of one switch.
#[derive(Debug, Default)]
pub struct Probes(BTreeMap<Key, Probe>);

impl Probes {
    /// These probes from now on. Those that there were with the same configuration go on.
    pub fn follow(&mut self, wanted: impl IntoIterator<Item = (Key, ProbeConfig)>) {
        let mut before = std::mem::take(&mut self.0);
        for (key, config) in wanted {
            let probe = before.remove(&key).filter(|probe| probe.config == config).unwrap_or(Probe {
                config,
                well: true,
                against: 0,
                asked: 0,
                answered: 0,
                last: None,
                runs: true,
                next: Nanos::ZERO,
                pending: None,
            });
            self.0.insert(key, probe);
        }
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is known of a blade by asking it for a function, or for itself.
    pub fn get(&self, function: Option<&str>, port: PortId) -> Option<&Probe> {
        self.0.get(&(function.map(str::to_owned), port))
    }

    /// Nothing that is asked speaks against the blade: it is well, or is not asked.
    pub fn is_well(&self, function: Option<&str>, port: PortId) -> bool {
        self.get(function, port).is_none_or(|probe| probe.well)
    }

    /// Ports that are up; `true` if somebody is not well any more for that.
    pub fn set_up(&mut self, now: Nanos, is_up: impl Fn(PortId) -> bool) -> bool {
        let mut changed = false;
        for ((_, port), probe) in &mut self.0 {
            let up = is_up(*port);
            if up && !probe.runs {
                probe.next = now;
            }
            if !up && probe.runs {
                changed |= probe.well;
                (probe.well, probe.against, probe.pending) = (false, 0, None);
            }
            probe.runs = up;
        }
        changed
    }

    /// Who is to be asked at `now`, and how. To be followed by [`asked`](Self::asked) or [`failed`](Self::failed) for each.
    pub fn due(&self, now: Nanos) -> Vec<(Key, ProbeConfig)> {
        let due = self.0.iter().filter(|(_, probe)| probe.runs && probe.pending.is_none() && probe.next <= now);
        due.map(|(key, probe)| (key.clone(), probe.config.clone())).collect()
    }

    /// It was asked.
    pub fn asked(&mut self, now: Nanos, key: &Key, awaited: Awaited) {
        let Some(probe) = self.0.get_mut(key) else { return };
        probe.asked += 1;
        probe.pending = Some((now, awaited));
        probe.next = next(probe, now);
    }

    /// It could not be asked, for the reason of this name; `true` if it is not well any more.
    pub fn failed(&mut self, now: Nanos, key: &Key, reason: &str) -> bool {
        let Some(probe) = self.0.get_mut(key) else { return false };
        probe.next = next(probe, now);
        judge(key, probe, Answer { time_ns: now.0, said: reason.to_owned(), round_trip_ns: None })
    }

    /// Something came in by a port; `true` if somebody is well, or not well, now and was not so before. `said` is `ok` or what else it says.
    pub fn answered(&mut self, now: Nanos, port: PortId, answer: Awaited, said: &str) -> bool {
        let mut changed = false;
        for (key, probe) in self.0.iter_mut().filter(|((_, of), _)| *of == port) {
            if let Some((since, _)) = probe.pending.take_if(|(_, awaited)| *awaited == answer) {
                let answer = Answer { time_ns: now.0, said: said.to_owned(), round_trip_ns: Some(now.since(since).0) };
                changed |= judge(key, probe, answer);
            }
        }
        changed
    }

    /// Waiting is over for whom it is; `true` if somebody is not well any more. Also gives the transactions that nobody waits for any more.
    pub fn handle_timeout(&mut self, now: Nanos) -> (bool, Vec<u32>) {
        let (mut changed, mut given_up) = (false, Vec::new());
        for (key, probe) in &mut self.0 {
            let timeout = Nanos::from_millis(probe.config.timeout_ms);
            if let Some((_, awaited)) = probe.pending.take_if(|(since, _)| *since + timeout <= now) {
                if let Awaited::Ack(transaction) = awaited {
                    given_up.push(transaction);
                }
                changed |= judge(key, probe, Answer { time_ns: now.0, said: "timeout".to_owned(), round_trip_ns: None });
            }
        }
        (changed, given_up)
    }

    /// When there is something to do without being asked.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        let at = |probe: &Probe| match probe.pending {
            Some((since, _)) => since + Nanos::from_millis(probe.config.timeout_ms),
            None => probe.next,
        };
        self.0.values().filter(|probe| probe.runs).map(at).min()
    }
}

/// An interval after the last question was due; after `now` if that is over already.
fn next(probe: &Probe, now: Nanos) -> Nanos {
    let interval = Nanos::from_millis(probe.config.interval_ms);
    let next = probe.next + interval;
    if next > now { next } else { now + interval }
}

/// Takes an answer into account; `true` if the blade is well now and was not, or the other way round.
fn judge(key: &Key, probe: &mut Probe, answer: Answer) -> bool {
    let ok = answer.said == "ok";
    probe.answered += u64::from(ok);
    probe.against = if ok == probe.well { 0 } else { probe.against + 1 };
    let enough = if probe.well { probe.config.fall } else { probe.config.rise };
    let changed = probe.against >= enough;
    if changed {
        (probe.well, probe.against) = (ok, 0);
        let (function, port) = (key.0.as_deref().unwrap_or("-"), key.1.0);
        tracing::warn!(function, port, said = answer.said, "a blade {} its probe", if ok { "answers" } else { "fails" });
    }
    probe.last = Some(answer);
    changed
}
