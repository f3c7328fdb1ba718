//! Any text as a configuration: refused with errors that can be printed, or accepted and the same when shown and loaded again.
#![no_main]

use control::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| match Config::parse(text, "fuzz.toml") {
    Ok(config) => {
        let shown = config.to_toml().expect("what was loaded can be shown");
        assert_eq!(Config::parse(&shown, "shown.toml"), Ok(config));
    }
    Err(errors) => assert!(!errors.to_string().is_empty()),
});
