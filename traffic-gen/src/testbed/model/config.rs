//! What a model device can and cannot do.

use std::fmt::Write as _;

/// Parameters of a model. Zero of a "one in so many" means never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelConfig {
    /// Ports of `speed`.
    pub ports: usize,
    /// Bits a second of each.
    pub speed: u64,
    /// Bits a second of one more port; 0 for none.
    pub uplink: u64,
    /// From a frame's last bit in until it is ready to go out, ns.
    pub delay: u64,
    /// Frames the device forwards a second in all; 0 for as many as come.
    pub pps: u64,
    /// Frames that may wait for that.
    pub buffer: u64,
    /// Frames an output queue holds.
    pub queue: usize,
    /// Addresses the table holds.
    pub fdb: usize,
    /// Time after which an address is forgotten that sent nothing, ns.
    pub ageing: u64,
    /// Addresses it learns a second; 0 for as many as come.
    pub learn: u64,
    /// Groups whose members it knows from IGMP reports: frames go to these only, and those of further groups nowhere; 0: it floods.
    pub groups: usize,
    /// A frame whose output queue is full stays at the head of its input's queue, and those behind it wait.
    pub hol: bool,
    /// Frames an input's queue holds then.
    pub input: usize,
    /// PAUSE frames are sent to an input whose queue is half full.
    pub backpressure: bool,
    /// One frame in so many is sent after the next one.
    pub reorder: u64,
    /// One in so many is sent twice.
    pub duplicate: u64,
    /// One in so many is flooded though its address is known.
    pub flood: u64,
    /// One in so many is lost at random.
    pub lose: u64,
    /// One in so many has a bit changed.
    pub corrupt: u64,
    /// Frames too short or too long are forwarded.
    pub errors: bool,
    /// Bit times between frames that go out.
    pub gap: u64,
    /// One frame in so many stalls the device for `stall` ns.
    pub stall_every: u64,
    /// Length of such a stall, ns.
    pub stall: u64,
    /// After an overload nothing is forwarded until frames have come no faster than `pps` for so many ns; 0 for no such weakness.
    pub recovery: u64,
    /// A reset takes so many ns.
    pub outage: u64,
    /// Chance.
    pub seed: u64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            ports: 4,
            speed: 1_000_000_000,
            uplink: 0,
            delay: 1_000,
            pps: 0,
            buffer: 256,
            queue: 512,
            fdb: 1 << 20,
            ageing: 300_000_000_000,
            learn: 0,
            groups: 0,
            hol: false,
            input: 64,
            backpressure: false,
            reorder: 0,
            duplicate: 0,
            flood: 0,
            lose: 0,
            corrupt: 0,
            errors: false,
            gap: 96,
            stall_every: 0,
            stall: 100_000,
            recovery: 0,
            outage: 250_000_000,
            seed: 1,
        }
    }
}

/// A named model.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// Its parameters beside the defaults.
    pub parameters: &'static str,
}

/// All named models.
pub const PRESETS: &[Preset] = &[
    Preset { name: "ideal", what: "a bridge without faults", parameters: "" },
    Preset { name: "slow", what: "loses above 7.3 million frames a second", parameters: "pps=7300000,speed=10G,ports=2" },
    Preset { name: "fdb", what: "holds 8,192 addresses", parameters: "fdb=8192" },
    Preset { name: "learner", what: "learns 40,000 addresses a second", parameters: "learn=40000" },
    Preset { name: "snooper", what: "forwards 256 groups to their members only", parameters: "groups=256" },
    Preset { name: "hol", what: "head-of-line blocking", parameters: "hol=yes" },
    Preset { name: "backpressure", what: "holds inputs back with PAUSE frames", parameters: "hol=yes,backpressure=yes" },
    Preset { name: "buffer", what: "forwards 1 million frames a second, 1,000 may wait", parameters: "pps=1000000,buffer=1000,ports=2" },
    Preset { name: "recovers", what: "forwards nothing for 50 ms after an overload", parameters: "pps=1000000,ports=2,recovery=50000000" },
    Preset { name: "reorder", what: "one frame in 1,000 is overtaken", parameters: "reorder=1000" },
    Preset { name: "duplicate", what: "one frame in 1,000 comes twice", parameters: "duplicate=1000" },
    Preset { name: "flood", what: "one frame in 1,000 is flooded though its address is known", parameters: "flood=1000" },
    Preset { name: "errors", what: "forwards frames that are too short or too long", parameters: "errors=yes" },
    Preset { name: "gap", what: "sends with gaps of 88 bit times", parameters: "gap=88" },
    Preset { name: "noisy", what: "a slow one that stalls at random", parameters: "pps=1000000,ports=2,stall_every=200000,stall=600000" },
];

