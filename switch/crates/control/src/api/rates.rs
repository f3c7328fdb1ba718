//! `POST /v1/rates` sets the rate from one port to another.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Api, Failure, body_of};
use crate::config::Speed;
use crate::show;

/// Another rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Name of the port that sends.
    pub from: String,
    /// Name of the port that is sent to.
    pub to: String,
    /// Bits a second, with a unit: `500M`.
    pub rate: Speed,
}

pub(super) async fn set(State(api): State<Api>, body: Result<Bytes, BytesRejection>) -> Result<Json<show::Rates>, Failure> {
    let bad = |error: String| Failure::new(StatusCode::BAD_REQUEST, error);
    let body = body_of(body)?;
    let Request { from, to, rate } = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("{error}; expected {{\"from\": NAME, \"to\": NAME, \"rate\": \"500M\"}}")))?;
    let mut control = api.control();
    control.set_rate(&from, &to, rate.bits_per_second()).map_err(bad)?;
    Ok(Json(show::rates(&control)))
}
