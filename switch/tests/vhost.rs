//! A switch with a port to a virtual machine, which is dpdk-testpmd with a virtio card: it swaps the addresses of what it receives, and sends it back.
//!
//! One thread polls the switch. DPDK starts once in a process: the only test of this file is the only one of its process.
#![cfg(feature = "dpdk")]

mod blades;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use blades::{SILENT, blade, plain};
use bladeswitch::{Switch, assembly};
use control::config::Config;
use port::{Burst, LinkState, Mempool, Nanos, PoolCache, Port};
use wire::MacAddr;

/// How long anything may take; generous, since the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A testpmd; killed at the end.
struct Testpmd(Child);

impl Testpmd {
    fn start(place: &Path, card: &str) -> Testpmd {
        let vdev = format!("net_virtio_user0,path={},queue_size=256,{card}", place.join("v.sock").display());
        let prefix = format!("bladeswitch-vhost-{}", std::process::id());
        // It writes lines as they come: one of them says that it is ready.
        let child = Command::new("stdbuf")
            .args(["-oL", "dpdk-testpmd", "--lcores", "0@0,1@0", "--no-pci", "--no-huge", "-m", "128", "--no-telemetry"])
            .env("RUNTIME_DIRECTORY", place)
            .args(["--file-prefix", &prefix, "--vdev", &vdev, "--", "--forward-mode=macswap", "--port-topology=loop"])
            .args(["--no-flush-rx", "--disable-link-check", "--no-lsc-interrupt", "--total-num-mbufs=4096", "--nb-cores=1"])
            .args(["--mbuf-size=2176", "--tx-offloads=0x8000", "--enable-scatter", "--max-pkt-len=9216"])
            .stdin(Stdio::piped()) // It ends with its standard input.
            .stdout(File::create(place.join("log")).unwrap())
            .stderr(File::create(place.join("errors")).unwrap())
            .spawn();
        Testpmd(child.unwrap_or_else(|error| panic!("stdbuf: {error}")))
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        self.0.kill().unwrap(); // SIGKILL.
        self.0.wait().unwrap();
    }
}

/// A switch whose ports are blade 1, blade 2 and the machine as blade 3, and the far ends of the first two.
struct Bench {
    switch: Switch,
    far: Vec<Port>,
    mempool: Mempool,
    pool: PoolCache,
    started: Instant,
}

