//! Search goals (RFC 9971 §4.6).

use std::fmt;

use serde::Serialize;

/// What is searched for: the highest load that is a lower bound for these attributes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// Its name, for reports.
    pub name: String,
    /// Goal Final Trial Duration, s: trials at least this long are full-length.
    pub final_trial_s: f64,
    /// Goal Duration Sum, s: full-length trials that decide, at least.
    pub duration_sum_s: f64,
    /// Goal Loss Ratio, 0 up to but not 1.
    pub loss_ratio: f64,
    /// Goal Exceed Ratio, 0 up to but not 1: share of the duration sum whose trials may lose more.
    pub exceed_ratio: f64,
    /// Goal Width, above 0 and below 1: (upper bound - lower bound) / upper bound at the end of the search.
    pub width: f64,
    /// Goal Initial Trial Duration, s: the shortest trials; an attribute of the search, not of what it finds.
    pub initial_trial_s: f64,
}

impl Goal {
    /// CSIT's NDR: no loss.
    pub fn ndr() -> Goal {
        Goal {
            name: "NDR".to_owned(),
            final_trial_s: 1.0,
            duration_sum_s: 21.0,
            loss_ratio: 0.0,
            exceed_ratio: 0.5,
            width: 0.005,
            initial_trial_s: 1.0,
        }
    }

    /// CSIT's PDR: a loss of 0.5 %.
    pub fn pdr() -> Goal {
        Goal { name: "PDR".to_owned(), loss_ratio: 0.005, ..Goal::ndr() }
    }

    /// What RFC 2544 §24 asks for, in these terms (RFC 9971 §4.8.1).
    pub fn rfc2544() -> Goal {
        Goal { name: "RFC2544".to_owned(), final_trial_s: 60.0, duration_sum_s: 60.0, exceed_ratio: 0.0, ..Goal::ndr() }
    }

    /// ETSI TST009 §12.3.3: binary search with loss verification, two trials (RFC 9971 §4.8.2).
    pub fn tst009() -> Goal {
        Goal { name: "TST009".to_owned(), final_trial_s: 60.0, duration_sum_s: 120.0, ..Goal::ndr() }
    }

    /// The presets by name.
    pub fn by_name(name: &str) -> Option<Goal> {
        match name.to_ascii_lowercase().as_str() {
            "ndr" => Some(Goal::ndr()),
            "pdr" => Some(Goal::pdr()),
            "rfc2544" => Some(Goal::rfc2544()),
            "tst009" => Some(Goal::tst009()),
            _ => None,
        }
    }

    /// Refuses what RFC 9971 does not allow.
    ///
    /// # Errors
    /// The attribute and what it must be.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |what: String| Err(format!("goal {}: {what}", self.name));
        if !(0.0..1.0).contains(&self.loss_ratio) {
            return wrong(format!("the loss ratio is 0 or more and less than 1, not {}", self.loss_ratio));
        }
        if !(0.0..1.0).contains(&self.exceed_ratio) {
            return wrong(format!("the exceed ratio is 0 or more and less than 1, not {}", self.exceed_ratio));
        }
        if !(self.width > 0.0 && self.width < 1.0) {
            return wrong(format!("the width is more than 0 and less than 1, not {}", self.width));
        }
        let durations = [self.initial_trial_s, self.final_trial_s, self.duration_sum_s];
        if !(durations[0] > 0.0 && durations[0] <= durations[1] && durations[1] <= durations[2] && durations[2].is_finite()) {
            return wrong(format!(
                "0 < initial trial ({} s) <= final trial ({} s) <= duration sum ({} s) does not hold",
                durations[0], durations[1], durations[2]
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "loss ratio {} %, exceed ratio {} %, width {} %, final trial {} s, duration sum {} s, initial trial {} s",
            self.loss_ratio * 100.0,
            self.exceed_ratio * 100.0,
            self.width * 100.0,
            self.final_trial_s,
            self.duration_sum_s,
            self.initial_trial_s
        )
    }
}
