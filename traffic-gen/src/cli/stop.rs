//! Ctrl-C: the first asks for an end, and the run reports what it has done; the second ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::Failure;

/// Whether somebody has asked for an end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens for SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// If the system does not let us.
    pub fn on_signals() -> Result<Stop, Failure> {
        let stop = Stop::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the second signal finds what the first has set. 130 is what shells say of SIGINT.
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop.0))
                .and_then(|_| flag::register(signal, Arc::clone(&stop.0)))
                .map_err(|error| Failure::other(format!("cannot listen for signals: {error}")))?;
        }
        Ok(stop)
    }

    /// Asks for an end.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Has somebody asked?
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
