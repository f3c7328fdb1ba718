//! Which cores a lab works on: one for the switch, the others for what the blades receive.
//!
//! A veth has no interrupts of its own: what is sent into one goes up the receiver's stack within the sender's system call. Left like that, the TCP of all
//! blades would run on the switch's core: their receiving, their acknowledgements, and what these let the senders send next. A blade
//! has processors of its own. So the kernel is told to hand what arrives at a blade to the other cores (receive packet steering, Linux
//! Documentation/networking/scaling.rst), and the worker is kept on its own, where nothing of that is.
//!
//! The frames are the same, and those of a flow stay in order. Left out: more than one core for the switch, which has one worker in a lab; and several labs at
//! once, whose workers share a core.

use super::Place;
use super::chassis::Chassis;
use super::namespace::exec;

/// The highest core that can be named in a configuration.
const CORE_MAX: usize = 1023;

/// The cores of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Where the switch's worker runs.
    pub switch: usize,
    /// Where the stacks of the blades and of the uplink receive; at least one, and not the switch's.
    pub blades: Vec<usize>,
}

impl Cores {
    /// Divides the cores that this process may use: the last one for the switch. `None` if there are fewer than two.
    pub fn of_this_process() -> Option<Cores> {
        Cores::divide(core_affinity::get_core_ids()?.iter().map(|core| core.id).collect())
    }

    fn divide(mut cores: Vec<usize>) -> Option<Cores> {
        cores.retain(|&core| core <= CORE_MAX);
        cores.sort_unstable();
        let switch = cores.pop()?;
        (!cores.is_empty()).then_some(Cores { switch, blades: cores })
    }

    /// The blades' cores as sysfs wants them: bits in hexadecimal, in groups of 32 with commas between.
    fn mask(&self) -> String {
        let mut words = vec![0u32; self.blades.iter().max().map_or(1, |core| core / 32 + 1)];
        for core in &self.blades {
            words[core / 32] |= 1 << (core % 32);
        }
        words.iter().rev().map(|word| format!("{word:08x}")).collect::<Vec<_>>().join(",")
    }
}

impl Chassis {
    /// Has what arrives at the blades and at the uplink received on their cores. Costs the lab speed where it is refused, no more: then it is logged.
    pub fn steer(&self, cores: &Cores) {
        for place in self.ends() {
            if let Err(why) = self.steer_one(place, &cores.mask()) {
                tracing::warn!(%place, why, "what arrives there is received on the core of who sends it: rps_cpus cannot be set");
            }
        }
    }

    fn steer_one(&self, place: Place, mask: &str) -> Result<(), String> {
        // `ip netns exec` shows the interfaces of the namespace in /sys; entering it alone does not.
        let script = format!("echo {mask} > /sys/class/net/eth0/queues/rx-0/rps_cpus");
        match exec(&self.name.namespace(place), "sh").args(["-c", &script]).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_core_is_the_switchs() {
        assert_eq!(Cores::divide(vec![]), None);
        assert_eq!(Cores::divide(vec![3]), None);
        assert_eq!(Cores::divide(vec![1, 0]), Some(Cores { switch: 1, blades: vec![0] }));
        assert_eq!(Cores::divide(vec![2, 5, 1024]), Some(Cores { switch: 5, blades: vec![2] }), "more than a configuration can name");
    }

    #[test]
    fn masks_are_written_as_the_kernel_reads_them() {
        let mask = |blades: &[usize]| Cores { switch: 0, blades: blades.to_vec() }.mask();
        assert_eq!(mask(&[0]), "00000001");
        assert_eq!(mask(&[1, 4, 31]), "80000012");
        assert_eq!(mask(&[0, 32, 95]), "80000000,00000001,00000001");
    }
}