impl ModelConfig {
    /// Reads `NAME[,key=value…]` or `key=value[,…]`.
    ///
    /// # Errors
    /// What is wrong and what was expected.
    pub fn parse(text: &str) -> Result<ModelConfig, String> {
        let mut config = ModelConfig::default();
        for (number, item) in text.split(',').map(str::trim).filter(|item| !item.is_empty()).enumerate() {
            match item.split_once('=') {
                Some((key, value)) => config.set(key.trim(), value.trim())?,
                None if number == 0 => {
                    let preset = PRESETS.iter().find(|preset| preset.name == item).ok_or_else(|| {
                        let mut names = String::new();
                        for preset in PRESETS {
                            let _ = write!(names, "\n  {:14} {}", preset.name, preset.what);
                        }
                        format!("there is no model `{item}`: expected one of{names}")
                    })?;
                    for (key, value) in preset.parameters.split(',').filter_map(|item| item.split_once('=')) {
                        config.set(key, value)?;
                    }
                }
                None => return Err(format!("`{item}`: expected key=value after the name of the model")),
            }
        }
        let all = config.ports + usize::from(config.uplink > 0);
        if !(2..=port::PORTS_MAX).contains(&all) {
            return Err(format!("a model has 2 to {} ports, not {all}", port::PORTS_MAX));
        }
        Ok(config)
    }

    /// Rates of the lines, bits a second.
    pub fn lines(&self) -> Vec<u64> {
        let mut lines = vec![self.speed; self.ports];
        lines.extend((self.uplink > 0).then_some(self.uplink));
        lines
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || -> Result<u64, String> {
            let (digits, factor) = match value.as_bytes().last() {
                Some(b'k') => (&value[..value.len() - 1], 1_000),
                Some(b'M') => (&value[..value.len() - 1], 1_000_000),
                Some(b'G') => (&value[..value.len() - 1], 1_000_000_000),
                _ => (value, 1),
            };
            let number: Option<u64> = digits.replace('_', "").parse().ok();
            let number = number.and_then(|number| number.checked_mul(factor)).filter(|&number| number <= 1_000_000_000_000);
            number.ok_or_else(|| format!("`{key}={value}`: expected a whole number up to 1000G, as 512, 40k, 7300000 or 10G"))
        };
        let at_least_1 = || match number()? {
            0 => Err(format!("`{key}=0`: expected 1 or more")),
            number => Ok(number),
        };
        let yes = || match value {
            "yes" | "true" | "1" => Ok(true),
            "no" | "false" | "0" => Ok(false),
            _ => Err(format!("`{key}={value}`: expected yes or no")),
        };
        match key {
            "ports" => self.ports = number()?.min(1000) as usize,
            "speed" => self.speed = at_least_1()?,
            "uplink" => self.uplink = number()?,
            "delay" => self.delay = number()?,
            "pps" => self.pps = number()?,
            "buffer" => self.buffer = at_least_1()?,
            "queue" => self.queue = at_least_1()? as usize,
            "fdb" => self.fdb = number()? as usize,
            "ageing" => self.ageing = at_least_1()?,
            "recovery" => self.recovery = number()?,
            "learn" => self.learn = number()?,
            "groups" => self.groups = number()? as usize,
            "hol" => self.hol = yes()?,
            "input" => self.input = at_least_1()? as usize,
            "backpressure" => self.backpressure = yes()?,
            "reorder" => self.reorder = number()?,
            "duplicate" => self.duplicate = number()?,
            "flood" => self.flood = number()?,
            "lose" => self.lose = number()?,
            "corrupt" => self.corrupt = number()?,
            "errors" => self.errors = yes()?,
            "gap" => self.gap = number()?.min(10_000),
            "stall_every" => self.stall_every = number()?,
            "stall" => self.stall = number()?,
            "outage" => self.outage = number()?,
            "seed" => self.seed = number()?,
            _ => {
                return Err(format!(
                    "`{key}` is no parameter of a model: expected ports, speed, uplink, delay, pps, buffer, queue, fdb, ageing, learn, groups, hol, \
                     input, backpressure, reorder, duplicate, flood, lose, corrupt, errors, gap, stall_every, stall, recovery, outage or seed"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_read() {
        for preset in PRESETS {
            let config = ModelConfig::parse(preset.name).unwrap();
            assert_eq!(config == ModelConfig::default(), preset.parameters.is_empty(), "{}", preset.name);
        }
    }

    #[test]
    fn parameters_change_a_preset() {
        let config = ModelConfig::parse("fdb,fdb=100,ports=16,uplink=10G,hol=yes").unwrap();
        assert_eq!((config.fdb, config.ports, config.uplink, config.hol), (100, 16, 10_000_000_000, true));
        assert_eq!(config.lines().len(), 17);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, says) in [
            ("fast", "no model `fast`"),
            ("ideal,fdb", "`fdb`: expected key=value"),
            ("speed=1X", "`speed=1X`"),
            ("speed=0", "1 or more"),
            ("hol=maybe", "yes or no"),
            ("colour=red", "`colour` is no parameter"),
            ("ports=1", "2 to 128 ports"),
            ("ports=128,uplink=1G", "2 to 128 ports"),
            ("fdb=-1", "whole number"),
            ("pps=99999999999999999999", "whole number"),
        ] {
            let error = ModelConfig::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
