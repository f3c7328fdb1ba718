//! Comparing eight short numbers at once, for tables that are looked up per packet.
#![allow(unsafe_code)]

/// A pair of bits for each of the eight lanes of 16 bits in `words`, lowest first: set where the lane is `wanted`.
#[inline(always)]
pub fn equal(words: [u64; 2], wanted: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of x86-64; nothing but the arguments is read.
    unsafe {
        use std::arch::x86_64::{_mm_cmpeq_epi16, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi16};
        let lanes = _mm_set_epi64x(words[1] as i64, words[0] as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi16(lanes, _mm_set1_epi16(wanted as i16))) as u32
    }
    #[cfg(not(target_arch = "x86_64"))]
    equal_portably(words, wanted)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_portably(words: [u64; 2], wanted: u16) -> u32 {
    (0..8).map(|lane| if (words[lane / 4] >> (lane % 4 * 16)) as u16 == wanted { 0b11 << (2 * lane) } else { 0 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_processor_finds_what_a_loop_finds(words: [u64; 2], wanted in prop_oneof![Just(None), (0..8usize).prop_map(Some)]) {
            // A number that is in a lane, or any.
            let wanted = wanted.map_or(0x1234, |lane| (words[lane / 4] >> (lane % 4 * 16)) as u16);
            prop_assert_eq!(equal(words, wanted), equal_portably(words, wanted));
        }
    }
}
