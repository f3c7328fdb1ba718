//! The frames of a plan as they are kept for sending.
//!
//! Copying a whole frame for each one sent would make the generator slower than the switch it tests. Test frames of one length differ in
//! their first 60 bytes only: headers and stamp. So a test frame that came back keeps its buffer, on a stack for its length; sending the
//! next one of that length writes 60 bytes, in one cache line, and the last used buffer, which is warm, is the first taken again.
//!
//! What a device did to the part that is not written again would be sent again, so one buffer in [`CHECKED`] is compared before it is
//! used again; a change is counted as corruption.
//!
//! A frame that carries no stamp, as one of a capture, lies in one buffer for the whole run and is sent by handing out further handles of it:
//! sending it writes nothing at all. Whoever wants to change such a frame has to copy it, as with a flooded one.

use std::collections::HashMap;
use std::sync::Arc;

use port::mempool::SEGMENT_MAX;
use port::{Packet, PoolCache};

use crate::plan::{PlannedFrame, Target};

/// Bytes that are written for each frame: up to the end of the stamp.
const WRITTEN: usize = 60;
/// One buffer in so many is compared with what was sent in it.
pub const CHECKED: u32 = 64;
/// Buffers kept for one length; more go back to the pool.
const READY_MAX: usize = 8192;
/// No stack of buffers belongs to it.
const NONE: u32 = u32::MAX;

/// A frame of the plan.
#[derive(Debug)]
pub struct Template {
    /// Its first bytes.
    start: [u8; WRITTEN],
    /// Bytes without FCS.
    pub len: u16,
    /// It carries a stamp.
    pub stamped: bool,
    /// Who should receive it.
    pub target: Target,
    /// Index of the stack of buffers with the rest of it.
    rest: u32,
    /// A frame without stamp, once it was sent.
    held: Option<Packet>,
    /// The whole frame.
    bytes: Arc<[u8]>,
}

/// Buffers that hold all of a frame but its first bytes.
#[derive(Debug)]
struct Rest {
    bytes: Arc<[u8]>,
    ready: Vec<Packet>,
}

/// All frames of a plan.
#[derive(Debug)]
pub struct Stock {
    templates: Vec<Template>,
    known: HashMap<(usize, bool), Vec<u32>>,
    rests: Vec<Rest>,
    /// By length: the rest of a stamped frame.
    rest_of_len: Vec<u32>,
    countdown: u32,
    /// Frames that came back changed behind their stamp.
    pub corrupted: u64,
}

impl Stock {
    /// No frames yet.
    pub fn new() -> Stock {
        Stock {
            templates: Vec::new(),
            known: HashMap::new(),
            rests: Vec::new(),
            rest_of_len: vec![NONE; SEGMENT_MAX + 1],
            countdown: CHECKED,
            corrupted: 0,
        }
    }

    /// Adds a frame, or finds it.
    pub fn add(&mut self, frame: &PlannedFrame) -> u32 {
        let place = (Arc::as_ptr(&frame.bytes).cast::<u8>() as usize, frame.stamped);
        let alike = self.known.entry(place).or_default();
        if let Some(&known) = alike.iter().find(|&&known| self.templates[known as usize].target == frame.target) {
            return known;
        }
        let index = self.templates.len() as u32;
        alike.push(index);
        let len = frame.bytes.len();
        let mut start = [0; WRITTEN];
        let mut rest = NONE;
        if frame.stamped && (WRITTEN..=SEGMENT_MAX).contains(&len) {
            start.copy_from_slice(&frame.bytes[..WRITTEN]);
            if self.rest_of_len[len] == NONE {
                self.rest_of_len[len] = self.rests.len() as u32;
                self.rests.push(Rest { bytes: frame.bytes.clone(), ready: Vec::new() });
            }
            // Another payload of the same length is copied.
            if self.rests[self.rest_of_len[len] as usize].bytes[WRITTEN..] == frame.bytes[WRITTEN..] {
                rest = self.rest_of_len[len];
            }
        }
        self.templates.push(Template {
            start,
            len: len as u16,
            stamped: frame.stamped,
            target: frame.target,
            rest,
            held: None,
            bytes: frame.bytes.clone(),
        });
        index
    }

    /// The frame of that number.
    #[inline(always)]
    pub fn template(&self, index: u32) -> &Template {
        &self.templates[index as usize]
    }

