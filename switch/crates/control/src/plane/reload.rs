//! Another configuration while frames flow: as a whole or not at all, and back again alone if nobody confirms it.
//!
//! Everything that frames are judged by goes out as one snapshot of tables, which each worker takes up between two bursts: no frame is
//! judged by half of it, and none is lost for it. What the workers keep themselves (addresses set by hand, limits, the ageing time, what
//! is to be forgotten) goes to them as commands right after it. Those for which a worker's ring has no room wait here in their order and follow
//! at the next polls.
//!
//! What was learned stays as far as the new configuration leaves it true: [`stale`] says what it makes wrong.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use dataplane::event::Command;
use dataplane::fdb::{self, Kind};
use port::{Nanos, PortId};
use thiserror::Error;
use wire::MacAddr;

use super::{ADVERTISE_DELAY, Control, static_neighbors};
use crate::config::{Config, FdbEntryConfig, FdbTarget, Idle};
use crate::rate::RateLimit;
use crate::reload::{Plan, plan, same_ports, stale};
use crate::tables;

/// Where the running configuration comes from, and what may become of it.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The file the switch was started with, which a reload reads again; `None`: it was built by a program.
    pub(crate) start: Option<PathBuf>,
    /// Wherever that file says otherwise, workers never sleep.
    busy: bool,
    /// The file of the running configuration, as it was named.
    pub(crate) file: Option<String>,
    /// When it was loaded.
    pub(crate) since: Nanos,
    /// What was in its place before: what a rollback goes back to.
    pub(crate) before: Option<Box<Before>>,
    /// When it is rolled back unless somebody confirms it.
    pub(crate) confirm_by: Option<Nanos>,
}

/// A configuration and where it came from.
#[derive(Debug)]
pub(crate) struct Before {
    config: Config,
    pub(crate) file: Option<String>,
}

/// Why a reload was refused. Then nothing has changed.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// Something cannot be changed while the switch runs.
    #[error("nothing has changed: {} cannot be changed while the switch runs; restart it to use this configuration", list(.0))]
    Restart(Plan),
    /// The last reload waits to be confirmed.
    #[error("nothing has changed: the last reload waits to be confirmed; `bladeswitch confirm` or `bladeswitch rollback` first")]
    Pending,
    /// There is nothing to be confirmed.
    #[error("no reload waits to be confirmed")]
    NothingToConfirm,
    /// There is nothing to go back to.
    #[error("there is nothing to roll back to: no configuration was reloaded since the start or since the last rollback")]
    NothingBefore,
}

/// What needs a restart, by name.
fn list(plan: &Plan) -> String {
    let names: Vec<&str> = plan.restarts().map(|change| change.what.as_str()).collect();
    names.join(", ")
}

/// Commands that wait for room, by worker.
pub(super) type Orders = Vec<VecDeque<Command>>;

impl Control {
    /// Says that the configuration was read from `file`, which a reload reads again. `busy`: workers never sleep, whatever it says.
    pub fn loaded_from(&mut self, file: &Path, busy: bool) {
        let start = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        self.loaded.file = Some(start.display().to_string());
        (self.loaded.start, self.loaded.busy) = (Some(start), busy);
    }

    /// Where the running configuration comes from.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The file that a reload reads unless it is told another; `None`: there is none.
    pub fn start_file(&self) -> Option<&Path> {
        self.loaded.start.as_deref()
    }

    /// What `config` would change.
    pub fn plan(&self, config: &Config) -> Plan {
        plan(&self.config, &self.adjusted(config.clone()))
    }

    /// What the command line has said holds against any file.
    fn adjusted(&self, mut config: Config) -> Config {
        if self.loaded.busy {
            config.switch.idle = Idle::Spin;
        }
        config
    }

