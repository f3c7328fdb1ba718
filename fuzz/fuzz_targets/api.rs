//! Any request to the API of a running switch: it is answered, in JSON or with a reason in JSON, and never with 500.
//!
//! The input is the method (first octet), the path with its query up to the end of the line, and the body. What is not a
//! request at all is the business of the HTTP library.
#![no_main]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use bladeswitch::{Running, assembly};
use control::api::{self, Server};
use control::config::{Config, Idle};
use libfuzzer_sys::fuzz_target;
use port::clock::TscClock;

struct Site {
    _running: Running,
    server: Server,
}

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let config = Config::parse(include_str!("switch.toml"), "switch.toml").expect("a right file");
    let (ports, _, _) = assembly::memory_ports(&config, 64);
    let mempool = assembly::mempool(&config).expect("memory for a small pool");
    let switch = assembly::build(&config, ports, &mempool, 1);
    let running = switch.start(&[], Idle::Adaptive, TscClock::new()).expect("two threads");
    let socket: PathBuf = std::env::temp_dir().join("bladeswitch-fuzz-api.sock"); // Taken over from the run before.
    let server = api::listen(&socket).expect("a socket").serve(running.shared_control()).expect("a thread");
    Site { _running: running, server }
});

fuzz_target!(|input: &[u8]| {
    let Some((method, rest)) = input.split_first() else { return };
    let method = ["GET", "POST", "HEAD", "PUT", "DELETE"][usize::from(*method) % 5];
    let end = rest.iter().position(|&octet| octet == b'\n').unwrap_or(rest.len());
    let (path, body) = (&rest[..end], &rest[(end + 1).min(rest.len())..]);
    let path = path.iter().copied().filter(|octet| !octet.is_ascii_control() && *octet != b' ');
    let head = format!("HTTP/1.1\r\nHost: fuzz\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let request = [method.as_bytes(), b" /", &path.collect::<Vec<_>>(), b" ", head.as_bytes(), body].concat();

    let mut stream = UnixStream::connect(SITE.server.path()).expect("the server is there");
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a timeout");
    // A request that is refused early may not be read to its end.
    let _ = stream.write_all(&request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).inspect_err(|error| assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "no answer"));
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status: u16 = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
    assert_ne!(status, 500, "{answer}");
    if head.contains("application/json") && !body.is_empty() {
        let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(status >= 400, json.get("error").is_some(), "{answer}");
    }
});
