//! The whole switch in one thread, on a clock that is told: simulations, deterministic replay, tests.

use control::Control;
use dataplane::{Ledger, Observer, Worker};
use port::Nanos;

use crate::assembly::Switch;

impl Switch {
    /// Polls workers and control at `now` until nothing more happens.
    ///
    /// Each frame of one step is thus wherever it goes before the next step begins, on one worker or on several.
    pub fn settle(&mut self, now: Nanos) {
        self.settle_observed(now, &mut ());
    }

    /// [`settle`](Self::settle), with somebody watching the phases.
    pub fn settle_observed<O: Observer>(&mut self, now: Nanos, observer: &mut O) {
        settle(&mut self.workers, &mut self.control, now, observer);
    }

    /// When something happens that nobody outside causes: a queue has to be flushed, control has to send.
    pub fn next_event(&self) -> Option<Nanos> {
        self.workers.iter().filter_map(|worker| worker.next_event()).chain(self.control.next_event()).min()
    }

    /// When a bus lets the next frame go.
    pub fn next_bus_event(&self) -> Option<Nanos> {
        self.workers.iter().filter_map(Worker::next_bus_event).min()
    }

    /// The ledger after [`settle`](Self::settle), or why it does not balance: in total or for a port.
    pub fn check_ledger(&self) -> Result<Ledger, String> {
        let ledger = self.control.ledger();
        if !ledger.is_balanced() {
            return Err(ledger.to_string());
        }
        let counters = |index: usize| self.control.port_counters(port::PortId(index as u8));
        // What is between workers is nobody's yet; what waits for a bus is a port's.
        let waiting: u64 = (0..self.control.config().ports.len()).map(|index| counters(index).held).sum();
        for (index, port) in self.control.config().ports.iter().enumerate() {
            let counters = counters(index);
            if ledger.held == waiting && !counters.is_balanced(0) {
                return Err(format!("port {}: {counters:?}", port.name));
            }
        }
        Ok(ledger)
    }

    /// Gives unused buffers back to the pool, so that it can be counted.
    pub fn flush_pools(&mut self) {
        self.workers.iter_mut().for_each(dataplane::Worker::flush_pool);
        self.control.flush_pool();
    }
}

/// Polls at `now` until nothing more happens, then has everybody count.
pub(crate) fn settle<O: Observer>(workers: &mut [Worker], control: &mut Control, now: Nanos, observer: &mut O) {
    settle_while(workers, control, now, observer, || true);
}

/// [`settle`], but only while `go_on` says so: on the ports of a machine something may happen without end.
pub(crate) fn settle_while<O: Observer>(
    workers: &mut [Worker],
    control: &mut Control,
    now: Nanos,
    observer: &mut O,
    go_on: impl Fn() -> bool,
) {
    loop {
        let mut done = 0;
        for worker in workers.iter_mut() {
            done += worker.turn(now, observer);
        }
        done += control.poll(now);
        if done == 0 || !go_on() {
            break;
        }
    }
    for worker in workers {
        worker.housekeep(now);
    }
}
