//! The switch in real time: a pinned thread for each worker, one for control.
//!
//! Threads that wait for each other's rings would cost nothing but the cores they spin on. So `idle = "adaptive"` has them sleep:
//! workers as in `idle`, control parked until a worker has told it something. Whoever puts something into a ring
//! of a sleeper wakes it afterwards, here, not in the data plane, which knows neither sleep nor kernel. `idle = "spin"` wakes
//! nobody: workers never sleep, control looks every millisecond.
//!
//! A worker that panics does not take the others with it: see [`Fall`].

mod confine;
mod fall;
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
pub use confine::Filter;
pub use fall::Fall;
use fall::Watch;
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
/// How long a worker that is told to stop may take until nobody waits for it any more. It takes microseconds, unless a driver keeps it.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A switch running in threads of its own. Dropping it stops it.
pub struct Running {
    control: Arc<Mutex<Control>>,
    stop: Arc<AtomicBool>,
    control_thread: Option<JoinHandle<()>>,
    workers: Watch,
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
        let filter = if self.control.config().switch.seccomp { Filter::new().map(Some) } else { Ok(None) };
        let filter = filter.unwrap_or_else(|error| unconfined(&error));
        let control = Arc::new(Mutex::new(self.control));
        if idle == Idle::Adaptive {
            let bells = Arc::clone(&bells);
            lock(&control).on_command(Box::new(move |worker| bells[worker].ring()));
        }
        let mut running = Running { control, stop, control_thread: None, workers: Watch::new(), bells, clock };
        let thread = std::thread::Builder::new().name("control".to_owned());
        let (control, stop, clock) = (Arc::clone(&running.control), Arc::clone(&running.stop), running.clock.clone());
        let control = thread.spawn(move || run_control(&control, &clock, idle, &stop))?;
        let control_thread = control.thread().clone();
        running.control_thread = Some(control);
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
            let (filter, shared) = (filter.clone(), Arc::clone(&running.control));
            let work = running.workers.thread(index, move || {
                pin(core);
                match filter.map(|filter| filter.confine()) {
                    Some(Ok(())) => lock(&shared).is_confined_now(index),
                    Some(Err(error)) => unconfined(&error),
                    None => {}
                }
                drop(shared);
                turning.run(worker)
            });
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            if let Err(error) = thread.spawn(work) {
                running.workers.forget(index);
                return Err(error);
            }
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