    /// Another configuration from now on; `file` is where it was read. With `confirm_within` it is rolled back after so long, at
    /// [`poll`](Self::poll), unless [`confirm`](Self::confirm) comes before.
    ///
    /// Blades that were detached, rules and functions that were changed by hand are as `config` says. If nothing is different there is nothing to
    /// be confirmed.
    ///
    /// # Errors
    /// Something of it cannot be changed while the switch runs, or the last reload waits to be confirmed. Then nothing has changed.
    pub fn reload(&mut self, config: Config, file: Option<String>, confirm_within: Option<Nanos>) -> Result<Plan, ReloadError> {
        if self.loaded.confirm_by.is_some() {
            return Err(ReloadError::Pending);
        }
        let config = self.adjusted(config);
        let plan = plan(&self.config, &config);
        // The plan says so already; without it the rest would be wrong.
        if plan.needs_restart() || !same_ports(&self.config, &config) {
            return Err(ReloadError::Restart(plan));
        }
        let file_before = std::mem::replace(&mut self.loaded.file, file);
        self.loaded.since = self.now;
        self.counters.reloads += 1;
        // The same once more is nothing to go back from: what there was before that stays to go back to.
        if !plan.changes.is_empty() {
            let before = self.replace(config);
            self.loaded.before = Some(Box::new(Before { config: before, file: file_before }));
            self.loaded.confirm_by = confirm_within.map(|within| self.now + within);
        }
        tracing::info!(changes = plan.changes.len(), file = self.loaded.file, "another configuration");
        Ok(plan)
    }

    /// Keeps the configuration that waits to be confirmed.
    ///
    /// # Errors
    /// There is none.
    pub fn confirm(&mut self) -> Result<(), ReloadError> {
        self.loaded.confirm_by.take().map(|_| ()).ok_or(ReloadError::NothingToConfirm)
    }

    /// Back to the configuration before the last reload, whether or not that was confirmed; what this changes.
    ///
    /// # Errors
    /// There is none.
    pub fn roll_back(&mut self) -> Result<Plan, ReloadError> {
        let Before { config, file } = *self.loaded.before.take().ok_or(ReloadError::NothingBefore)?;
        self.loaded.confirm_by = None;
        let plan = plan(&self.config, &config);
        self.replace(config);
        (self.loaded.file, self.loaded.since) = (file, self.now);
        tracing::info!(changes = plan.changes.len(), file = self.loaded.file, "rolled back");
        Ok(plan)
    }

    /// Rolls back what nobody has confirmed in time; returns how much was done.
    pub(super) fn poll_reload(&mut self) -> usize {
        if self.loaded.confirm_by.is_some_and(|by| by <= self.now) && self.roll_back().is_ok() {
            self.counters.unconfirmed += 1;
            tracing::warn!(file = self.loaded.file, "the last reload was not confirmed in time: it has been rolled back");
            return 1;
        }
        0
    }

    /// Puts `config` in the place of the running one, which has the same ports; returns that.
    fn replace(&mut self, config: Config) -> Config {
        let before = std::mem::replace(&mut self.config, config);
        let after = self.config.clone();
        if before.lanes.notices_per_s != after.lanes.notices_per_s {
            self.notice_limit = RateLimit::new(after.lanes.notices_per_s);
        }
        if before.fdb.move_events_per_s != after.fdb.move_events_per_s {
            self.move_limit = RateLimit::new(after.fdb.move_events_per_s);
        }
        self.agents.set_config(after.agents.clone());
        self.rates.follow(&before, &after);
        let stale = stale(&before, &after);
        // What is known of an identity that its standby blade takes stays.
        let outliving: Vec<MacAddr> = stale.pulled.iter().flat_map(|&port| self.outliving(port)).collect();
        self.follow_neighbors(&before, &after, &outliving);
        for (index, port) in after.ports.iter().enumerate() {
            let (vlan, id) = (&port.vlan, PortId(index as u8));
            let elsewhere = self.agents.blades().any(|(_, blade)| blade.port == id && !vlan.contains(blade.vid));
            if elsewhere || stale.pulled.contains(&id) {
                self.agents.flush_port(id);
            }
        }
        // The workers see the new tables before they are told to forget: by the old ones they learn nothing afterwards.
        self.publish();
        if (before.fdb.ageing_ms, tables::fdb_limits(&before)) != (after.fdb.ageing_ms, tables::fdb_limits(&after)) {
            let (ageing, limits) = (Nanos::from_millis(after.fdb.ageing_ms), tables::fdb_limits(&after));
            self.order_all(|| Command::Tune { ageing, limits: Box::new(limits.clone()) });
        }
        for port in stale.ports {
            self.order_all(|| Command::FlushPort(port));
        }
        for vid in stale.vlans {
            self.order_all(|| Command::FlushVlan(vid));
        }
        self.follow_entries(&before.fdb_entries, &after.fdb_entries);
        self.identities_changed();
        self.follow_standins();
        self.send_orders();
        match (before.identity.advertise, after.identity.advertise) {
            (false, true) if !self.identities.is_empty() => self.advertise_at = Some(self.now + ADVERTISE_DELAY),
            (true, false) => self.advertise_at = None,
            _ => {}
        }
        before
    }

