//! A worker that panics is noticed at once, and the others can still be stopped in order.
//!
//! A panic hook runs on the thread that panics before anything is undone, also in builds whose panics abort the process (the release profile's do).
//! On a worker's thread ours says who fell and why, and does not return: the worker stays as it is, with its queues and its frames, until
//! the process ends, or, where panics unwind, until nobody watches any more. (While a hook runs, nobody can set another: whoever tries waits.)
//! Nobody waits for the worker, and it holds no lock that somebody could wait for. On any other thread a panic takes its usual course.
//!
//! Threads: each worker's has a [`Witness`], whoever stops them has the [`Watch`].

use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use dataplane::Worker;
use thiserror::Error;
use tokio::sync::Notify;

/// How a worker was lost.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("worker {worker} {why}")]
pub struct Fall {
    /// Its number, from 0.
    pub worker: usize,
    /// What it did, after its name: `panicked at …`.
    pub why: String,
}

/// The first worker that fell.
#[derive(Debug, Default)]
struct First {
    fall: Mutex<Option<Fall>>,
    told: Notify,
    /// Nobody watches any more.
    over: Mutex<bool>,
    ended: Condvar,
}

/// How a worker's thread ended.
enum End {
    Stopped(usize, Box<Worker>),
    Fell(Fall),
}

/// A worker's thread tells by it how it ends.
#[derive(Clone)]
struct Witness {
    worker: usize,
    ends: Sender<End>,
    first: Arc<First>,
}

thread_local! {
    /// Of a worker's thread.
    static WITNESS: RefCell<Option<Witness>> = const { RefCell::new(None) };
}

/// Hears how the workers' threads end.
pub struct Watch {
    /// In a lock that nobody takes, so that whoever has a `Watch` may be shared.
    ends: Mutex<Receiver<End>>,
    /// Kept so that there is always somebody who could still tell.
    to: Sender<End>,
    first: Arc<First>,
    /// Workers whose end has not been heard of.
    running: Vec<usize>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.first.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.first.ended.notify_all();
    }
}

impl Watch {
    /// Watches nobody yet.
    pub fn new() -> Watch {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                before(info);
                fell(info);
            }));
        });
        let (to, ends) = channel();
        Watch { ends: Mutex::new(ends), to, first: Arc::default(), running: Vec::new() }
    }

    /// What the thread of a worker runs: `work`, and word of its end.
    pub fn thread(&mut self, worker: usize, work: impl FnOnce() -> Worker + Send + 'static) -> impl FnOnce() + Send + 'static {
        self.running.push(worker);
        let witness = Witness { worker, ends: self.to.clone(), first: Arc::clone(&self.first) };
        move || {
            WITNESS.set(Some(witness.clone()));
            let stopped = Box::new(work());
            WITNESS.set(None);
            let _ = witness.ends.send(End::Stopped(worker, stopped)); // If nobody hears it, nobody wants the worker.
        }
    }

    /// No thread is watched whose end has not been heard of.
    pub fn is_over(&self) -> bool {
        self.running.is_empty()
    }

    /// The thread of this worker was not started after all.
    pub fn forget(&mut self, worker: usize) {
        self.running.retain(|running| *running != worker);
    }

    /// The first fall, once there is one.
    pub fn fall(&self) -> impl Future<Output = Fall> + 'static {
        let first = Arc::clone(&self.first);
        async move {
            loop {
                let told = first.told.notified();
                if let Some(fall) = first.fall.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                    return fall;
                }
                told.await;
            }
        }
    }

    /// Waits until all have ended, `patience` at most. Returns those that stopped, and how the first of the others was lost.
    pub fn wait(&mut self, patience: Duration) -> (Vec<Worker>, Result<(), Fall>) {
        let deadline = Instant::now() + patience;
        let (mut workers, mut falls) = (Vec::new(), Ok(()));
        let ends = self.ends.get_mut().unwrap_or_else(PoisonError::into_inner);
        while !self.running.is_empty() {
            let fall = match ends.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(End::Stopped(index, worker)) => {
                    self.running.retain(|running| *running != index);
                    workers.push((index, *worker));
                    continue;
                }
                Ok(End::Fell(fall)) => fall,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    Fall { worker: self.running[0], why: format!("did not stop within {} s", patience.as_secs_f64()) }
                }
            };
            self.running.retain(|running| *running != fall.worker);
            falls = falls.and(Err(fall));
        }
        workers.sort_by_key(|(index, _)| *index);
        (workers.into_iter().map(|(_, worker)| worker).collect(), falls)
    }
}

/// The hook, after the one that was there before has said its own.
fn fell(info: &PanicHookInfo<'_>) {
    // A thread on its way out has none; one that is just taking it cannot panic.
    let witness = WITNESS.try_with(|witness| witness.try_borrow_mut().ok().and_then(|mut witness| witness.take()));
    let Ok(Some(Witness { worker, ends, first })) = witness else { return };
    let payload = info.payload();
    let what = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let what = what.unwrap_or("without a word");
    let place = info.location().map(|place| format!(" at {}:{}:{}", place.file(), place.line(), place.column())).unwrap_or_default();
    let fall = Fall { worker, why: format!("panicked{place}: {what}") };
    first.fall.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| fall.clone());
    first.told.notify_one();
    let _ = ends.send(End::Fell(fall));
    let mut over = first.over.lock().unwrap_or_else(PoisonError::into_inner);
    // A panic that aborts would take the process with it, which may have something to do yet.
    while !*over || cfg!(panic = "abort") {
        over = first.ended.wait(over).unwrap_or_else(PoisonError::into_inner);
    }
}