    /// Asks for the frame ahead of its use.
    #[inline(always)]
    pub fn prefetch(&self, index: u32) {
        if let Some(template) = self.templates.get(index as usize) {
            port::mempool::prefetch(template);
        }
    }

    /// A packet with the frame; `None` if no buffer is free.
    #[inline]
    pub fn packet(&mut self, index: u32, pool: &mut PoolCache) -> Option<Packet> {
        let template = &mut self.templates[index as usize];
        if !template.stamped {
            if template.held.is_none() {
                template.held = pool.alloc_copy(&template.bytes);
            }
            return template.held.as_mut().map(|held| pool.share(held));
        }
        let ready = self.rests.get_mut(template.rest as usize).and_then(|rest| rest.ready.pop());
        let Some(mut packet) = ready else {
            return pool.alloc_copy(&template.bytes);
        };
        if let Some(start) = pool.bytes_mut(&mut packet).and_then(|bytes| bytes.first_chunk_mut::<WRITTEN>()) {
            *start = template.start;
        }
        Some(packet)
    }

    /// Takes back a packet that was received with a sound stamp.
    #[inline]
    pub fn take_back(&mut self, packet: Packet, pool: &mut PoolCache) {
        let rest = self.rest_of_len.get(packet.len()).and_then(|&rest| self.rests.get_mut(rest as usize));
        let Some(rest) = rest.filter(|rest| rest.ready.len() < READY_MAX && !packet.is_shared() && !packet.is_chained()) else {
            return pool.free(packet);
        };
        self.countdown -= 1;
        if self.countdown == 0 {
            self.countdown = CHECKED;
            if pool.head(&packet)[WRITTEN..] != rest.bytes[WRITTEN..] {
                self.corrupted += 1;
                return pool.free(packet);
            }
        }
        rest.ready.push(packet);
    }

    /// Gives all buffers back to the pool.
    pub fn clear(&mut self, pool: &mut PoolCache) {
        let held = self.templates.iter_mut().filter_map(|template| template.held.take());
        for packet in self.rests.iter_mut().flat_map(|rest| rest.ready.drain(..)).chain(held) {
            pool.free(packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Station, udp_frame};
    use port::{Hugepages, Mempool, Nanos, PortId};

    use crate::stamp::Stamp;

    #[test]
    fn a_frame_that_came_back_is_sent_again_as_planned() {
        let pool = Mempool::new(64, Hugepages::Never).unwrap();
        let mut cache = pool.cache();
        let mut stock = Stock::new();
        let station = |n| Station { mac: [2, 0, 0, 0, 0, n], ip: [198, 18, 0, n] };
        let planned = |to, len| PlannedFrame {
            bytes: udp_frame(station(0), station(to), len).into(),
            target: Target::Port(PortId(to)),
            stamped: true,
        };
        let (one, two) = (planned(1, 566), planned(2, 566));
        let (first, second) = (stock.add(&one), stock.add(&two));
        assert_eq!(stock.add(&one), first);
        for round in 0..200 {
            let mut packet = stock.packet(if round % 2 == 0 { first } else { second }, &mut cache).unwrap();
            let mut want = if round % 2 == 0 { one.bytes.to_vec() } else { two.bytes.to_vec() };
            assert_eq!(cache.head(&packet), want, "round {round}");
            let stamp = Stamp { stream: 1, sequence: round, intended: Nanos(5), sent: Nanos(6) };
            stamp.write(cache.bytes_mut(&mut packet).unwrap());
            stamp.write(&mut want);
            assert_eq!(cache.head(&packet), want);
            stock.take_back(packet, &mut cache);
        }
        cache.flush();
        assert_eq!((pool.in_use(), stock.corrupted), (1, 0), "one buffer serves them all");
        // A device that changes what lies behind the stamp is found out by the next check.
        for _ in 0..CHECKED {
            let mut packet = stock.packet(first, &mut cache).unwrap();
            cache.bytes_mut(&mut packet).unwrap()[300] |= 1;
            stock.take_back(packet, &mut cache);
        }
        assert_eq!(stock.corrupted, 1);
        let capture = stock.add(&PlannedFrame { bytes: vec![7; 3000].into(), target: Target::Others, stamped: false });
        for _ in 0..3 {
            let packet = stock.packet(capture, &mut cache).unwrap();
            assert!(packet.is_shared() && packet.len() == 3000);
            cache.free(packet);
        }
        stock.clear(&mut cache);
        cache.flush();
        assert_eq!(pool.in_use(), 0);
    }
}
