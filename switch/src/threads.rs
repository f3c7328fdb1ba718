//! The switch in real time: a pinned thread for each worker, one for control.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use control::Control;
use control::config::Idle;
use core_affinity::CoreId;
use dataplane::Worker;
use dataplane::counters::PublishedPhases;
use dataplane::pipeline::CycleObserver;
use port::Nanos;
use port::clock::TscClock;

use crate::assembly::Switch;
use crate::single::settle;

/// One turn in so many has its phases timed: reading the time stamp counter eight times a turn would otherwise show.
const SAMPLE_TURNS: u64 = 64;
/// Turns between looks at the stop flag and the idle policy.
const CHECK_TURNS: u64 = 64;
/// `adaptive`: after so long without a frame the worker begins to sleep.
const QUIET: Nanos = Nanos(50_000);
/// The first and the longest sleep. Linux adds some 50 µs to each.
const SLEEP_MIN: Duration = Duration::from_micros(20);
const SLEEP_MAX: Duration = Duration::from_millis(1);
/// Control's period.
const CONTROL_PERIOD: Duration = Duration::from_millis(1);

/// A switch running in threads of its own. Dropping it stops it.
pub struct Running {
    control: Arc<Mutex<Control>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Option<Worker>>>,
    clock: TscClock,
}

impl Switch {
    /// Starts a thread for each worker, on its core of `cores` if there is one for it, and one for control.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(self, cores: &[usize], idle: Idle, clock: TscClock) -> std::io::Result<Running> {
        let stop = Arc::new(AtomicBool::new(false));
        let phases = self.control.phases().to_vec();
        let control = Arc::new(Mutex::new(self.control));
        let mut threads = Vec::new();
        for (index, (worker, phases)) in self.workers.into_iter().zip(phases).enumerate() {
            let (stop, clock, core) = (Arc::clone(&stop), clock.clone(), cores.get(index).copied());
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || {
                pin(core);
                Some(run_worker(worker, &clock, idle, &stop, &phases))
            })?);
        }
        let (for_thread, stopping, for_clock) = (Arc::clone(&control), Arc::clone(&stop), clock.clone());
        threads.push(std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            while !stopping.load(Ordering::Acquire) {
                lock(&for_thread).poll(for_clock.now());
                std::thread::park_timeout(CONTROL_PERIOD);
            }
            None
        })?);
        Ok(Running { control, stop, threads, clock })
    }
}

impl Running {
    /// The control plane, for as long as the guard lives: keep that short, its thread waits.
    pub fn control(&self) -> MutexGuard<'_, Control> {
        lock(&self.control)
    }

    /// The control plane, to share with a server.
    pub fn shared_control(&self) -> Arc<Mutex<Control>> {
        Arc::clone(&self.control)
    }

    /// The clock the switch runs on.
    pub fn clock(&self) -> &TscClock {
        &self.clock
    }

    /// Stops the threads, then lets what is on its way arrive. Control can still be asked afterwards.
    ///
    /// # Panics
    /// If a worker has panicked: its frames are lost, and pretending otherwise would be worse.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let mut workers = Vec::new();
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            match thread.join() {
                Ok(worker) => workers.extend(worker),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        settle(&mut workers, &mut lock(&self.control), self.clock.now(), &mut ());
        for worker in &mut workers {
            worker.flush_pool();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.threads.is_empty() && !std::thread::panicking() {
            self.stop();
        }
    }
}

fn lock(control: &Mutex<Control>) -> MutexGuard<'_, Control> {
    // A panic while it was held is one of a request's handler; control itself is not left half changed by reading.
    control.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pin(core: Option<usize>) {
    if let Some(id) = core
        && !core_affinity::set_for_current(CoreId { id })
    {
        tracing::warn!(core = id, "cannot pin a worker to this core: it runs where the system puts it");
    }
}

fn run_worker(mut worker: Worker, clock: &TscClock, idle: Idle, stop: &AtomicBool, phases: &PublishedPhases) -> Worker {
    let mut observer = CycleObserver::new(|| clock.ticks());
    let mut quiet_since: Option<Nanos> = None;
    let mut sleep = SLEEP_MIN;
    for turn in 0u64.. {
        let now = clock.now();
        let handled = if turn.is_multiple_of(SAMPLE_TURNS) { worker.poll_once(now, &mut observer) } else { worker.poll_once(now, &mut ()) };
        if handled > 0 {
            quiet_since = None;
            sleep = SLEEP_MIN;
        } else {
            std::hint::spin_loop();
            // While the FDB is being shown the worker stays awake: a part goes out at each housekeeping.
            if worker.is_showing() {
                worker.housekeep(now);
            } else if idle == Idle::Adaptive && now.since(*quiet_since.get_or_insert(now)) > QUIET {
                worker.housekeep(now);
                std::thread::park_timeout(sleep);
                sleep = (sleep * 2).min(SLEEP_MAX);
            }
        }
        if turn.is_multiple_of(CHECK_TURNS) || sleep > SLEEP_MIN {
            phases.store(&observer.costs);
            if stop.load(Ordering::Acquire) {
                break;
            }
        }
    }
    worker
}
