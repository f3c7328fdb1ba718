//! Ctrl-C in the midst of a run: it ends, and what it has done is reported whole. Tests wait for what a program says, not for time.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use port::capture::CaptureFile;
use serde_json::Value;

/// A program at work, and what it says on stderr.
struct Running {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

fn start(arguments: &[&str]) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_traffic-gen"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    Running { child, stderr }
}

impl Running {
    /// Waits until it says this on stderr.
    fn until(mut self, says: &str) -> Running {
        let mut line = String::new();
        while !line.contains(says) {
            line.clear();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it ended before it said {says:?}");
        }
        self
    }

    /// Sends it a signal, and waits for its end: exit code and stdout.
    fn end_by(mut self, signal: &str) -> (Option<i32>, String) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        // What it still says must not make it wait.
        let rest = thread::spawn(move || self.stderr.read_to_end(&mut Vec::new()));
        let output = self.child.wait_with_output().unwrap();
        rest.join().unwrap().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The report and its files, and a capture that was being written.
#[test]
fn a_replay_without_end_reports_what_it_has_sent() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/ping").display().to_string();
    for signal in ["INT", "TERM"] {
        let (out, report) = (path("out.pcapng"), path("report"));
        let running = start(&[
            "replay",
            &input,
            "-w",
            &out,
            "--clock",
            "real",
            "-l",
            "0",
            "--max-gap",
            "10us",
            "--late-max",
            "1h",
            "--stats",
            "1",
            "--report",
            &report,
            "--json",
        ]);
        let (code, stdout) = running.until("packets (").end_by(signal);
        assert_eq!(code, Some(0), "{stdout}");
        let told: Value = serde_json::from_str(&stdout).unwrap();
        let sent = told["packets"].as_u64().unwrap();
        assert!(sent > 0 && told["valid"] == true && told["interrupted"] == true, "{told}");
        assert!(told["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().starts_with("interrupted")), "{told}");
        let kept = json(&dir.path().join("report/replay.json"));
        assert_eq!(kept["result"]["packets"], sent);
        assert!(kept["warnings"].as_array().unwrap().iter().any(|warning| warning["kind"] == "interrupted"), "{kept}");
        let html = std::fs::read_to_string(dir.path().join("report/replay.html")).unwrap();
        assert!(html.trim_end().ends_with("</html>") && html.contains("interrupted"));
        let capture = CaptureFile::open(Path::new(&out)).unwrap();
        assert_eq!(capture.frames().map(Result::unwrap).count() as u64, sent, "the capture is whole");
    }
}

#[test]
fn a_soak_reports_the_trials_it_has_done() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().display().to_string();
    let running = start(&[
        "soak",
        "--dut",
        "model:ideal,ports=2",
        "--sizes",
        "64",
        "--interval",
        "0.001",
        "--intervals",
        "1000000",
        "--wait",
        "0.001",
        "--rest",
        "0",
        "--json",
        "--report",
        &report,
    ]);
    // The head of the table of trials, and the first of them.
    let (code, stdout) = running.until("forwarded/s").until("soak").end_by("INT");
    assert_eq!(code, Some(1), "{stdout}");
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert!(told["notes"].as_array().unwrap().contains(&"interrupted".into()), "{told}");
    let trials = told["trials"].as_array().unwrap();
    assert!(!trials.is_empty() && trials.iter().all(|trial| trial["lost"] == 0 && trial["sent"] == 2976), "{told}");
    let page = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "json"));
    let kept = json(&page.expect("a report as JSON"));
    assert_eq!(kept["result"]["trials"].as_array().unwrap().len(), trials.len());
    assert!(kept["warnings"].as_array().unwrap().iter().any(|warning| warning["kind"] == "interrupted"), "{kept}");
}