    /// The first worker that panics: comes to pass as soon as it has, and never if none does. The others go on until they are stopped.
    pub fn fall(&self) -> impl Future<Output = Fall> + 'static {
        self.workers.fall()
    }

    /// [`end`](Self::end), where no worker may be lost.
    ///
    /// # Panics
    /// If a worker has panicked: its frames are lost, and pretending otherwise would be worse.
    pub fn stop(&mut self) {
        if let Err(fall) = self.end() {
            panic!("{fall}");
        }
    }

    /// Stops the threads, then lets what is on its way arrive, for a tenth of a second at most. Control can still be asked afterwards.
    ///
    /// # Errors
    /// A worker was lost, with the frames it held and the queues it had: it has panicked, or did not stop within ten seconds. The others have stopped.
    ///
    /// # Panics
    /// If control's thread has panicked.
    pub fn end(&mut self) -> Result<(), Fall> {
        self.end_within(STOP_PATIENCE)
    }

    fn end_within(&mut self, patience: Duration) -> Result<(), Fall> {
        self.stop.store(true, Ordering::Release);
        self.bells.iter().for_each(Bell::ring);
        if let Some(thread) = self.control_thread.take() {
            thread.thread().unpark();
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        let (mut workers, ended) = self.workers.wait(patience);
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
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if (self.control_thread.is_some() || !self.workers.is_over()) && !std::thread::panicking() {
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

/// The switch runs without filters of system calls, too.
fn unconfined<T: Default>(error: &seccompiler::Error) -> T {
    tracing::warn!(%error, "the system calls of workers are not filtered");
    T::default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembly;
    use control::config::Config;
    use port::{Burst, Nanos, PoolCache, Port, RxQueue};
    use std::sync::mpsc;

    /// Longer than anything here takes, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A device's queue that does something of its own when it is polled.
    struct Queue<F>(F);

    impl<F: FnMut(&mut PoolCache, &mut Burst) + Send> RxQueue for Queue<F> {
        fn rx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst, _max: usize) -> usize {
            let before = burst.len();
            (self.0)(pool, burst);
            burst.len() - before
        }
    }

    /// A switch of two workers with a port each and this queue instead of the first port's, and the far ends of both ports.
    fn start(idle: Idle, queue: impl FnMut(&mut PoolCache, &mut Burst) + Send + 'static) -> (Running, Vec<Port>) {
        let config = "[switch]\nworkers = 2\n[[blade]]\nslot = 1\nport = \"memory:\"\n[[blade]]\nslot = 2\nport = \"memory:\"\n";
        let config = Config::parse(config, "test.toml").unwrap();
        let mempool = assembly::mempool(&config).unwrap();
        let (mut near, far, _) = assembly::memory_ports(&config, 64);
        near[0].rx = vec![Box::new(Queue(queue))];
        (assembly::build(&config, near, &mempool, 1).start(&[], idle, TscClock::new()).unwrap(), far)
    }

    fn frame(last: u8) -> [u8; 60] {
        let mut frame = [last; 60];
        frame[..12].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, last]);
        frame
    }

    /// Ends a switch in a thread, so that an end that does not come is a failure.
    fn ended(mut running: Running, patience: Duration) -> (Running, Result<(), Fall>) {
        let (to, from) = mpsc::channel();
        std::thread::spawn(move || {
            let ended = running.end_within(patience);
            let _ = to.send((running, ended));
        });
        from.recv_timeout(PATIENCE).expect("the switch ends")
    }

    #[test]
    fn a_worker_that_panics_is_named_at_once_and_the_other_goes_on() {
        for idle in [Idle::Spin, Idle::Adaptive] {
            let (tell, told) = mpsc::channel::<()>();
            let (running, mut far) = start(idle, move |_, _| assert!(told.try_recv().is_err(), "out of {}", "order"));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let not_yet = async { tokio::time::timeout(Duration::from_millis(1), running.fall()).await };
            assert!(runtime.block_on(not_yet).is_err(), "nobody has fallen");
            tell.send(()).unwrap();
            let fall = async { tokio::time::timeout(PATIENCE, running.fall()).await };
            let fall = runtime.block_on(fall).expect("the panic is noticed");
            assert_eq!(fall.worker, 0);
            let text = fall.to_string();
            assert!(
                text.starts_with("worker 0 panicked at ") && text.contains("threads.rs:") && text.ends_with(": out of order"),
                "{text}"
            );
            // The other one takes frames until it is told to stop.
            let mempool = running.control().mempool().clone();
            let mut pool = mempool.cache();
            for last in 0..200 {
                let mut burst = Burst::new();
                burst.push(pool.alloc_copy(&frame(last)).unwrap());
                while far[1].tx[0].tx_burst(Nanos::ZERO, &mut pool, &mut burst) == 0 {
                    std::thread::yield_now(); // The queue holds 64: it has taken some of them.
                }
            }
            let (running, end) = ended(running, PATIENCE);
            assert_eq!(end, Err(fall));
            assert_eq!(running.control().port_counters(port::PortId(1)).rx, 200);
        }
    }

    #[test]
    fn a_worker_that_never_comes_back_is_not_waited_for() {
        let (_kept, never) = mpsc::channel::<()>();
        let (running, _far) = start(Idle::Spin, move |_, _| {
            let _ = never.recv();
        });
        // The other worker needs no more than a moment; if it gets none, it is not the one that is named.
        let (_, end) = ended(running, Duration::from_millis(500));
        let fall = end.unwrap_err();
        assert_eq!(fall.to_string(), "worker 0 did not stop within 0.5 s");
    }

    #[test]
    fn system_calls_are_filtered_unless_the_configuration_says_otherwise() {
        if let Err(error) = std::thread::spawn(|| Filter::new().unwrap().confine()).join().unwrap() {
            println!("skipped: no seccomp here: {error}");
            return;
        }
        let (to, worker) = mpsc::channel();
        let mut looked = false;
        let (running, _far) = start(Idle::Spin, move |_, _| {
            if !std::mem::replace(&mut looked, true) {
                to.send(std::fs::File::open("/proc/self/status").map_err(|error| error.kind()).map(drop)).unwrap();
            }
        });
        assert_eq!(worker.recv_timeout(PATIENCE), Ok(Err(std::io::ErrorKind::PermissionDenied)));
        // It has said so before its first turn.
        assert!(running.control().confined()[0] && control::show::workers(&running.control()).workers[0].seccomp);
        assert_eq!(ended(running, PATIENCE).1, Ok(()));
    }

    #[test]
    fn a_port_that_never_runs_dry_does_not_keep_the_switch_from_ending() {
        let (running, _far) = start(Idle::Spin, |pool, burst| burst.extend(pool.alloc_copy(&frame(1))));
        while running.control().port_counters(port::PortId(0)).rx == 0 {
            std::thread::yield_now();
        }
        let (running, end) = ended(running, PATIENCE);
        assert_eq!(end, Ok(()));
        assert!(running.control().ledger().is_balanced(), "{}", running.control().ledger());
    }
}