    /// Neighbours that are set by hand, and those that were learned where that is not true any more.
    fn follow_neighbors(&mut self, before: &Config, after: &Config, outliving: &[MacAddr]) {
        let (old, new) = (static_neighbors(before), static_neighbors(after));
        for (vid, ip, entry) in old.iter() {
            if new.get(vid, ip) != Some(entry) {
                self.neighbors.unset(vid, ip, entry.mac);
            }
        }
        for (vid, ip, entry) in new.iter() {
            if old.get(vid, ip) != Some(entry) {
                self.neighbors.set(vid, ip, entry.mac, entry.port);
            }
        }
        self.neighbors.set_bounds(after.identity.limit, Nanos::from_millis(after.identity.ageing_ms));
        self.neighbors.keep_learned(|vid, port, mac| {
            let port = after.ports.get(port.index());
            port.is_some_and(|port| port.vlan.contains(vid) && (port.enabled || outliving.contains(&mac)))
        });
    }

    /// Addresses that are set by hand.
    fn follow_entries(&mut self, before: &[FdbEntryConfig], after: &[FdbEntryConfig]) {
        let entries: std::collections::HashSet<_> = after.iter().map(|entry| (entry.vid, entry.mac)).collect();
        for entry in before.iter().filter(|entry| !entries.contains(&(entry.vid, entry.mac))) {
            self.order_all(|| Command::RemoveEntry(fdb::key(entry.vid, entry.mac)));
        }
        let known: std::collections::HashMap<_, _> = before.iter().map(|entry| ((entry.vid, entry.mac), entry.target)).collect();
        for entry in after.iter().filter(|entry| known.get(&(entry.vid, entry.mac)) != Some(&entry.target)) {
            let (port, kind) = match entry.target {
                FdbTarget::Port(port) => (port, Kind::Static),
                FdbTarget::Blackhole => (PortId(0), Kind::Blackhole),
            };
            self.order_all(|| Command::SetEntry { key: fdb::key(entry.vid, entry.mac), port, kind });
        }
    }

    /// Gives all workers a command as soon as they have room, after those that wait already.
    pub(super) fn order_all(&mut self, command: impl Fn() -> Command) {
        self.orders.resize_with(self.workers.len(), VecDeque::new);
        self.orders.iter_mut().for_each(|orders| orders.push_back(command()));
    }

    /// Gives the workers what waits for them, as far as there is room; returns how much.
    pub(super) fn send_orders(&mut self) -> usize {
        let mut sent = 0;
        for worker in 0..self.orders.len() {
            while let Some(order) = self.orders[worker].pop_front() {
                if let Err(order) = self.command(worker, order) {
                    self.orders[worker].push_front(order);
                    break;
                }
                sent += 1;
            }
        }
        sent
    }
}
