//! The HTTP API on a Unix socket: what the command line and scripts ask a running switch.
//!
//! `GET /v1/ports` and its kin give the structs of [`crate::show`] as JSON, `GET /metrics` the counters as OpenMetrics text,
//! `POST /v1/fdb/flush` forgets learned addresses. What goes wrong is `{"error": "…"}` with a fitting status. Who may open the
//! socket may do all of it: its mode is 0600, there is no other guard.
//!
//! Threads: one of its own, with a small asynchronous runtime. A request takes control's lock for as long as it takes to copy what it
//! shows, never while it waits; the forwarding threads are not involved, except that the first worker is asked for its FDB.
//!
//! Limits: bodies of 64 KiB, but whole configurations; one FDB at a time, the others wait; 5 s for the workers to answer, 1 s for open requests at the end.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;
use wire::Vid;

use crate::plane::Control;
use crate::{metrics, show};

mod blades;
mod rates;
mod reload;
mod slots;
mod steering;

pub use blades::Request as CommandRequest;
pub use rates::Request as RateRequest;
pub use reload::{Answer as ReloadAnswer, CONFIRM_MS_MAX, Confirmed, Request as ReloadRequest};
pub use slots::Answer as SlotAnswer;
pub use steering::Request as BladeRequest;

/// The longest request body, in bytes.
pub const BODY_LEN_MAX: usize = 64 << 10;
/// How long the workers have to show their FDB.
const FDB_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const FDB_POLL: Duration = Duration::from_millis(1);
/// How long open requests have when the server ends.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
/// What there is.
const PATHS: [&str; 28] = [
    "GET /v1/ports",
    "POST /v1/ports/{name}/attach",
    "POST /v1/ports/{name}/detach",
    "GET /v1/fdb",
    "POST /v1/fdb/flush",
    "GET /v1/neighbors",
    "GET /v1/identities",
    "GET /v1/joined",
    "GET /v1/blades",
    "POST /v1/blades/command",
    "GET /v1/blades/command/{transaction}",
    "GET /v1/vlans",
    "GET /v1/bus",
    "GET /v1/rates",
    "POST /v1/rates",
    "GET /v1/functions",
    "POST /v1/functions/blade",
    "GET /v1/steer",
    "POST /v1/steer",
    "GET /v1/drops",
    "GET /v1/ledger",
    "GET /v1/workers",
    "GET /v1/config",
    "GET /v1/status",
    "POST /v1/reload",
    "POST /v1/confirm",
    "POST /v1/rollback",
    "GET /metrics",
];

/// Why there is no API.
#[derive(Debug, Error)]
pub enum ApiError {
    /// Somebody else is there.
    #[error("another bladeswitch answers on {path}: stop it, or set another switch.api", path = .0.display())]
    InUse(PathBuf),
    /// There is a file of that name that is none of ours.
    #[error("{path} exists and is not a socket: it is left alone, set another switch.api", path = .0.display())]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("cannot open the API socket {path}: {source}", path = .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The socket, open, before there is a switch to ask. Dropping it removes the file.
#[derive(Debug)]
pub struct Listening {
    listener: UnixListener,
    file: SocketFile,
}

/// Opens the socket at `path`. A socket that a dead process has left there is removed.
///
/// # Errors
/// Somebody answers on it, the file is no socket, or the system refuses.
pub fn listen(path: &Path) -> Result<Listening, ApiError> {
    let failed = |source| ApiError::Io { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(ApiError::NotASocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => return Err(ApiError::InUse(path.to_owned())),
            // Nobody listens: its owner is gone. (Not ours to open: the system says so again when we bind.)
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let inode = std::fs::symlink_metadata(path).map_err(failed)?.ino();
    let file = SocketFile { path: path.to_owned(), inode };
    // Until this line the file has the mode the umask gives it; to connect takes the right to write, which the usual one denies.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(Listening { listener, file })
}

/// The file of a socket; removed when dropped, unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The type as well: a file that came after ours may have got its inode.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.file_type().is_socket() && found.ino() == self.inode)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the API socket stays behind");
        }
    }
}

/// The API of a running switch. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    file: SocketFile,
}

impl Listening {
    /// Answers requests about `control`, in a thread of its own.
    ///
    /// # Errors
    /// If the system refuses a thread or what the runtime needs.
    pub fn serve(self, control: Arc<Mutex<Control>>) -> io::Result<Server> {
        let Listening { listener, file } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::UnixListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("api".to_owned()).spawn(move || runtime.block_on(run(listener, control, stopped)))?;
        Ok(Server { stop: Some(stop), thread: Some(thread), file })
    }
}

