//! Control and the functions of blades: rules are changed while frames flow.

use crate::config::{ConfigErrors, FunctionConfig, steering};
use crate::steering::Functions;

use super::Control;

impl Control {
    /// The functions and how their blades are.
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Other functions and rules instead of those there are, all at once, from a text with `[[function]]` and `[[steer]]` sections.
    /// Flows stay on their blades as far as these are there.
    ///
    /// # Errors
    /// Everything that is wrong with the text; then nothing has changed.
    pub fn set_steering(&mut self, text: &str, name: &str) -> Result<(), ConfigErrors> {
        let (functions, rules) = steering::parse(text, name, &self.config)?;
        let before = std::mem::replace(&mut self.config.functions, functions);
        self.config.rules = rules;
        let own = self.config.switch.mac;
        for (vid, ip) in addresses(&before) {
            self.neighbors.unset(vid, ip, own);
        }
        for (vid, ip) in addresses(&self.config.functions) {
            self.neighbors.set(vid, ip, own, None);
        }
        self.publish();
        Ok(())
    }

    /// Changes one function: how much of the new flows a blade takes, or that it takes none.
    ///
    /// # Errors
    /// What is not there, or out of range, in words.
    pub fn set_blade(&mut self, function: &str, blade: &str, weight: Option<u32>, drain: Option<bool>) -> Result<(), String> {
        let port = self.config.port_named(blade).ok_or_else(|| format!("no port is called `{blade}`"))?;
        let names: Vec<String> = self.config.functions.iter().map(|function| function.name.clone()).collect();
        let Some(index) = names.iter().position(|name| name == function) else {
            return Err(format!("no function is called `{function}`: expected one of {}", names.join(", ")));
        };
        if !self.functions.blades(index).iter().any(|member| member.port == port && member.elsewhere.is_none()) {
            return Err(format!("{blade} is no blade of {function}"));
        }
        if weight.is_some() && self.config.functions[index].standby.contains(&port) {
            return Err(format!("{blade} is a standby blade of {function}: it has the weight of the blade it stands for"));
        }
        if let Some(weight) = weight.filter(|weight| !(1..=steering::WEIGHT_MAX).contains(weight)) {
            return Err(format!("weight = {weight}: expected 1 to {}", steering::WEIGHT_MAX));
        }
        let function = &mut self.config.functions[index];
        if let Some(weight) = weight {
            function.weights.retain(|(own, _)| *own != port);
            function.weights.extend((weight != 1).then_some((port, weight)));
            function.weights.sort_unstable();
        }
        if let Some(drain) = drain {
            function.drain.retain(|own| *own != port);
            function.drain.extend(drain.then_some(port));
            function.drain.sort_unstable();
        }
        self.publish();
        Ok(())
    }
}

/// The addresses of functions.
pub(super) fn addresses(functions: &[FunctionConfig]) -> impl Iterator<Item = (wire::Vid, std::net::IpAddr)> {
    functions.iter().flat_map(|function| function.ips.iter().map(|&ip| (function.vid, ip)))
}
