//! Copying a frame: short ones, which are most, by moves of 16 bytes without a call.
//!
//! The moves of a length class overlap, so that no length needs a loop, and none reaches beyond the frame: what lies behind it in a packet buffer is
//! of older frames, which are none of the peer's business.
#![allow(unsafe_code)]

/// Bytes of a move.
const LANE: usize = 16;

/// Copies `len` bytes.
///
/// # Safety
/// As of [`std::ptr::copy_nonoverlapping`]: all of them may be read at `from` and written at `to`, and the two do not overlap.
#[inline(always)]
pub unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's word; each class has at least its lanes.
    unsafe {
        match len {
            LANE..=32 => ends::<1>(from, to, len),
            33..=64 => ends::<2>(from, to, len),
            65..=128 => ends::<4>(from, to, len),
            _ => std::ptr::copy_nonoverlapping(from, to, len),
        }
    }
}

/// Copies the first and the last `N` lanes of `len` bytes: all of them if `len` is from `N` to twice `N` lanes.
///
/// # Safety
/// As of [`copy`], and `len` is not less than `N` lanes.
#[inline(always)]
unsafe fn ends<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    for lane in 0..N {
        let (first, last) = (lane * LANE, len - (N - lane) * LANE);
        // SAFETY: both end at or before `len`, by the caller's word.
        unsafe {
            std::ptr::copy_nonoverlapping(from.add(first), to.add(first), LANE);
            std::ptr::copy_nonoverlapping(from.add(last), to.add(last), LANE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_and_not_a_byte_more() {
        let from: Vec<u8> = (0..300).map(|n| n as u8 ^ 0x5a).collect();
        for len in 0..=280 {
            let mut to = vec![0xee; 300];
            // SAFETY: both have more than `len` + 3 bytes.
            unsafe { copy(from[3..].as_ptr(), to.as_mut_ptr(), len) };
            assert_eq!(to[..len], from[3..3 + len], "{len}");
            assert!(to[len..].iter().all(|&byte| byte == 0xee), "{len}");
        }
    }
}
