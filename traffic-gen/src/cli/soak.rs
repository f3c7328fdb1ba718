//! `soak`: one load for a long time.

use port::Nanos;

use super::testbed::{self, PatternArgs};
use super::{Common, Done};
use crate::method::{Runner, Settings, soak};
use crate::trial::DutFactory;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    testbed: testbed::Args,
    #[command(flatten)]
    pattern: PatternArgs,
    /// Load in percent of the maximum
    #[arg(long, default_value = "100", value_name = "PERCENT", value_parser = testbed::share)]
    load: f64,
    /// Length of an interval in seconds [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = testbed::seconds)]
    interval: Option<Nanos>,
    /// Intervals [default: 72, which is 6 hours]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    intervals: Option<u32>,
    /// N of BestN and WorstN
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    n: u16,
}

/// Soaks. Loss above 10⁻⁷ in an interval, or what `--loss-accepted` says, counts against it.
///
/// # Errors
/// If the device cannot be tested.
pub fn run(args: &Args, common: &Common, factories: &[&dyn DutFactory]) -> Done {
    let mut testbed = args.testbed.open(factories)?;
    let pattern = args.pattern.pattern(testbed.ports())?;
    let mut settings = args.testbed.settings(&Settings::default(), testbed.is_virtual());
    // A soak at all sizes would take days: the first one, unless sizes were asked for.
    if !args.testbed.has_sizes() {
        settings.sizes.truncate(1);
    }
    let quick = args.testbed.is_quick();
    let options = soak::Options {
        load: args.load,
        interval: args.interval.unwrap_or(if quick { settings.trial } else { Nanos::from_secs(300) }),
        intervals: args.intervals.unwrap_or(if quick { 10 } else { 72 }),
        n: args.n.into(),
        loss_accepted: settings.loss_accepted.max(1e-7),
    };
    settings.trial = options.interval;
    let mut test = |runner: &mut Runner<'_>| soak::run(runner, &pattern, options);
    args.testbed.run(common, testbed.as_mut(), settings, "soak", &mut test)
}
