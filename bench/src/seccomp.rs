//! `bench seccomp`: what the filter of workers' system calls costs a call.
//!
//! Two threads on one core, one with the filter in force, ask the kernel for the process's number, which is among the cheapest things to ask for; so
//! what is added shows best. They take turns of a few milliseconds; what counts is the median.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use bladeswitch::threads::Filter;

/// Calls in a turn of a thread.
const CALLS: u32 = 20_000;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Turns of each thread
    #[arg(long, default_value_t = 101, value_parser = clap::value_parser!(u16).range(3..))]
    pub rounds: u16,
    /// Write the figures as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<std::path::PathBuf>,
}

/// Nanoseconds for a call, medians.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Cost {
    /// Without the filter.
    pub free_ns: f64,
    /// With the filter.
    pub filtered_ns: f64,
}

/// Measures it.
///
/// # Errors
/// There is no filter for this machine.
pub fn measure(args: &Args) -> Result<Cost, String> {
    let filter = Filter::new().map_err(|error| error.to_string())?;
    let core = core_affinity::get_core_ids().and_then(|cores| cores.last().copied());
    let thread = |filter: Option<Filter>| -> (Sender<()>, Receiver<Result<f64, String>>) {
        let ((go, begin), (done, figures)) = (channel::<()>(), channel());
        std::thread::spawn(move || {
            core.map(core_affinity::set_for_current);
            let ready = filter.map_or(Ok(()), |filter| filter.confine()).map_err(|error| error.to_string());
            while begin.recv().is_ok() {
                let figure = ready.clone().map(|()| turn());
                if done.send(figure).is_err() {
                    return;
                }
            }
        });
        (go, figures)
    };
    let threads = [thread(None), thread(Some(filter))];
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..args.rounds {
        for ((go, done), figures) in threads.iter().zip(&mut figures) {
            let gone = |_| "a thread has ended".to_owned();
            go.send(()).map_err(|error| gone(error.to_string()))?;
            figures.push(done.recv().map_err(|error| gone(error.to_string()))??);
        }
    }
    let [free_ns, filtered_ns] = figures.map(|mut figures| {
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    });
    Ok(Cost { free_ns, filtered_ns })
}

fn turn() -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        std::hint::black_box(std::process::id());
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}
