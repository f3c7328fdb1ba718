//! A progress bar on stderr while something takes long, if somebody looks: on a terminal only.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a command is. Costs nothing where stderr is not a terminal.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar of `length` steps (packets, trials, milliseconds: `unit` says which); without a length, a spinner.
    pub fn new(length: Option<u64>, unit: &str) -> Progress {
        let shown = std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(length, target);
        let template = match length {
            Some(_) => format!("{{elapsed}} [{{wide_bar}}] {{human_pos}}/{{human_len}} {unit}, {{eta}} left {{msg}}"),
            None => format!("{{elapsed}} {{spinner}} {{human_pos}} {unit} {{msg}}"),
        };
        // The templates are ours and right; a wrong one would fall back to the bar's own.
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        if shown {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Progress(bar)
    }

    /// So many steps are done.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// A few words behind the bar.
    pub fn say(&self, words: impl Into<String>) {
        self.0.set_message(words.into());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
