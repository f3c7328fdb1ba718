//! Any bytes as a capture file: good frames, then at most one error; and what was read is the same after being written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use port::capture::{CaptureFile, CaptureWriter, CapturedFrame};

fuzz_target!(|bytes: &[u8]| match CaptureFile::from_bytes("fuzz", bytes.to_vec()) {
    Err(error) => assert!(!error.to_string().is_empty()),
    Ok(file) => write_and_read(&file, &read(&file)),
});

fn read(file: &CaptureFile) -> Vec<CapturedFrame<'_>> {
    let mut walk = file.frames();
    let mut frames = Vec::new();
    for frame in walk.by_ref() {
        match frame {
            Ok(frame) => frames.push(frame),
            Err(error) => {
                assert!(error.offset().is_some_and(|offset| !error.to_string().is_empty() && offset > 0));
                break;
            }
        }
    }
    assert!(walk.next().is_none(), "nothing comes after an error");
    frames
}

fn write_and_read(file: &CaptureFile, frames: &[CapturedFrame<'_>]) {
    let mut writer = CaptureWriter::new(Vec::new()).expect("memory takes everything");
    for _ in file.interfaces() {
        writer.add_interface("fuzz", None).expect("as many as were read");
    }
    // A text that was not UTF-8 may have become too long to be written; a verdict has an octet before it.
    let too_long = |frame: &CapturedFrame<'_>| {
        [&frame.notes.comment, &frame.notes.verdict].into_iter().flatten().any(|text| text.len() >= usize::from(u16::MAX))
    };
    let written: Vec<_> = frames.iter().filter(|frame| !too_long(frame)).collect();
    for frame in &written {
        writer.write_frame(frame.interface, frame.time_ns, frame.bytes, frame.original_len, &frame.notes).expect("what was read");
    }
    let again = CaptureFile::from_bytes("again", writer.finish().expect("memory")).expect("our own file");
    assert_eq!(again.frame_count(), written.len() as u64);
    for (got, wrote) in again.frames().zip(written) {
        let got = CapturedFrame { offset: wrote.offset, ..got.expect("our own frame") };
        assert_eq!(&got, wrote);
    }
}
