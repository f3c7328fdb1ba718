//! Asking a running switch: HTTP over its Unix socket.
//!
//! One request a connection, 10 s for all of it.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::Failure;

/// How long an answer may take. The API itself gives up on the workers after 5 s.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// The body of the answer to `GET path`.
///
/// # Errors
/// Nobody answers, or the switch refuses, in its own words.
pub fn get(socket: &Path, path: &str) -> Result<String, Failure> {
    ask(socket, Method::GET, path, String::new())
}

/// The body of the answer to `POST path` with a JSON body.
///
/// # Errors
/// As [`get`].
pub fn post(socket: &Path, path: &str, body: String) -> Result<String, Failure> {
    ask(socket, Method::POST, path, body)
}

fn ask(socket: &Path, method: Method, path: &str, body: String) -> Result<String, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(Failure::other)?;
    let asked = async { tokio::time::timeout(ANSWER_WAIT_MAX, exchange(socket, method, path, body)).await };
    match runtime.block_on(asked) {
        Ok(answer) => answer,
        Err(_) => Err(Failure::other(format!("{}: no answer within {} s", socket.display(), ANSWER_WAIT_MAX.as_secs()))),
    }
}

/// The body of the answer to any request, however long it takes.
///
/// # Errors
/// As [`get`].
pub async fn exchange(socket: &Path, method: Method, path: &str, body: String) -> Result<String, Failure> {
    let broken = |error: hyper::Error| Failure::other(format!("{}: the answer broke off: {error}", socket.display()));
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        Failure::other(format!(
            "nobody answers on {} ({error}): is `bladeswitch run` running as this user, with switch.api set to this path? \
             (--socket PATH asks another)",
            socket.display()
        ))
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "bladeswitch")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(Failure::other)?;
    let answered = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    };
    // The connection has to be driven while the answer is awaited; it has nothing to say of its own.
    let (status, bytes) = tokio::select! {
        answer = answered => answer.map_err(broken)?,
        Err(error) = connection => return Err(broken(error)),
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if status.is_success() { Ok(text) } else { Err(refusal(status, &text)) }
}

/// `{"error": "…"}` in words.
fn refusal(status: hyper::StatusCode, text: &str) -> Failure {
    let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
    match json.as_ref().and_then(|json| json.get("error")?.as_str()) {
        // What was given to it is wrong, a line for each error.
        Some(errors) if status == hyper::StatusCode::UNPROCESSABLE_ENTITY => Failure::input(errors.replace('\n', "\nerror: ")),
        Some(error) => Failure::other(error),
        None => Failure::other(format!("the switch answers {status}")),
    }
}
