//! What is logged, and where: to stderr, little unless somebody looks.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// A filter, as typed, that can be read.
///
/// # Errors
/// It cannot; says why.
pub fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Starts logging by `filter`, or else RUST_LOG (if that can be read), or else what suits stderr. A program that embeds the
/// tester and logs already goes on as it does.
pub fn start(filter: Option<&str>) {
    let is_terminal = io::stderr().is_terminal();
    let given = filter.and_then(|filter| EnvFilter::try_new(filter).ok()).or_else(|| EnvFilter::try_from_default_env().ok());
    let filter = given.unwrap_or_else(|| EnvFilter::new(if is_terminal { "info" } else { "warn" }));
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(is_terminal).with_target(false);
    let _ = logger.try_init();
}
