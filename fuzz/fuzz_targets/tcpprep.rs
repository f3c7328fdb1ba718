//! Any bytes as a cache file of tcpprep: every packet it claims to know has a side, and none beyond.
#![no_main]

use libfuzzer_sys::fuzz_target;
use traffic_gen::replay::tcpprep::Cache;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(cache) = Cache::parse(bytes) {
        assert!((1..=cache.packets().min(10_000)).all(|number| cache.side(number).is_some()));
        assert_eq!(cache.side(cache.packets().saturating_add(1)), None);
    }
});
