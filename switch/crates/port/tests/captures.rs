//! Every capture of the third-party collection beside the workspace is read or refused, never a panic. The collection
//! is not part of the project: without it this test says so and passes.

use std::fs;
use std::path::{Path, PathBuf};

use port::capture::{CaptureError, CaptureFile, CaptureWriter, FrameNotes};

/// The collection, if it is there.
fn collection() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/captures");
    if !folder.is_dir() {
        println!("skipped: no ../shared/captures");
        return None;
    }
    Some(folder)
}

fn captures_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            captures_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng") {
            found.push(path);
        }
    }
}

#[test]
fn every_capture_is_read_or_refused() {
    let Some(folder) = collection() else { return };
    let mut paths = Vec::new();
    captures_below(&folder, &mut paths);
    paths.sort();
    let (mut read, mut damaged, mut refused) = (0, 0, 0);
    for path in &paths {
        let len = fs::metadata(path).unwrap().len();
        let file = match CaptureFile::open(path) {
            Ok(file) => file,
            Err(error) => {
                assert!(matches!(error, CaptureError::Refused { .. }), "{error}");
                assert!(error.to_string().starts_with(&format!("{}: at byte ", path.display())), "{error}");
                refused += 1;
                continue;
            }
        };
        let mut frames = 0;
        let mut error = None;
        for frame in file.frames() {
            assert!(error.is_none(), "{}: something follows the error", path.display());
            match frame {
                Ok(frame) => {
                    frames += 1;
                    assert!(frame.offset + frame.bytes.len() as u64 <= len);
                }
                Err(found) => error = Some(found),
            }
        }
        match &error {
            Some(error) => {
                assert!(error.offset().is_some_and(|offset| offset < len), "{error}");
                assert!(frames <= file.frame_count());
                damaged += 1;
            }
            None => {
                assert_eq!(frames, file.frame_count(), "{}", path.display());
                read += 1;
            }
        }
    }
    println!("{} captures: {read} read, {damaged} read up to an error, {refused} refused", paths.len());
    assert!(read > 0, "nothing in {} could be read", folder.display());
}

/// Numbers as `capinfos` gives them: frames, bytes on the wire.
#[test]
fn known_captures_have_the_frames_they_should() {
    let Some(folder) = collection() else { return };
    for (name, frames, bytes) in KNOWN {
        let file = CaptureFile::open(folder.join(name)).unwrap();
        assert_eq!(file.frame_count(), *frames, "{name}");
        let wire: u64 = file.frames().map(|frame| u64::from(frame.unwrap().original_len)).sum();
        assert_eq!(wire, *bytes, "{name}");
    }
}

const KNOWN: &[(&str, u64, u64)] = &[
    ("snabb/broadcast.pcap", 40, 18_586),
    ("snabb/ipv4_and_ipv6_stick_imix.pcap", 18, 7_816),
    ("snabb/sanitized4k.pcap", 4_096, 3_647_580),
    ("snabb/source-vlan.pcap", 102, 3_876),
];

/// A copy of a capture through the writer has the same frames at the same times.
#[test]
fn known_captures_survive_a_copy() {
    let Some(folder) = collection() else { return };
    for (name, ..) in KNOWN {
        let file = CaptureFile::open(folder.join(name)).unwrap();
        let mut writer = CaptureWriter::new(Vec::new()).unwrap();
        for interface in file.interfaces() {
            writer.add_interface(&interface.name, interface.speed_bps).unwrap();
        }
        for frame in file.frames() {
            let frame = frame.unwrap();
            writer.write_frame(frame.interface, frame.time_ns, frame.bytes, frame.original_len, &FrameNotes::default()).unwrap();
        }
        let copy = CaptureFile::from_bytes("copy", writer.finish().unwrap()).unwrap();
        for (original, copy) in file.frames().zip(copy.frames()) {
            let (original, copy) = (original.unwrap(), copy.unwrap());
            assert_eq!((original.time_ns, original.bytes, original.original_len), (copy.time_ns, copy.bytes, copy.original_len));
        }
        assert_eq!(copy.frame_count(), file.frame_count());
    }
}
