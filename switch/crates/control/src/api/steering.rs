//! `POST /v1/steer` replaces functions and rules; `POST /v1/functions/blade` changes a blade's part in one.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Api, Failure, body_of};
use crate::show;

/// A blade's part in a function, and what of it is to change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Name of the function.
    pub function: String,
    /// Name of the blade's port.
    pub blade: String,
    /// Its part of new flows, 1 to 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Whether it takes no new flows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<bool>,
}

pub(super) async fn replace(State(api): State<Api>, body: Result<Bytes, BytesRejection>) -> Result<Json<show::Functions>, Failure> {
    let bad = |error: String| Failure::new(StatusCode::BAD_REQUEST, error);
    let body = body_of(body)?;
    let text = std::str::from_utf8(&body).map_err(|error| bad(format!("{error}: expected [[function]] and [[steer]] sections in TOML")))?;
    let mut control = api.control();
    control.set_steering(text, "rules").map_err(|errors| bad(errors.to_string()))?;
    Ok(Json(show::functions(&control)))
}

pub(super) async fn blade(State(api): State<Api>, body: Result<Bytes, BytesRejection>) -> Result<Json<show::Functions>, Failure> {
    let bad = |error: String| Failure::new(StatusCode::BAD_REQUEST, error);
    let body = body_of(body)?;
    let Request { function, blade, weight, drain } = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("{error}; expected {{\"function\": NAME, \"blade\": NAME}} with \"weight\" or \"drain\"")))?;
    if weight.is_none() && drain.is_none() {
        return Err(bad("expected `weight` or `drain`: there is nothing to change".to_owned()));
    }
    let mut control = api.control();
    control.set_blade(&function, &blade, weight, drain).map_err(bad)?;
    Ok(Json(show::functions(&control)))
}