impl Server {
    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(()); // It may have ended by itself.
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the API's thread has panicked");
        }
    }
}

async fn run(listener: tokio::net::UnixListener, control: Arc<Mutex<Control>>, stopped: oneshot::Receiver<()>) {
    let (ending, ended) = oneshot::channel::<()>();
    let served = axum::serve(listener, router(control)).with_graceful_shutdown(async {
        let _ = stopped.await; // A dropped sender says the same.
        let _ = ending.send(());
    });
    let too_late = async {
        let _ = ended.await;
        tokio::time::sleep(GOODBYE_MAX).await;
    };
    tokio::select! {
        result = served.into_future() => if let Err(error) = result {
            tracing::error!(%error, "the API has stopped");
        },
        () = too_late => tracing::warn!("requests to the API were cut off"),
    }
}

#[derive(Clone)]
struct Api {
    control: Arc<Mutex<Control>>,
    /// Held by whoever has asked for the FDB: a second question would take the answer from the first.
    fdb: Arc<tokio::sync::Mutex<()>>,
}

impl Api {
    fn control(&self) -> MutexGuard<'_, Control> {
        // A panic while it was held is one of a request's handler; reading leaves nothing half changed.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn router(control: Arc<Mutex<Control>>) -> Router {
    let api = Api { control, fdb: Arc::default() };
    Router::new()
        .route("/v1/ports", get(|State(api): State<Api>| async move { Json(show::ports(&api.control())) }))
        .route("/v1/ports/{name}/attach", post(slots::attach))
        .route("/v1/ports/{name}/detach", post(slots::detach))
        .route("/v1/fdb", get(show_fdb))
        .route("/v1/fdb/flush", post(flush_fdb))
        .route("/v1/neighbors", get(|State(api): State<Api>| async move { Json(show::neighbors(&api.control())) }))
        .route("/v1/identities", get(|State(api): State<Api>| async move { Json(show::identities(&api.control())) }))
        .route("/v1/joined", get(|State(api): State<Api>| async move { Json(show::joined(&api.control())) }))
        .route("/v1/blades", get(|State(api): State<Api>| async move { Json(show::blades(&api.control())) }))
        .route("/v1/blades/command", post(blades::command))
        .route("/v1/blades/command/{transaction}", get(blades::progress))
        .route("/v1/vlans", get(|State(api): State<Api>| async move { Json(show::vlans(&api.control())) }))
        .route("/v1/bus", get(|State(api): State<Api>| async move { Json(show::buses(&api.control())) }))
        .route("/v1/rates", get(|State(api): State<Api>| async move { Json(show::rates(&api.control())) }).post(rates::set))
        .route("/v1/functions", get(|State(api): State<Api>| async move { Json(show::functions(&api.control())) }))
        .route("/v1/functions/blade", post(steering::blade))
        .route("/v1/steer", get(|State(api): State<Api>| async move { Json(show::steer(&api.control())) }).post(steering::replace))
        .route("/v1/drops", get(|State(api): State<Api>| async move { Json(show::drops(&api.control())) }))
        .route("/v1/ledger", get(|State(api): State<Api>| async move { Json(show::ledger(&api.control())) }))
        .route("/v1/workers", get(|State(api): State<Api>| async move { Json(show::workers(&api.control())) }))
        .route("/v1/config", get(show_config))
        .route("/v1/status", get(|State(api): State<Api>| async move { Json(show::status(&api.control())) }))
        .route("/v1/reload", post(reload::reload).layer(DefaultBodyLimit::max(reload::BODY_LEN_MAX)))
        .route("/v1/confirm", post(reload::confirm))
        .route("/v1/rollback", post(reload::roll_back))
        .route("/metrics", get(show_metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(api)
}

/// What is answered when something goes wrong.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    error: String,
}

impl Failure {
    fn new(status: StatusCode, error: impl Into<String>) -> Failure {
        Failure { status, error: error.into() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: String,
        }
        (self.status, Json(Body { error: self.error })).into_response()
    }
}

async fn unknown(method: Method, uri: Uri) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, format!("{method} {} is not known: expected one of {}", uri.path(), PATHS.join(", ")))
}

async fn not_allowed(method: Method, uri: Uri) -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} {} is not allowed: expected one of {}", uri.path(), PATHS.join(", ")))
}

