//! Any bytes as a frame: the three readers agree, and all of them can be put into words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::ethernet::{Frame, MIN_FRAME_LEN};
use wire::headers::Headers;

fuzz_target!(|bytes: &[u8]| {
    assert!(!wire::display::describe(bytes).is_empty());
    let (frame, headers) = (Frame::new_checked(bytes), Headers::parse(bytes));
    assert_eq!(headers.is_some(), bytes.len() >= MIN_FRAME_LEN);
    if let Some(headers) = headers {
        let frame = frame.expect("a frame of the minimum length has its headers");
        assert_eq!((headers.dst, headers.src), (frame.dst().raw(), frame.src().raw()));
        assert_eq!((headers.ethertype, usize::from(headers.payload)), (frame.ethertype().0, bytes.len() - frame.payload().len()));
    }
});
