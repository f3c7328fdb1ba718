//! What is logged, and where: to stderr, little unless somebody looks.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Starts logging by `filter`, or else RUST_LOG, or else what suits stderr. A filter that cannot be read counts as none.
pub fn start(filter: Option<&str>) {
    let is_terminal = io::stderr().is_terminal();
    let default = || EnvFilter::new(if is_terminal { "info" } else { "warn" });
    let (filter, wrong) = match filter.map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (default(), Some(error.to_string())),
        None => (EnvFilter::try_from_default_env().unwrap_or_else(|_| default()), None),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(is_terminal).with_target(false).init();
    if let Some(wrong) = wrong {
        tracing::warn!("--log: {wrong}: the default is used");
    }
}