impl Bench {
    fn new(socket: &str) -> Bench {
        let text = format!(
            "{SILENT}[dpdk]\nmemory_mib = 64\nhugepages = \"never\"\n[switch]\nmax_frame = 9216\n[[blade]]\nslot = 1\nport = \"memory:\"\n[[blade]]\n\
             slot = 2\nport = \"memory:\"\n[[blade]]\nslot = 3\nport = \"vhost-user:{socket}\"\n"
        );
        let config = Config::parse(&text, "test.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let mempool = assembly::mempool(&config).unwrap();
        let (near, far) = assembly::open_ports(&config, &mempool, false).unwrap_or_else(|error| panic!("{error}"));
        let switch = assembly::build(&config, near, &mempool, 1);
        let far = far.into_iter().map(|(_, port)| port).collect();
        Bench { switch, far, pool: mempool.cache(), mempool, started: Instant::now() }
    }

    fn turn(&mut self) {
        self.switch.settle(Nanos(self.started.elapsed().as_nanos() as u64));
        self.switch.check_ledger().unwrap();
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Bench) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.turn();
            if is_so(self) {
                return;
            }
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            std::thread::park_timeout(Duration::from_micros(100)); // Others want the processor to bring it about.
        }
    }

    fn send(&mut self, from: usize, frame: &[u8]) {
        let mut burst = Burst::new();
        burst.push(self.pool.alloc_copy(frame).expect("there are buffers"));
        assert_eq!(self.far[from].tx[0].tx_burst(Nanos::ZERO, &mut self.pool, &mut burst), 1, "the switch takes what comes");
    }

    fn received(&mut self, at: usize) -> Vec<Vec<u8>> {
        let (mut frames, mut burst) = (Vec::new(), Burst::new());
        while self.far[at].rx[0].rx_burst(Nanos::ZERO, &mut self.pool, &mut burst, 32) > 0 {
            frames.extend(burst.iter().map(|packet| self.pool.segments(packet).collect::<Vec<_>>().concat()));
            self.pool.free_all(&mut burst);
        }
        frames
    }

    fn is_up(&self) -> bool {
        self.switch.control.links()[2] == LinkState::Up
    }

    /// Blade 1 asks blade 2, which always gets it, and the machine, whose answer must come if it is there.
    fn exchange(&mut self, machine: bool) {
        for (len, mark) in [60, 1514, 9000, 64, 4096].into_iter().cycle().zip(0..200) {
            self.send(0, &plain(blade(2), blade(1), len, mark));
            self.send(0, &plain(blade(3), blade(1), len, mark));
            let (mut at_two, mut answers) = (Vec::new(), Vec::new());
            self.until("what was sent arrives", |bench| {
                // Frames to a machine that is not there any more are flooded.
                at_two.extend(bench.received(1).into_iter().filter(|frame| frame[..6] == blade(2).0));
                answers.extend(bench.received(0));
                !at_two.is_empty() && (!machine || !answers.is_empty())
            });
            assert_eq!(at_two, [plain(blade(2), blade(1), len, mark)]);
            let expected = if machine { vec![plain(blade(1), blade(3), len, mark)] } else { vec![] };
            assert!(answers == expected, "{len} bytes: {} answers", answers.len());
        }
    }

    /// Waits until the machine is there and known, as everybody is.
    fn meet(&mut self, testpmd: &mut Testpmd, place: &Path) {
        let log = |name: &str| std::fs::read_to_string(place.join(name)).unwrap_or_default();
        self.until("the machine is there", |bench| {
            if let Ok(Some(status)) = testpmd.0.try_wait() {
                panic!("testpmd ended with {status}:\n{}\n{}", log("log"), log("errors"));
            }
            log("log").contains("Press enter to exit") && bench.is_up()
        });
        self.send(1, &plain(MacAddr::BROADCAST, blade(2), 60, 0));
        self.send(0, &plain(blade(3), blade(1), 60, 0));
        // The machine sends the broadcast back, too, from an address that is none.
        self.until("the machine answers", |bench| {
            bench.received(1);
            bench.received(0).contains(&plain(blade(1), blade(3), 60, 0))
        });
        self.turn();
        (0..2).for_each(|port| drop(self.received(port)));
    }
}

#[test]
fn a_machine_is_killed_and_comes_back() {
    if Command::new("dpdk-testpmd").arg("--version").output().is_err() {
        println!("skipped: no dpdk-testpmd");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    for (role, card) in [("server", "server=0"), ("client", "server=1")] {
        let socket = place.path().join("v.sock");
        let _ = std::fs::remove_file(&socket); // A server that was killed leaves it.
        let mut bench = Bench::new(&format!("{},role={role}", socket.display()));
        for _ in 0..2 {
            let mut testpmd = Testpmd::start(place.path(), card);
            bench.meet(&mut testpmd, place.path());
            bench.exchange(true);
            // It dies in mid-traffic.
            for mark in 0..50 {
                bench.send(0, &plain(blade(3), blade(1), 1514, mark));
                bench.turn();
            }
            drop(testpmd);
            bench.until("the death is noticed", |bench| {
                bench.send(0, &plain(blade(3), blade(1), 60, 0));
                bench.received(0);
                bench.received(1);
                !bench.is_up()
            });
            bench.turn();
            (0..2).for_each(|port| drop(bench.received(port)));
            bench.exchange(false);
            if role == "client" {
                std::fs::remove_file(&socket).unwrap();
            }
        }
        let Bench { mut switch, far, mempool, mut pool, .. } = bench;
        switch.flush_pools();
        drop((switch, far));
        pool.flush();
        assert_eq!((mempool.in_use(), port::backend::dpdk::mbufs_lost()), (0, 0), "buffers leaked");
    }
}
