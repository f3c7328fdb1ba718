//! `POST /v1/ports/NAME/attach` and `/detach`: a blade is pulled and put back.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use port::PortId;
use serde::{Deserialize, Serialize};

use super::{Api, Failure};
use crate::config::{PortConfig, Role};

/// What has become of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its name.
    pub port: String,
    /// It is in service.
    pub enabled: bool,
    /// It was not so before.
    pub changed: bool,
}

pub(super) async fn attach(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Answer>, Failure> {
    set_enabled(&api, &name, true)
}

pub(super) async fn detach(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Answer>, Failure> {
    set_enabled(&api, &name, false)
}

fn set_enabled(api: &Api, name: &str, enabled: bool) -> Result<Json<Answer>, Failure> {
    let mut control = api.control();
    let ports = &control.config().ports;
    let in_slot = |port: &PortConfig| matches!(port.role, Role::Blade { slot, .. } if name.parse() == Ok(slot));
    let Some(index) = ports.iter().position(|port| port.name == name).or_else(|| ports.iter().position(in_slot)) else {
        let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        let error = format!("no port is called `{name}`, and no blade has this slot: expected a slot or one of {}", names.join(", "));
        return Err(Failure::new(StatusCode::NOT_FOUND, error));
    };
    let port = ports[index].name.clone();
    let id = u8::try_from(index).map(PortId).map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let changed = control.set_enabled(id, enabled);
    Ok(Json(Answer { port, enabled, changed }))
}
