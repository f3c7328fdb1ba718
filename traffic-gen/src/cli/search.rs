//! `search`: MLRsearch (RFC 9971).

use port::Nanos;

use super::testbed::{self, PatternArgs};
use super::{Common, Done, Failure};
use crate::method::mlrsearch::{self, Goal};
use crate::method::{Runner, Settings};
use crate::trial::DutFactory;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    testbed: testbed::Args,
    #[command(flatten)]
    pattern: PatternArgs,
    /// What to search for: ndr, pdr (as FD.io CSIT has them), rfc2544, tst009, or
    /// name=NAME:loss=PERCENT:exceed=PERCENT:width=PERCENT:final=SECONDS:sum=SECONDS:initial=SECONDS, of which what is left out is that of ndr
    #[arg(long = "goal", value_delimiter = ',', default_value = "ndr,pdr", value_name = "GOAL", value_parser = goal)]
    goals: Vec<Goal>,
    /// Seconds of trials after which the search gives up
    #[arg(long, default_value = "1200", value_name = "SECONDS", value_parser = testbed::seconds)]
    give_up: Nanos,
}

/// Reads a goal.
fn goal(text: &str) -> Result<Goal, String> {
    if let Some(goal) = Goal::by_name(text) {
        return Ok(goal);
    }
    let mut goal = Goal { name: text.to_owned(), ..Goal::ndr() };
    for item in text.split(':') {
        let Some((key, value)) = item.split_once('=') else {
            return Err(format!("`{item}`: expected ndr, pdr, rfc2544, tst009, or key=value with : between"));
        };
        let number = || -> Result<f64, String> {
            let number: Option<f64> = value.parse().ok().filter(|number: &f64| number.is_finite());
            number.ok_or_else(|| format!("`{item}`: expected a number"))
        };
        match key {
            "name" => goal.name = value.to_owned(),
            "loss" => goal.loss_ratio = number()? / 100.0,
            "exceed" => goal.exceed_ratio = number()? / 100.0,
            "width" => goal.width = number()? / 100.0,
            "final" => goal.final_trial_s = number()?,
            "sum" => goal.duration_sum_s = number()?,
            "initial" => goal.initial_trial_s = number()?,
            _ => return Err(format!("`{key}`: expected name, loss, exceed, width, final, sum or initial")),
        }
    }
    goal.check()?;
    Ok(goal)
}

/// Searches.
///
/// # Errors
/// If the device cannot be tested, or the search finds nothing in time.
pub fn run(args: &Args, common: &Common, factories: &[&dyn DutFactory]) -> Done {
    let mut testbed = args.testbed.open(factories)?;
    let pattern = args.pattern.pattern(testbed.ports())?;
    let settings = args.testbed.settings(&Settings::default(), testbed.is_virtual());
    let mut goals = args.goals.clone();
    for goal in &mut goals {
        if args.testbed.is_quick() {
            // The same shape in a fraction of the time.
            let share = settings.trial.as_secs_f64() / goal.final_trial_s;
            for seconds in [&mut goal.final_trial_s, &mut goal.duration_sum_s] {
                *seconds *= share;
            }
            goal.initial_trial_s = goal.initial_trial_s.min(goal.final_trial_s);
        }
        goal.check().map_err(Failure::input)?;
    }
    let mut test = |runner: &mut Runner<'_>| mlrsearch::run(runner, &pattern, &goals, args.give_up);
    args.testbed.run(common, testbed.as_mut(), settings, "search", &mut test)
}

#[cfg(test)]
mod tests {
    use super::goal;
    use crate::method::mlrsearch::Goal;

    #[test]
    fn goals_are_named_or_described() {
        assert_eq!(goal("PDR"), Ok(Goal::pdr()));
        let own = goal("name=mine:loss=0.1:sum=5").unwrap();
        assert_eq!((own.name.as_str(), own.loss_ratio, own.duration_sum_s, own.width), ("mine", 0.001, 5.0, 0.005));
        for (text, says) in [
            ("fast", "expected ndr"),
            ("loss=x", "expected a number"),
            ("speed=1", "expected name"),
            ("loss=100", "less than 1"),
            ("width=0", "width"),
            ("final=5:initial=6", "does not hold"),
        ] {
            let error = goal(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
