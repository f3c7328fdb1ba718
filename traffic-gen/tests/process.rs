//! Programs as devices under test, and the commands themselves.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// `traffic-gen` with these arguments: exit code, standard output, standard error.
fn tester(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_traffic-gen")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(arguments: &[&str]) -> Value {
    let (code, out, err) = tester(arguments);
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[test]
fn a_program_that_echoes_sends_everything_back_where_it_came_from() {
    let report = json(&[
        "soak",
        "--json",
        "--dut",
        "exec:[p1=1G,p2=1G]cat",
        "--sizes",
        "64",
        "--intervals",
        "1",
        "--interval",
        "0.001",
        "--wait",
        "0",
        "--rest",
        "0",
    ]);
    let trial = &report["trials"][0];
    // 1,488 frames of 64 bytes are complete in 1 ms, from each of two ports.
    assert_eq!(
        (trial["sent"].as_u64(), trial["lost"].as_u64(), trial["misdelivered"].as_u64()),
        (Some(2976), Some(2976), Some(2976)),
        "{trial}"
    );
}

#[test]
fn what_a_program_does_wrong_is_said() {
    let dut = |dut: &str| {
        let (code, _, err) = tester(&["soak", "--dut", dut, "--sizes", "64", "--intervals", "1", "--interval", "0.001"]);
        assert_ne!(code, 0, "{dut}");
        err
    };
    for (given, says) in [
        ("exec:[p1=1G,p2=1G]echo it is broken >&2; exit 3", "it is broken"),
        ("exec:[p1=1G,p2=1G]exit 3", "exit status: 3"),
        ("exec:[p1=1G,p2=1G]cat >/dev/null; echo this is not a capture", "cannot be used"),
        ("exec:[p1=1G,p2=1G]exec cat >/dev/null <&-; exit 0", ""),
        ("exec:cat", "name them, as exec:[p1=1G,p2=1G]"),
        ("exec:[p1=1G]cat", "a trial needs two"),
        ("exec:[p1=1,p2=1G]cat", "`p1=1`: expected NAME=RATE"),
        ("exec:[p1=1G", "expected `]`"),
        ("exec:", "expected a command"),
        ("model:fast", "there is no model `fast`"),
        ("switch", "expected KIND:REST"),
        ("gadget:1", "there is no kind `gadget`"),
    ] {
        let err = dut(given);
        assert!(err.contains(says) && err.contains("error: "), "{given}: {err}");
    }
}

#[test]
fn arguments_that_cannot_be_are_refused() {
    for (arguments, says) in [
        (vec!["rfc2544", "throughput"], "--dut"),
        (vec!["rfc2544", "throughput", "--dut", "model:ideal", "--port", "af_packet:a@1G"], "--port"),
        (vec!["rfc2544", "throughput", "--port", "af_packet:a@1G"], "expected 2 to"),
        (vec!["rfc2544", "throughput", "--port", "af_packet:a@1G", "--port", "af_packet:a@1G"], "named twice"),
        (vec!["rfc2544", "throughput", "--port", "af_packet:a", "--port", "af_packet:b@1G"], "expected SPEC@RATE"),
        (vec!["rfc2544", "throughput", "--dut", "model:ideal", "--loopback", "a@1G", "b@1G", "--quick"], "virtual clock"),
        (vec!["rfc2544", "throughput", "--dut", "model:ideal", "--sizes", "63"], "63"),
        (vec!["rfc2544", "throughput", "--dut", "model:ideal", "--trial", "0"], "more than 0 seconds"),
        (vec!["rfc2544", "throughput", "--dut", "model:ideal", "--pattern", "many-to-one", "--one", "p9"], "there is no port `p9`"),
        (vec!["rfc2889", "congestion", "--dut", "model:ideal,ports=3", "--quick"], "needs 4 ports"),
        (vec!["rfc2889", "sorting", "--dut", "model:ideal"], "sorting"),
        (vec!["search", "--dut", "model:ideal", "--goal", "fast"], "expected ndr"),
        (vec!["rfc2544", "reset", "--dut", "exec:[p1=1G,p2=1G]cat", "--quick"], "reset"),
    ] {
        let (code, out, err) = tester(&arguments);
        assert!(code == 2 && out.is_empty() && err.contains(says), "{arguments:?}: {code} {err}");
    }
}

#[test]
fn quick_is_loud_and_the_report_is_written() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_str().unwrap();
    let arguments = ["rfc2544", "throughput", "--dut", "model:ideal,ports=2", "--quick", "--sizes", "64,1518", "--report", path];
    let (code, out, err) = tester(&arguments);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("NOT a result by the standard") && out.contains("NOT a result by the standard"), "{out}{err}");
    assert!(out.contains("Throughput (RFC 2544, section 26.1)") && out.contains("100.000"), "{out}");
    for file in ["rfc2544-throughput.html", "rfc2544-throughput.json"] {
        assert!(dir.path().join(file).is_file(), "{file}");
    }
}

#[test]
fn a_search_reports_what_the_rfc_asks_for() {
    let report = json(&["search", "--json", "--dut", "model:slow,buffer=8", "--sizes", "64", "--quick"]);
    for (result, goal) in report["results"].as_array().unwrap().iter().zip(["NDR", "PDR"]) {
        assert_eq!(result["goal"]["name"], goal);
        let number = |name: &str| result[name].as_f64().unwrap();
        let (lower, upper) = (number("lower_bound_fps"), number("upper_bound_fps"));
        // Two directions; 20 ms; the limit of 7.3 Mpps is for both together.
        assert!((upper - lower) / upper <= 0.0050001 && (7.2e6..7.4e6).contains(&lower), "{result}");
        assert!((number("conditional_throughput_fps") / 7.3e6 - 1.0).abs() < 0.01, "{result}");
    }
}
