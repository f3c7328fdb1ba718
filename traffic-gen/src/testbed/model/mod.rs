//! Model devices: bridges with exactly one known limit, to test methods against, and to show what a method finds.
//!
//! `--dut model:NAME,key=value,…`: a name of [`PRESETS`], and parameters of [`ModelConfig`] beside or instead of it. Each preset is
//! an ideal bridge but for one thing.
//!
//! A model is written from the standards' words and not from the switch: it shares no code with it.

mod bridge;
mod config;

pub use bridge::ModelBridge;
pub use config::{ModelConfig, PRESETS, Preset};

use super::virtual_time::VirtualTestbed;
use crate::trial::{DutFactory, TestPort, Testbed, TestbedError};

/// `--dut model:…`.
#[derive(Clone, Copy, Debug)]
pub struct ModelFactory;

impl DutFactory for ModelFactory {
    fn kind(&self) -> &'static str {
        "model"
    }

    fn usage(&self) -> &'static str {
        "NAME[,key=value…]: a model device with a known limit, such as model:ideal,ports=4"
    }

    fn open(&self, rest: &str) -> Result<Box<dyn Testbed>, TestbedError> {
        let config = ModelConfig::parse(rest).map_err(TestbedError::Setup)?;
        Ok(Box::new(testbed(&config, rest)))
    }
}

/// A model on the virtual clock.
pub fn testbed(config: &ModelConfig, name: &str) -> VirtualTestbed {
    let ports = config.lines().into_iter().enumerate().map(|(index, line_bps)| TestPort { name: format!("p{}", index + 1), line_bps });
    VirtualTestbed::new(ports.collect(), Box::new(ModelBridge::new(config)), format!("model {name}"))
}
