//! A stream says what a file says, however its bytes arrive.

use std::io::Read;

use super::*;

/// Hands out at most so many bytes at once.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = self.1.min(self.0.len()).min(to.len());
        to[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn written(frames: u64) -> Vec<u8> {
    let mut writer = CaptureWriter::new(Vec::new()).unwrap();
    for name in ["a", "b"] {
        writer.add_interface(name, None).unwrap();
    }
    for n in 0..frames {
        let notes = FrameNotes { packet_id: Some(n), verdict: Some("drop:hairpin".into()), ..FrameNotes::default() };
        writer.write_frame((n % 2) as u32, n * 10, &vec![n as u8; 60 + n as usize % 1000], 0, &notes).unwrap();
    }
    writer.write_statistics(0, 5, Some(1), None).unwrap();
    writer.finish().unwrap()
}

/// Interface, time, bytes, notes.
type Taken = (u32, u64, Vec<u8>, FrameNotes<'static>);

/// What a stream gives: frames without their offset in a list, and the error if there is one.
fn streamed(bytes: &[u8], at_once: usize) -> (Vec<Taken>, Option<String>) {
    let mut stream = CaptureStream::new(Drip(bytes, at_once), "stdin");
    let mut frames = Vec::new();
    let mut error = None;
    while let Some(frame) = stream.next_frame() {
        match frame {
            Ok(frame) => {
                let notes = FrameNotes {
                    direction: frame.notes.direction,
                    packet_id: frame.notes.packet_id,
                    comment: frame.notes.comment.map(|text| text.into_owned().into()),
                    verdict: frame.notes.verdict.map(|text| text.into_owned().into()),
                };
                frames.push((frame.interface, frame.time_ns, frame.bytes.to_vec(), notes));
            }
            Err(found) => error = Some(found.to_string()),
        }
    }
    assert!(stream.next_frame().is_none());
    (frames, error)
}

#[test]
fn a_stream_says_what_the_file_says() {
    let bytes = written(3000);
    let file = CaptureFile::from_bytes("x", bytes.clone()).unwrap();
    let expected: Vec<_> = file.frames().map(|frame| frame.map(|f| (f.interface, f.time_ns, f.bytes.to_vec(), f.notes)).unwrap()).collect();
    assert_eq!(expected.len(), 3000);
    assert_eq!((expected[7].3.packet_id, expected[7].3.verdict.as_deref()), (Some(7), Some("drop:hairpin")));
    for at_once in [1 << 20, 65_536, 97] {
        let (frames, error) = streamed(&bytes, at_once);
        assert!(frames == expected && error.is_none(), "{at_once} bytes at once: {} frames, {error:?}", frames.len());
    }
}

#[test]
fn damage_is_named_with_its_byte() {
    let bytes = written(3);
    let (frames, error) = streamed(&bytes[..bytes.len() - 40 - 5], 50);
    let (_, of_file) = read(&CaptureFile::from_bytes("stdin", bytes[..bytes.len() - 40 - 5].to_vec()).unwrap());
    assert_eq!((frames.len(), error), (2, of_file.map(|error| error.to_string())));
    assert!(streamed(b"\xd4\xc3\xb2\xa1 is a pcap file", 4).1.unwrap().contains("at byte 0: magic number: expected that of a pcapng file"));
    assert_eq!(streamed(b"", 1), (vec![], None));
    assert!(streamed(b"\x0a\x0d", 1).1.unwrap().contains("at byte 0: block header cut short"));
    let mut long = bytes.clone();
    let at = long.len() - 40;
    long[at + 4..at + 8].copy_from_slice(&(u32::MAX - 3).to_le_bytes());
    let (frames, error) = streamed(&long, 1000);
    assert_eq!(frames.len(), 3);
    assert!(error.unwrap().contains(&format!("at byte {at}: block length: expected at most 1048576")));
}

proptest! {
    /// Damage anywhere: the same frames and the same complaint as of a file.
    #[test]
    fn any_damage_is_told_as_of_a_file(at in 28usize..2000, to in any::<u8>(), at_once in 1usize..300) {
        let mut bytes = written(12);
        let at = at % bytes.len();
        prop_assume!(at >= 28);
        bytes[at] = to;
        let (frames, error) = streamed(&bytes, at_once);
        if let Ok(file) = CaptureFile::from_bytes("stdin", bytes) {
            let (of_file, file_error) = read(&file);
            // A block said to be longer than the longest is refused at once by a stream, and found to be cut short by a file.
            if !error.as_ref().is_some_and(|error| error.contains("expected at most 1048576")) {
                prop_assert_eq!(frames.len(), of_file.len());
                prop_assert_eq!(error, file_error.map(|error| error.to_string()));
            }
        }
    }
}
