//! What the standards of 1999 could not ask for: how latency varies, and what a user waits who sends by the plan.
//!
//! - PDV (RFC 5481, section 4.2), IPDV (section 4.1) and interarrival jitter (RFC 3550, section 6.4.1), from the time a frame was sent;
//! - latency since the *planned* time: a stall of the device or the tester is charged to every frame that should have been sent during it,
//!   which corrects for coordinated omission.
//!
//! Over all frames of all trials that are added.

use port::Nanos;
use serde::Serialize;

use super::Table;
use super::report::micros;
use crate::measure::LatencyMeter;
use crate::trial::TrialResult;

/// Adds up the frames of trials.
#[derive(Clone, Debug, Default)]
pub struct Variations {
    meter: LatencyMeter,
    jitter: Option<Nanos>,
}

/// How the latency of the frames of one size varied, ns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Varied {
    /// Bytes with FCS.
    pub size: usize,
    /// Frames of all trials.
    pub frames: u64,
    /// 99.9th percentile of PDV; `None`: no frame came.
    pub pdv_p999: Option<u64>,
    /// Percentiles 0.1, 50 and 99.9 of IPDV; `None`: no two frames came one after the other.
    pub ipdv: Option<[i64; 3]>,
    /// The jitter at the end of a trial, of the stream in which it was largest.
    pub jitter: Option<u64>,
    /// Since the planned time: median, 99.9th percentile, most.
    pub planned: Option<[u64; 3]>,
}

impl Variations {
    /// Adds all frames of a trial.
    pub fn add(&mut self, result: &TrialResult) {
        result.meters.iter().for_each(|meter| self.meter.merge(meter));
        self.jitter = self.jitter.max(result.jitter);
    }

    /// What they come to.
    pub fn finish(&self, size: usize) -> Varied {
        let latencies = self.meter.finish();
        let ipdv = |quantile| latencies.ipdv.quantile(quantile);
        let planned = &latencies.intended;
        let any = !planned.is_empty();
        Varied {
            size,
            frames: planned.len(),
            pdv_p999: latencies.pdv_p999().map(|pdv| pdv.0),
            ipdv: ipdv(0.001).zip(ipdv(0.5)).zip(ipdv(0.999)).map(|((low, middle), high)| [low, middle, high]),
            jitter: self.jitter.filter(|_| any).map(|jitter| jitter.0),
            planned: any.then(|| [planned.value_at_quantile(0.5), planned.value_at_quantile(0.999), planned.max()]),
        }
    }
}

/// A row for each size.
pub fn table(varied: &[Varied]) -> Table {
    let columns = [
        ">frame size (bytes)",
        ">frames",
        ">PDV P99.9",
        ">IPDV P0.1",
        ">P50",
        ">P99.9",
        ">jitter (RFC 3550)",
        ">since planned P50",
        ">P99.9",
        ">max",
    ];
    let mut table = Table::new("Variation of latency in µs (RFC 5481), and latency since the planned time", &columns);
    for varied in varied {
        let text = |value: Option<f64>| value.map_or("-".to_owned(), micros);
        let mut cells = vec![varied.size.to_string(), super::report::count(varied.frames as f64)];
        cells.push(text(varied.pdv_p999.map(|ns| ns as f64)));
        cells.extend((0..3).map(|n| text(varied.ipdv.map(|ipdv| ipdv[n] as f64))));
        cells.push(text(varied.jitter.map(|ns| ns as f64)));
        cells.extend((0..3).map(|n| text(varied.planned.map(|planned| planned[n] as f64))));
        table.row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_add_up() {
        let mut variations = Variations::default();
        assert_eq!(variations.finish(64), Varied { size: 64, ..Varied::default() });
        for (latencies, jitter) in [([1_000, 1_200], 7), ([1_400, 1_000], 9)] {
            let mut meter = LatencyMeter::default();
            latencies.iter().for_each(|&ns| meter.record(Nanos(ns), Nanos(ns + 500)));
            meter.record_ipdv(latencies[1] as i64 - latencies[0] as i64);
            variations.add(&TrialResult { meters: vec![meter], jitter: Some(Nanos(jitter)), ..TrialResult::default() });
        }
        let varied = variations.finish(64);
        assert_eq!((varied.frames, varied.pdv_p999, varied.ipdv, varied.jitter), (4, Some(400), Some([-400, -400, 200]), Some(9)));
        assert_eq!(varied.planned, Some([1_500, 1_900, 1_900]));
        let text = table(&[varied, Varied { size: 128, ..Varied::default() }]).text();
        assert!(text.contains("0.009") && text.contains("1.900") && text.lines().last().unwrap().trim_end().ends_with('-'), "{text}");
    }
}
