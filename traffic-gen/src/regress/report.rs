//! Results of cases: for people, and as JUnit XML for whatever collects test results.

use std::fmt::Write as _;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::check::Checked;
use super::explain::Explanation;

/// Differences a person is shown of each case.
const SHOWN_MAX: usize = 10;

/// How a case ended: its name, and the result or why there is none.
pub type Ended = (String, Result<Checked, String>);

/// A case in words.
pub fn text(checked: &Checked) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let ms = checked.duration.as_millis();
    if checked.differences.is_empty() {
        let how = if checked.blessed { "accepted" } else { "ok" };
        let _ = writeln!(text, "{how}: {}: {} frames out, {ms} ms", checked.case, checked.got_frames);
        return text;
    }
    let counts: Vec<String> = checked.differences.counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let how = if checked.blessed { "accepted" } else { "FAILED" };
    let _ = writeln!(
        text,
        "{how}: {}: {}; {} frames out, {} expected, {ms} ms",
        checked.case,
        counts.join(", "),
        checked.got_frames,
        checked.expected_frames
    );
    for (index, explanation) in checked.explanations.iter().take(SHOWN_MAX).enumerate() {
        let _ = write!(text, "\n{}. {}", index + 1, difference(explanation));
    }
    let more = checked.differences.total().saturating_sub(SHOWN_MAX as u64);
    if more > 0 {
        let _ = writeln!(text, "\nand {more} more");
    }
    if let Some(path) = &checked.diff {
        let _ = writeln!(text, "\nthe frames, with comments: {}", path.display());
    }
    text
}

/// A difference in words: the sentence, the fields side by side with `≠` before those that differ, and why.
pub fn difference(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.headline);
    let width = |column: fn(&super::explain::Pair) -> &str, least: usize| {
        explanation.fields.iter().map(|pair| column(pair).chars().count()).max().unwrap_or(0).max(least)
    };
    if !explanation.fields.is_empty() {
        let (name, expected) = (width(|pair| pair.name, 5), width(|pair| &pair.expected, 8));
        let _ = writeln!(text, "     {:name$}  {:expected$}  got", "field", "expected");
        for pair in &explanation.fields {
            let mark = if pair.differs { '≠' } else { ' ' };
            let line = format!("   {mark} {:name$}  {:expected$}  {}", pair.name, pair.expected, pair.got);
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    for cause in &explanation.causes {
        let _ = writeln!(text, "   {cause}");
    }
    text
}

/// The results as JUnit XML: a test suite, a test case for each case.
///
/// # Errors
/// None can happen while writing to memory; told nonetheless.
pub fn junit(cases: &[Ended]) -> std::io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let failures = cases.iter().filter(|(_, ended)| ended.as_ref().is_ok_and(|checked| !checked.passed())).count();
    let errors = cases.iter().filter(|(_, ended)| ended.is_err()).count();
    let time: f64 = cases.iter().filter_map(|(_, ended)| ended.as_ref().ok()).map(|checked| checked.duration.as_secs_f64()).sum();
    writer
        .create_element("testsuite")
        .with_attribute(("name", "traffic-gen check"))
        .with_attribute(("tests", &*cases.len().to_string()))
        .with_attribute(("failures", &*failures.to_string()))
        .with_attribute(("errors", &*errors.to_string()))
        .with_attribute(("time", &*format!("{time:.3}")))
        .write_inner_content(|writer| {
            for (name, ended) in cases {
                let time = ended.as_ref().map_or(0.0, |checked| checked.duration.as_secs_f64());
                let case = writer
                    .create_element("testcase")
                    .with_attribute(("classname", "pcaps"))
                    .with_attribute(("name", &*plain(name)))
                    .with_attribute(("time", &*format!("{time:.3}")));
                let (tag, message, words) = match ended {
                    Ok(checked) if checked.passed() => {
                        case.write_empty()?;
                        continue;
                    }
                    Ok(checked) => {
                        ("failure", checked.explanations.first().map_or_else(String::new, |first| first.headline.clone()), text(checked))
                    }
                    Err(error) => ("error", error.clone(), error.clone()),
                };
                case.write_inner_content(|writer| {
                    let element = writer.create_element(tag).with_attribute(("message", &*plain(&message)));
                    element.write_text_content(BytesText::new(&plain(&words)))?;
                    Ok(())
                })?;
            }
            Ok(())
        })?;
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(std::io::Error::other)
}

/// Without the control characters that XML 1.0 cannot hold, which may stand in names and comments of captures.
fn plain(text: &str) -> String {
    text.chars().filter(|&letter| !letter.is_control() || letter == '\n' || letter == '\t').collect()
}
