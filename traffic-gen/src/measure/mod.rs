//! Measuring: what became of every frame, how long it took, and how well the tester itself did.
//!
//! The loop that receives tells [`Meters`] of each frame; they follow each stream with a [`StreamMeter`] (loss, duplicates,
//! reordering, misdelivery) and each direction with a [`LatencyMeter`]. The loop that sends tells a [`PacingMeter`]. Results are made
//! at the end, away from the loops: [`StreamResult`], [`Latencies`], [`Pacing`].
//!
//! The idea: on the way of a frame only array elements are counted up. What a count means is worked out later.
//!
//! [`trend`] looks at the same figure over many runs.
//!
//! Units: ns everywhere. Words: those of the RFCs named in each file. No threads and no clock: every time is an argument.

pub mod buckets;
pub mod latency;
pub mod meters;
pub mod pacing;
pub mod stream;
pub mod trend;

pub use buckets::{Buckets, SignedBuckets, empty_histogram};
pub use latency::{Latencies, LatencyMeter, Variation};
pub use meters::{Arrival, FlowResult, Meters, PortCounts, StreamSpec};
pub use pacing::{LoopbackBias, Pacing, PacingMeter};
pub use stream::{Gap, Order, StreamMeter, StreamResult};