async fn show_fdb(State(api): State<Api>) -> Result<Json<show::Fdb>, Failure> {
    let _alone = api.fdb.lock().await;
    let request = api.control().request_fdb();
    let polled = async {
        loop {
            {
                let mut control = api.control();
                if let Some(records) = control.fdb_records(request) {
                    return show::fdb(&control, &records);
                }
            }
            tokio::time::sleep(FDB_POLL).await;
        }
    };
    match tokio::time::timeout(FDB_WAIT_MAX, polled).await {
        Ok(fdb) => Ok(Json(fdb)),
        Err(_) => {
            let error = format!("the worker did not show its FDB within {} s: try again when it is less busy", FDB_WAIT_MAX.as_secs());
            Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, error))
        }
    }
}

/// What to forget; nothing said: all that was learned.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flush {
    /// Name of a port.
    port: Option<String>,
    /// Number of a VLAN.
    vlan: Option<Vid>,
}

/// What was forgotten.
#[derive(Serialize)]
struct Flushed {
    flushed: String,
}

/// The body of a request, or why there is none.
fn body_of(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Failure> {
    body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::new(error.status(), format!("the body is longer than {BODY_LEN_MAX} bytes")),
        status => Failure::new(status, error.body_text()),
    })
}

async fn flush_fdb(State(api): State<Api>, body: Result<Bytes, BytesRejection>) -> Result<Json<Flushed>, Failure> {
    let body = body_of(body)?;
    let Flush { port, vlan } = match body.trim_ascii() {
        [] => Flush::default(),
        json => serde_json::from_slice(json).map_err(|error| {
            Failure::new(StatusCode::BAD_REQUEST, format!("{error}; expected {{\"port\": NAME}}, {{\"vlan\": VID}} or {{}}"))
        })?,
    };
    let mut control = api.control();
    let flushed = match (port, vlan) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                StatusCode::BAD_REQUEST,
                "expected `port` or `vlan`, not both: what a port has learned in one VLAN cannot be flushed by itself",
            ));
        }
        (Some(name), None) => {
            let Some(port) = control.config().port_named(&name) else {
                let names: Vec<&str> = control.config().ports.iter().map(|port| port.name.as_str()).collect();
                let error = format!("no port is called `{name}`: expected one of {}", names.join(", "));
                return Err(Failure::new(StatusCode::NOT_FOUND, error));
            };
            control.flush(Some(port), None);
            format!("port {name}")
        }
        (None, Some(vid)) => {
            if !control.config().vlans.iter().any(|vlan| vlan.vid == vid) {
                return Err(Failure::new(StatusCode::NOT_FOUND, format!("VLAN {vid} is not configured")));
            }
            control.flush(None, Some(vid));
            format!("VLAN {vid}")
        }
        (None, None) => {
            control.flush(None, None);
            "all".to_owned()
        }
    };
    Ok(Json(Flushed { flushed }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigQuery {
    #[serde(default)]
    format: ConfigFormat,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ConfigFormat {
    #[default]
    Json,
    Toml,
}

async fn show_config(State(api): State<Api>, query: Result<Query<ConfigQuery>, QueryRejection>) -> Result<Response, Failure> {
    let Query(query) = query.map_err(|error| Failure::new(error.status(), error.body_text()))?;
    let config = api.control().config().clone();
    match query.format {
        ConfigFormat::Json => Ok(Json(config).into_response()),
        ConfigFormat::Toml => match config.to_toml() {
            Ok(text) => Ok(([(header::CONTENT_TYPE, "application/toml")], text).into_response()),
            Err(error) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        },
    }
}

async fn show_metrics(State(api): State<Api>) -> Result<Response, Failure> {
    let scrape = metrics::Scrape::of(&api.control());
    match metrics::encode(scrape) {
        Ok(text) => Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()),
        Err(error) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn the_socket_is_private_and_goes_away() {
        let dir = folder();
        let path = dir.path().join("api.sock");
        let listening = listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(listen(&path), Err(ApiError::InUse(_))), "somebody answers");
        drop(listening);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_of_the_dead_is_taken_over_and_nothing_else() {
        let dir = folder();
        let path = dir.path().join("api.sock");
        drop(UnixListener::bind(&path).unwrap()); // The file stays, nobody listens.
        assert!(path.exists());
        let listening = listen(&path).unwrap();
        // Somebody replaced our file: it is not ours to remove.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        drop(listening);
        assert!(matches!(listen(&path), Err(ApiError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        let missing = dir.path().join("missing/api.sock");
        assert!(matches!(listen(&missing), Err(ApiError::Io { .. })));
    }
}
