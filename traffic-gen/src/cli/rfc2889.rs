//! `rfc2889`: the tests of RFC 2889.

use clap::ValueEnum;
use port::Nanos;

use super::testbed::{self, port_index};
use super::{Common, Done, Failure};
use crate::method::rfc2889::{addresses, broadcast, congestion, errored, forwarding, pressure, settings};
use crate::method::{Pattern, Report, Runner};
use crate::trial::{DutFactory, TestbedError};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The test
    #[arg(value_enum)]
    test: Test,
    #[command(flatten)]
    testbed: testbed::Args,
    /// The one port of 5.2 [default: the last one]
    #[arg(long, value_name = "PORT")]
    one: Option<String>,
    /// The ports on the first device of 5.3 [default: the first half]
    #[arg(long, value_delimiter = ',', value_name = "PORT")]
    group: Vec<String>,
    /// Addresses: the most that 5.7 tries [default: 20480], those that 5.8 teaches [default: 1000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=4_000_000))]
    table: Option<u64>,
    /// Learning frames a second in 5.7: what the device surely learns
    #[arg(long, default_value_t = 1488, value_name = "FPS", value_parser = clap::value_parser!(u64).range(1..))]
    learning_rate: u64,
    /// Ageing time of the device in seconds, which 5.7 and 5.8 wait for after each trial
    #[arg(long, default_value = "300", value_name = "SECONDS", value_parser = testbed::seconds_or_none)]
    ageing: Nanos,
    /// Longest frame in bytes with FCS that the device may forward, for 5.9
    #[arg(long, default_value_t = 1522, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1518..=9220))]
    longest: u16,
    /// Loads of 5.9 in percent of the maximum
    #[arg(long, value_delimiter = ',', default_value = "100,50,10", value_name = "PERCENT", value_parser = testbed::share)]
    loads: Vec<f64>,
    /// Steps of the sweep from the throughput to the maximum load, for 5.6
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Test {
    /// 5.1: fully meshed throughput, frame loss and forwarding rates
    FullyMeshed,
    /// 5.2: partially meshed, one-to-many and many-to-one
    OneToMany,
    /// 5.3: partially meshed, multiple devices
    MultipleDevices,
    /// 5.4: partially meshed, unidirectional traffic
    Unidirectional,
    /// 5.5: congestion control
    Congestion,
    /// 5.6: forward pressure and maximum forwarding rate
    ForwardPressure,
    /// 5.7: address caching capacity
    CachingCapacity,
    /// 5.8: address learning rate
    LearningRate,
    /// 5.9: errored frames filtering
    ErroredFrames,
    /// 5.10: broadcast frame forwarding and latency
    Broadcast,
}

/// Runs the test.
///
/// # Errors
/// If the device cannot be tested.
pub fn run(args: &Args, common: &Common, factories: &[&dyn DutFactory]) -> Done {
    let mut testbed = args.testbed.open(factories)?;
    let mut settings = args.testbed.settings(&settings(), testbed.is_virtual());
    settings.ageing = args.ageing;
    let ports = testbed.ports().to_vec();
    let one = port_index(&ports, args.one.as_deref())?;
    let group: Vec<usize> = match args.group.as_slice() {
        [] => (0..ports.len() / 2).collect(),
        names => names.iter().map(|name| port_index(&ports, Some(name))).collect::<Result<_, Failure>>()?,
    };
    let count = ports.len();
    let mut test = |runner: &mut Runner<'_>| -> Result<Report, TestbedError> {
        let options = |standard: u64| addresses::Options {
            addresses: args.table.unwrap_or(standard),
            learning_fps: args.learning_rate,
            pause: Nanos::from_millis(500),
        };
        let partially = "Partially meshed throughput, frame loss and forwarding rates";
        match args.test {
            Test::FullyMeshed => {
                forwarding::run(runner, &[Pattern::full_mesh(count)], "Fully meshed throughput, frame loss and forwarding rates", "5.1")
            }
            Test::OneToMany => {
                let patterns = [Pattern::one_to_many(count, one), Pattern::many_to_one(count, one)];
                forwarding::run(runner, &patterns, &format!("{partially}, one-to-many and many-to-one"), "5.2")
            }
            Test::MultipleDevices => {
                forwarding::run(runner, &[Pattern::between(count, &group)], &format!("{partially}, multiple devices"), "5.3")
            }
            Test::Unidirectional => {
                forwarding::run(runner, &[Pattern::unidirectional(count)], &format!("{partially}, unidirectional traffic"), "5.4")
            }
            Test::Congestion => congestion::run(runner),
            Test::ForwardPressure => pressure::run(runner, args.steps),
            Test::CachingCapacity => addresses::caching_capacity(runner, options(20_480)),
            Test::LearningRate => addresses::learning_rate(runner, options(1000)),
            Test::ErroredFrames => errored::run(runner, &args.loads, args.longest.into()),
            Test::Broadcast => broadcast::run(runner),
        }
    };
    args.testbed.run(common, testbed.as_mut(), settings, "rfc2889", &mut test)
}
