//! Any text as a profile of the tester: an error names what is wrong; what is accepted makes frames of the sizes it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use traffic_gen::profile::Profile;

fuzz_target!(|text: &str| match text.parse::<Profile>() {
    Err(error) => assert!(!error.to_string().is_empty()),
    Ok(profile) => {
        // A million frames are allowed, but not at every step of a fuzzer.
        if profile.period() < 1000
            && profile.streams.len() < 100
            && let Ok(frames) = profile.frames()
        {
            assert!(frames.iter().all(|frame| (60..=9216).contains(&frame.bytes.len()) && frame.port < profile.ports()));
        }
    }
});
