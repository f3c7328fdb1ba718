//! `POST /v1/reload`, `/v1/confirm` and `/v1/rollback`: another configuration while frames flow.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use port::Nanos;
use serde::{Deserialize, Serialize};

use super::{Api, Failure, body_of};
use crate::config::{Config, ConfigErrors, FILE_LEN_MAX};
use crate::plane::ReloadError;
use crate::reload::Plan;

/// The longest body: a file of [`FILE_LEN_MAX`] bytes as a string of JSON, in which line ends and quotes take two.
pub(super) const BODY_LEN_MAX: usize = 2 * FILE_LEN_MAX as usize + (64 << 10);
/// The longest time to confirm a reload, in milliseconds: a day.
pub const CONFIRM_MS_MAX: u64 = 86_400_000;

/// What to load, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The configuration, as it stands in a file; `None`: the file of the start is read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What errors and `show status` call that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Tell what would change, and change nothing.
    #[serde(default)]
    pub plan: bool,
    /// Roll back after so many milliseconds, 1 to [`CONFIRM_MS_MAX`], unless it is confirmed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_ms: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The file of the configuration that was, or would be, loaded; `None`: it was built by a program.
    pub file: Option<String>,
    /// It is in use now.
    pub applied: bool,
    /// It cannot be while the switch runs.
    pub needs_restart: bool,
    /// It is rolled back after so many milliseconds unless it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_ms: Option<u64>,
    /// What it changes.
    #[serde(flatten)]
    pub plan: Plan,
}

/// That the running configuration stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// Its file; `None`: it was built by a program.
    pub confirmed: Option<String>,
}

impl From<ReloadError> for Failure {
    fn from(error: ReloadError) -> Failure {
        Failure::new(StatusCode::CONFLICT, error.to_string())
    }
}

pub(super) async fn reload(State(api): State<Api>, body: Result<Bytes, BytesRejection>) -> Result<Json<Answer>, Failure> {
    let bad = |error: String| Failure::new(StatusCode::BAD_REQUEST, error);
    let body = body_of(body)?;
    let request: Request = match body.trim_ascii() {
        [] => Request::default(),
        json => serde_json::from_slice(json)
            .map_err(|error| bad(format!("{error}; expected {{\"text\": CONFIGURATION, \"file\": NAME, \"plan\": false}} or {{}}")))?,
    };
    if let Some(ms) = request.confirm_within_ms
        && !(1..=CONFIRM_MS_MAX).contains(&ms)
    {
        return Err(bad(format!("confirm_within_ms = {ms}: expected 1 to {CONFIRM_MS_MAX}")));
    }
    // Read and checked before control is asked for anything: it goes on meanwhile.
    let (name, config) = match request.text {
        Some(text) => {
            let name = request.file.unwrap_or_else(|| "configuration".to_owned());
            let config = Config::parse(&text, &name);
            (name, config)
        }
        None => {
            let start = api.control().start_file().map(ToOwned::to_owned);
            let path = start.ok_or_else(|| bad("the switch was not started with a file: expected `text`".to_owned()))?;
            let name = path.display().to_string();
            let config = tokio::task::spawn_blocking(move || Config::load(path)).await;
            (name, config.map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?)
        }
    };
    let wrong = |errors: ConfigErrors| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, errors.to_string());
    let config = config.map_err(wrong)?;
    let mut control = api.control();
    if request.plan {
        let plan = control.plan(&config);
        let needs_restart = plan.needs_restart();
        return Ok(Json(Answer { file: Some(name), applied: false, needs_restart, confirm_within_ms: None, plan }));
    }
    let within = request.confirm_within_ms.map(Nanos::from_millis);
    let plan = control.reload(config, Some(name.clone()), within)?;
    let confirm_within_ms = request.confirm_within_ms.filter(|_| control.loaded().confirm_by.is_some());
    Ok(Json(Answer { file: Some(name), applied: true, needs_restart: false, confirm_within_ms, plan }))
}

pub(super) async fn confirm(State(api): State<Api>) -> Result<Json<Confirmed>, Failure> {
    let mut control = api.control();
    control.confirm()?;
    Ok(Json(Confirmed { confirmed: control.loaded().file.clone() }))
}

pub(super) async fn roll_back(State(api): State<Api>) -> Result<Json<Answer>, Failure> {
    let mut control = api.control();
    let plan = control.roll_back()?;
    Ok(Json(Answer { file: control.loaded().file.clone(), applied: true, needs_restart: false, confirm_within_ms: None, plan }))
}
