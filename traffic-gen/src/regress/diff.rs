//! What differs, as a capture to open in Wireshark: each frame that was expected and each that came, with a comment that says what is
//! wrong with it. The interface says which is which: `blade2 expected`, `blade2 got`.

use std::fs::File;
use std::path::Path;

use port::capture::{CaptureWriter, Direction, FrameNotes};

use super::RegressError;
use super::case::{Frame, Run};
use super::compare::Differences;
use super::explain::Explanation;

/// Writes the frames of the differences, in the order of the differences.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, differences: &Differences, explanations: &[Explanation], expected: &Run, got: &Run) -> Result<(), RegressError> {
    let failed = |source| RegressError::File { path: path.to_owned(), source };
    let mut writer = CaptureWriter::new(File::create(path).map_err(failed)?).map_err(failed)?;
    let mut frames: Vec<(&Frame, &str, String)> = Vec::new();
    for (difference, explanation) in differences.list.iter().zip(explanations) {
        let (want, have) = difference.frames();
        let comment = |side: &str| {
            format!("{side}: {}{}", explanation.headline, explanation.causes.iter().map(|cause| format!("\n{cause}")).collect::<String>())
        };
        frames.extend(want.map(|index| (&expected.sent[index], "expected", comment("expected"))));
        frames.extend(have.map(|index| (&got.sent[index], "got", comment("got"))));
    }
    let mut interfaces: Vec<String> = frames.iter().map(|(frame, side, _)| format!("{} {side}", frame.port)).collect();
    interfaces.sort();
    interfaces.dedup();
    for name in &interfaces {
        writer.add_interface(name, None).map_err(failed)?;
    }
    for (frame, side, comment) in frames {
        let name = format!("{} {side}", frame.port);
        let interface = interfaces.binary_search(&name).unwrap_or_default() as u32;
        let mut comment = comment;
        comment.truncate((0..=60_000.min(comment.len())).rev().find(|&at| comment.is_char_boundary(at)).unwrap_or(0));
        let notes =
            FrameNotes { direction: Some(Direction::Outbound), comment: Some(comment.into()), packet_id: frame.packet, verdict: None };
        writer.write_frame(interface, frame.time_ns, &frame.bytes, frame.bytes.len() as u32, &notes).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    Ok(())
}
