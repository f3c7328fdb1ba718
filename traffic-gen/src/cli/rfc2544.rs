//! `rfc2544`: the tests of RFC 2544.

use clap::Subcommand;
use port::Nanos;

use super::testbed::{self, PatternArgs};
use super::{Common, Done};
use crate::method::Settings;
use crate::method::rfc2544::{back_to_back, latency, loss, recovery, reset, throughput};
use crate::trial::DutFactory;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    test: Test,
}

#[derive(Debug, Subcommand)]
enum Test {
    /// Section 26.1: the fastest rate without loss
    Throughput(Plain),
    /// Section 26.2: latency at the throughput
    Latency(Latency),
    /// Section 26.3: loss by load, from the maximum rate down
    Loss(Loss),
    /// Section 26.4 and RFC 9004: the longest burst without loss, and the buffer it tells of
    BackToBack(BackToBack),
    /// Section 26.5: how long after an overload frames are still lost
    Recovery(Plain),
    /// Section 26.6 and RFC 6201: how long a reset takes
    Reset(Reset),
}

#[derive(Debug, clap::Args)]
struct Plain {
    #[command(flatten)]
    testbed: testbed::Args,
    #[command(flatten)]
    pattern: PatternArgs,
}

#[derive(Debug, clap::Args)]
struct Latency {
    #[command(flatten)]
    plain: Plain,
    /// Trials to average [default: 20]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeats: Option<u32>,
    /// Sending time of a latency trial in seconds [default: 120]
    #[arg(long, value_name = "SECONDS", value_parser = testbed::seconds)]
    latency_trial: Option<Nanos>,
}

#[derive(Debug, clap::Args)]
struct Loss {
    #[command(flatten)]
    plain: Plain,
    /// Step from load to load in percent of the maximum, at most 10
    #[arg(long, default_value = "10", value_name = "PERCENT", value_parser = testbed::share)]
    step: f64,
}

#[derive(Debug, clap::Args)]
struct BackToBack {
    #[command(flatten)]
    plain: Plain,
    /// Repeats to average [default: 50]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeats: Option<u32>,
    /// Longest burst tried, in seconds [default: 2]
    #[arg(long, value_name = "SECONDS", value_parser = testbed::seconds)]
    longest: Option<Nanos>,
}

#[derive(Debug, clap::Args)]
struct Reset {
    #[command(flatten)]
    plain: Plain,
    /// Load in percent of the maximum [default: the throughput, which is searched]
    #[arg(long, value_name = "PERCENT", value_parser = testbed::share)]
    load: Option<f64>,
    /// Sending time before the reset in seconds [default: 20]
    #[arg(long, value_name = "SECONDS", value_parser = testbed::seconds)]
    before: Option<Nanos>,
}

impl Test {
    fn plain(&self) -> &Plain {
        match self {
            Test::Throughput(plain) | Test::Recovery(plain) => plain,
            Test::Latency(Latency { plain, .. })
            | Test::Loss(Loss { plain, .. })
            | Test::BackToBack(BackToBack { plain, .. })
            | Test::Reset(Reset { plain, .. }) => plain,
        }
    }
}

/// Runs the test.
///
/// # Errors
/// If the device cannot be tested.
pub fn run(args: &Args, common: &Common, factories: &[&dyn DutFactory]) -> Done {
    let Plain { testbed: trials, pattern } = args.test.plain();
    let mut testbed = trials.open(factories)?;
    let pattern = pattern.pattern(testbed.ports())?;
    let settings = trials.settings(&Settings::default(), testbed.is_virtual());
    let quick = trials.is_quick();
    let (trial, name) = (settings.trial, "rfc2544");
    let mut test = |runner: &mut crate::method::Runner<'_>| match &args.test {
        Test::Throughput(_) => throughput::run(runner, &pattern),
        Test::Recovery(_) => recovery::run(runner, &pattern),
        Test::Loss(loss) => loss::run(runner, &pattern, loss.step),
        Test::Latency(args) => {
            let standard = if quick { latency::Options { repeats: 3, trial } } else { latency::Options::default() };
            let repeats = args.repeats.unwrap_or(standard.repeats);
            latency::run(runner, &pattern, latency::Options { repeats, trial: args.latency_trial.unwrap_or(standard.trial) })
        }
        Test::BackToBack(args) => {
            let standard = if quick { back_to_back::Options { repeats: 3, burst: trial } } else { back_to_back::Options::default() };
            let repeats = args.repeats.unwrap_or(standard.repeats);
            back_to_back::run(runner, &pattern, back_to_back::Options { repeats, burst: args.longest.unwrap_or(standard.burst) })
        }
        Test::Reset(args) => {
            let before = if quick { trial } else { Nanos::from_secs(20) };
            reset::run(runner, &pattern, args.load, args.before.unwrap_or(before))
        }
    };
    trials.run(common, testbed.as_mut(), settings, name, &mut test)
}
