//! Waiting for links: an interface that was just switched on has none for a moment, and a memif port has none until its peer has come.
//!
//! Whoever sends into a port without link loses everything and learns nothing of the device. So a run begins when all links are up, or
//! does not begin.
//!
//! Threads: one, that of the run.

use std::time::Duration;

use port::clock::TscClock;
use port::{Device, LinkState, Nanos};

/// How long a link may take to come up, if nothing else is said.
pub const PATIENCE: Nanos = Nanos::from_secs(10);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Waits until the links of all ports are up; looks after them meanwhile. `clock` is that of the run, `asked` tells whether to give up before.
///
/// # Errors
/// The first port whose link is not up after `patience`: its name, what it says of itself, and what to look at.
pub fn wait(ports: &mut [(&str, &mut dyn Device)], patience: Nanos, clock: &TscClock, asked: &dyn Fn() -> bool) -> Result<(), String> {
    let start = clock.now();
    loop {
        let now = clock.now();
        for (_, device) in ports.iter_mut() {
            device.maintain(now);
        }
        let Some((name, device)) = ports.iter().find(|(_, device)| device.link() == LinkState::Down) else { return Ok(()) };
        let waited = now.since(start);
        if waited >= patience || asked() {
            let (state, waited) = (device.describe(), waited.as_secs_f64());
            return Err(format!(
                "port {name}: its link is down after {waited:.1} s ({state}): expected a far end that is there and switched on"
            ));
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use port::backend::memory::{Cable, pair};

    use super::*;

    #[test]
    fn a_link_that_is_down_is_waited_for_and_then_told() {
        let (mut one, _other, plug) = pair(Cable::default());
        let clock = TscClock::new();
        let mut ports = [("one", &mut *one.device as &mut dyn Device)];
        assert_eq!(wait(&mut ports, Nanos::ZERO, &clock, &|| false), Ok(()));
        plug.set(LinkState::Down);
        let down = wait(&mut ports, Nanos(1), &clock, &|| false).unwrap_err();
        assert!(down.starts_with("port one: its link is down after 0.") && down.contains("(memory, "), "{down}");
        assert!(wait(&mut ports, PATIENCE, &clock, &|| true).is_err(), "who is asked to end does not wait");
        // Whoever waits for the far end goes on when it comes.
        std::thread::scope(|scope| {
            scope.spawn(|| plug.set(LinkState::Up));
            assert_eq!(wait(&mut ports, Nanos::from_secs(600), &clock, &|| false), Ok(()));
        });
    }
}
