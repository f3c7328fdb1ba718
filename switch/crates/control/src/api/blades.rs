//! `POST /v1/blades/command` has blades do something; `GET /v1/blades/command/N` tells how far that is.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use wire::message::{Control, Name, TEXT_LEN_MAX};

use super::{Api, Failure, body_of};
use crate::agents::{CommandError, Target};
use crate::show;

/// What is to be done, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The slots of the blades; none: all that have said hello.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<u16>,
    /// Enter this mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_mode: Option<String>,
    /// Execute this function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execute: Option<String>,
    /// Listen to this timeslot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<u16>,
    /// Work with these parameters: name and value of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision: Option<Vec<(String, String)>>,
}

impl Request {
    /// The message that says so, or what is wrong.
    ///
    /// # Errors
    /// Not exactly one thing to do, or a name or value that no message can carry.
    pub fn control(&self) -> Result<Control, String> {
        let name = |text: &str| Name::new(text).ok_or_else(|| format!("{text:?} is no name: expected 1 to 32 visible ASCII characters"));
        match (&self.set_mode, &self.execute, self.listen, &self.provision) {
            (Some(mode), None, None, None) => Ok(Control::SetMode(name(mode)?)),
            (None, Some(function), None, None) => Ok(Control::Execute(name(function)?)),
            (None, None, Some(timeslot), None) => Ok(Control::Listen(timeslot)),
            (None, None, None, Some(parameters)) => {
                if parameters.is_empty() || parameters.len() > 255 {
                    return Err(format!("{} parameters: expected 1 to 255", parameters.len()));
                }
                let mut checked = Vec::with_capacity(parameters.len());
                let mut len = 0;
                for (key, value) in parameters {
                    if value.len() > TEXT_LEN_MAX {
                        return Err(format!("the value of {key} has {} bytes: expected at most {TEXT_LEN_MAX}", value.len()));
                    }
                    len += key.len() + value.len() + 2;
                    checked.push((name(key)?, value.clone()));
                }
                // A message is one frame of ordinary size.
                if len > PARAMETERS_LEN_MAX {
                    return Err(format!(
                        "the parameters have {len} bytes in all: expected at most {PARAMETERS_LEN_MAX}, in several commands"
                    ));
                }
                Ok(Control::Provision(checked))
            }
            _ => Err("expected exactly one of `set_mode`, `execute`, `listen` and `provision`".to_owned()),
        }
    }
}

/// What a message of ordinary size has room for, beside head, count and seal.
const PARAMETERS_LEN_MAX: usize = 1400;

pub(super) async fn command(
    State(api): State<Api>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<show::CommandShown>), Failure> {
    let body = body_of(body)?;
    let bad = |error: String| Failure::new(StatusCode::BAD_REQUEST, error);
    let request: Request = serde_json::from_slice(&body).map_err(|error| {
        bad(format!("{error}; expected {{\"set_mode\": NAME}}, execute, listen or provision, and \"slots\" unless all are meant"))
    })?;
    let asked = request.control().map_err(bad)?;
    let target = if request.slots.is_empty() { Target::All } else { Target::Slots(request.slots) };
    let mut control = api.control();
    let number = control.command_blades(&target, asked).map_err(|error| {
        let status = match error {
            CommandError::Unknown(_) => StatusCode::NOT_FOUND,
            CommandError::Nobody => StatusCode::CONFLICT,
            CommandError::Full => StatusCode::SERVICE_UNAVAILABLE,
        };
        Failure::new(status, error.to_string())
    })?;
    show::command(&control, number).map(|shown| (StatusCode::ACCEPTED, Json(shown))).ok_or_else(|| forgotten(number))
}

pub(super) async fn progress(State(api): State<Api>, Path(transaction): Path<String>) -> Result<Json<show::CommandShown>, Failure> {
    let number = transaction.parse().map_err(|_| {
        Failure::new(StatusCode::BAD_REQUEST, format!("{transaction:?} is no number of a command: expected what /v1/blades/command gave"))
    })?;
    show::command(&api.control(), number).map(Json).ok_or_else(|| forgotten(number))
}

fn forgotten(number: u32) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, format!("no command has the number {number}, or it is over and was forgotten for later ones"))
}
