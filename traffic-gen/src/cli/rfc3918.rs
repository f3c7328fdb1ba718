//! `rfc3918`: tests of RFC 3918, multicast.

use clap::ValueEnum;

use super::testbed::{self, port_index};
use super::{Common, Done};
use crate::method::pattern::GROUPS_MAX;
use crate::method::rfc3918;
use crate::method::{Report, Runner, Settings};
use crate::trial::{DutFactory, TestbedError};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The test
    #[arg(value_enum)]
    test: Test,
    #[command(flatten)]
    testbed: testbed::Args,
    /// The port that sends to the groups [default: the first one]
    #[arg(long, value_name = "PORT")]
    source: Option<String>,
    /// Groups; 4.2 goes through all of these numbers, the others take the first [default: 1,16,256 for 4.2, else 16]
    #[arg(long, value_delimiter = ',', value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=i64::from(GROUPS_MAX)))]
    groups: Vec<u16>,
    /// Of a hundred frames of 4.1, those that go to stations
    #[arg(long, default_value_t = 50, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
    unicast: u8,
    /// The most groups that 7.1 tries
    #[arg(long, default_value_t = 1024, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=i64::from(GROUPS_MAX)))]
    max_groups: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Test {
    /// 4.1: mixed class throughput
    MixedClass,
    /// 4.2: scaled group forwarding matrix
    ScaledGroups,
    /// 4.3: aggregated multicast throughput
    Aggregated,
    /// 5.1 and 5.2: multicast latency, and min/max multicast latency
    Latency,
    /// 7.1: multicast group capacity
    GroupCapacity,
}

/// Runs the test.
///
/// # Errors
/// If the device cannot be tested.
pub fn run(args: &Args, common: &Common, factories: &[&dyn DutFactory]) -> Done {
    let mut testbed = args.testbed.open(factories)?;
    let settings = args.testbed.settings(&Settings::default(), testbed.is_virtual());
    let ports = testbed.ports().to_vec();
    let source = match &args.source {
        Some(name) => port_index(&ports, Some(name))?,
        None => 0,
    };
    let all: &[u16] = if args.groups.is_empty() { &[1, 16, 256] } else { &args.groups };
    let one = args.groups.first().copied().unwrap_or(16);
    let mut test = |runner: &mut Runner<'_>| -> Result<Report, TestbedError> {
        match args.test {
            Test::MixedClass => rfc3918::mixed_class(runner, source, one, args.unicast),
            Test::ScaledGroups => rfc3918::scaled_groups(runner, source, all),
            Test::Aggregated => rfc3918::aggregated(runner, source, one),
            Test::Latency => rfc3918::latency(runner, source, one),
            Test::GroupCapacity => rfc3918::capacity(runner, source, args.max_groups),
        }
    };
    args.testbed.run(common, testbed.as_mut(), settings, "rfc3918", &mut test)
}
