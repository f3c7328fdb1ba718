//! The switch in real time: a pinned thread for each worker, one for control.
//!
//! Threads that wait for each other's rings would cost nothing but the cores they spin on. So `idle = "adaptive"` has them sleep:
//! workers as in `idle`, control parked until a worker has told it something. Whoever puts something into a ring
//! of a sleeper wakes it afterwards, here, not in the data plane, which knows neither sleep nor kernel. `idle = "spin"` wakes
//! nobody: workers never sleep, control looks every millisecond.

mod idle;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use control::Control;
use control::config::Idle;
use core_affinity::CoreId;
use dataplane::Worker;
use dataplane::counters::PublishedPhases;
use dataplane::pipeline::CycleObserver;
use port::clock::TscClock;

use crate::assembly::Switch;
use crate::single::settle_while;
use idle::{Bell, Idler};

/// One turn in so many has its phases timed: reading the time stamp counter eight times a turn would otherwise show.
const SAMPLE_TURNS: u64 = 64;
/// Turns between looks at the stop flag.
const CHECK_TURNS: u64 = 64;
/// How long control sleeps when nobody wakes it. It finds changes of links by looking.
const CONTROL_SLEEP_MAX: Duration = Duration::from_millis(20);
/// Control's period beside workers that never sleep and wake nobody: a call of the kernel in between is what they must not have.
const CONTROL_PERIOD: Duration = Duration::from_millis(1);
/// After it has done something control leaves the lock to others for so long.
const CONTROL_BREATH: Duration = Duration::from_micros(100);
/// How long a switch that is to end forwards what still comes in, in nanoseconds.
const STOP_NS_MAX: u64 = 100_000_000;

/// A switch running in threads of its own. Dropping it stops it.
pub struct Running {
    control: Arc<Mutex<Control>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Option<Worker>>>,
    bells: Arc<[Bell]>,
    clock: TscClock,
}

impl Switch {
    /// Starts a thread for each worker, on its core of `cores` if there is one for it, and one for control.
    ///
    /// # Errors
    /// If the system refuses a thread or a descriptor.
    pub fn start(self, cores: &[usize], idle: Idle, clock: TscClock) -> std::io::Result<Running> {
        let stop = Arc::new(AtomicBool::new(false));
        let phases = self.control.phases().to_vec();
        let bells: Arc<[Bell]> = self.workers.iter().map(|_| Bell::new()).collect::<Result<_, _>>()?;
        let control = Arc::new(Mutex::new(self.control));
        if idle == Idle::Adaptive {
            let bells = Arc::clone(&bells);
            lock(&control).on_command(Box::new(move |worker| bells[worker].ring()));
        }
        let mut running = Running { control, stop, threads: Vec::new(), bells, clock };
        let thread = std::thread::Builder::new().name("control".to_owned());
        let (control, stop, clock) = (Arc::clone(&running.control), Arc::clone(&running.stop), running.clock.clone());
        let control = thread.spawn(move || {
            run_control(&control, &clock, idle, &stop);
            None
        })?;
        let control_thread = control.thread().clone();
        running.threads.push(control);
        for (index, (worker, phases)) in self.workers.into_iter().zip(phases).enumerate() {
            let turning = Turning {
                index,
                clock: running.clock.clone(),
                idle,
                stop: Arc::clone(&running.stop),
                bells: Arc::clone(&running.bells),
                control: control_thread.clone(),
                phases,
            };
            let core = cores.get(index).copied();
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            running.threads.push(thread.spawn(move || {
                pin(core);
                Some(turning.run(worker))
            })?);
        }
        Ok(running)
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

    /// Stops the threads, then lets what is on its way arrive, for a tenth of a second at most. Control can still be asked afterwards.
    ///
    /// # Panics
    /// If a worker has panicked: its frames are lost, and pretending otherwise would be worse.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.bells.iter().for_each(Bell::ring);
        let mut workers = Vec::new();
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            match thread.join() {
                Ok(worker) => workers.extend(worker),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        let now = self.clock.now();
        // Stations that send without pause must not keep a switch that is to end.
        settle_while(&mut workers, &mut lock(&self.control), now, &mut (), || self.clock.now().0 - now.0 < STOP_NS_MAX);
        for worker in &mut workers {
            // What still waits for its turn on a bus would wait for ever.
            worker.release_buses(self.clock.now());
            worker.publish();
        }
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

fn run_control(control: &Mutex<Control>, clock: &TscClock, idle: Idle, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let now = clock.now();
        let (done, next) = {
            let mut control = lock(control);
            (control.poll(now), control.next_event())
        };
        match idle {
            Idle::Spin => std::thread::park_timeout(CONTROL_PERIOD),
            Idle::Adaptive if done > 0 => std::thread::sleep(CONTROL_BREATH),
            Idle::Adaptive => {
                let until_next = next.map_or(CONTROL_SLEEP_MAX, |next| Duration::from_nanos(next.since(now).0));
                std::thread::park_timeout(until_next.min(CONTROL_SLEEP_MAX));
            }
        }
    }
}

/// What a worker's thread has beside the worker.
struct Turning {
    index: usize,
    clock: TscClock,
    idle: Idle,
    stop: Arc<AtomicBool>,
    /// Those of all workers.
    bells: Arc<[Bell]>,
    control: Thread,
    phases: Arc<PublishedPhases>,
}

impl Turning {
    fn run(self, mut worker: Worker) -> Worker {
        let clock = &self.clock;
        let bell = &self.bells[self.index];
        let mut observer = CycleObserver::new(|| clock.ticks());
        let mut idler = Idler::default();
        let mut told = Told::by(&worker);
        for turn in 0u64.. {
            let now = clock.now();
            let handled =
                if turn.is_multiple_of(SAMPLE_TURNS) { worker.poll_once(now, &mut observer) } else { worker.poll_once(now, &mut ()) };
            let mut slept = false;
            if handled > 0 {
                idler.busy();
            } else {
                std::hint::spin_loop();
                // While the FDB is being shown the worker stays awake: a part goes out at each housekeeping.
                if worker.is_showing() {
                    worker.housekeep(now);
                } else if self.idle == Idle::Adaptive && idler.is_due(now) {
                    worker.housekeep(now);
                    slept = true;
                    let found = idler.last_look(bell, || worker.turn(now, &mut ()) + usize::from(self.is_stopping()));
                    if found {
                        idler.busy();
                    } else {
                        idler.sleep(&worker, bell, now);
                    }
                }
            }
            if self.idle == Idle::Adaptive {
                told.wake(&worker, &self);
            }
            if turn.is_multiple_of(CHECK_TURNS) || slept {
                self.phases.store(&observer.costs);
                if self.is_stopping() {
                    break;
                }
            }
        }
        worker
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// What a worker had told the others when they were last woken.
struct Told {
    control: usize,
    workers: u64,
}

impl Told {
    fn by(worker: &Worker) -> Told {
        Told { control: worker.told_control(), workers: worker.crossed_out() }
    }

    /// Wakes control and the other workers if there is something new for them.
    #[inline]
    fn wake(&mut self, worker: &Worker, turning: &Turning) {
        let now = Told::by(worker);
        if now.control != self.control {
            turning.control.unpark();
        }
        if now.workers != self.workers {
            let others = turning.bells.iter().enumerate().filter(|(index, _)| *index != turning.index);
            others.for_each(|(_, bell)| bell.ring());
        }
        *self = now;
    }
}
