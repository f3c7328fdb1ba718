//! The transmit queues and the wires behind them, in whole picoseconds: when does each frame arrive, and which is refused?

use std::collections::VecDeque;

use super::site::SitePort;

/// A port's way out.
pub struct Wire {
    bit_ps: u64,
    queue: usize,
    /// When the gap after the last frame is over.
    free_ps: u64,
    /// When each frame on its way has arrived, in nanoseconds, and its bytes.
    pub due: VecDeque<(u64, Vec<u8>)>,
}

impl Wire {
    pub fn new(port: &SitePort) -> Wire {
        Wire { bit_ps: port.bit_ps, queue: port.queue, free_ps: 0, due: VecDeque::new() }
    }

    /// A frame at `now`; `false` if the queue is full. All that has arrived by `now` has been taken from `due`.
    pub fn send(&mut self, now: u64, bytes: Vec<u8>) -> bool {
        if self.due.len() >= self.queue {
            return false;
        }
        // Preamble 8, the frame, FCS 4; then the gap of 12 (IEEE 802.3 §4.2.3.2).
        let end = self.free_ps.max(now * 1000) + (8 + bytes.len() as u64 + 4) * 8 * self.bit_ps;
        self.free_ps = end + 12 * 8 * self.bit_ps;
        self.due.push_back((end.div_ceil(1000), bytes));
        true
    }
}
