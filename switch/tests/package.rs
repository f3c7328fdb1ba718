//! What the Debian package installs fits the program: the man page names commands of it, the unit grants what ports take and no more, and a
//! switch that is started with just that runs, and keeps less.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use control::config::Config;
use port::privilege::NEEDED;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bladeswitch");

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(file)
}

/// The value of a setting of the unit.
fn setting(name: &str) -> String {
    let unit = std::fs::read_to_string(packaging("bladeswitch.service")).unwrap();
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("the unit has no {name}")).to_owned();
    assert_eq!(values.next(), None, "{name} is there twice");
    value
}

#[test]
fn the_unit_grants_what_ports_take() {
    let needed: Vec<&str> = NEEDED.iter().map(|(name, ..)| *name).collect();
    assert_eq!(setting("AmbientCapabilities"), needed.join(" "));
    assert_eq!(setting("CapabilityBoundingSet"), needed.join(" "));
    // The kernel's list of sockets and calls: those that backends use.
    for family in ["AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_XDP", "AF_INET"] {
        assert!(setting("RestrictAddressFamilies").split(' ').any(|word| word == family), "{family}");
    }
    assert!(setting("SystemCallFilter").split(' ').any(|word| word == "bpf"));
    assert_eq!(setting("ExecStart"), "/usr/bin/bladeswitch run /etc/bladeswitch/chassis.toml");
}

#[test]
fn the_configuration_is_right_and_its_socket_is_where_the_unit_can_make_one() {
    let config = Config::load(packaging("chassis.toml")).unwrap_or_else(|errors| panic!("{errors}"));
    let folder = Path::new("/run").join(setting("RuntimeDirectory"));
    assert_eq!(config.switch.api.as_deref().and_then(Path::parent), Some(folder.as_path()));
}

#[test]
fn the_man_page_names_commands_that_there_are() {
    let page = std::fs::read_to_string(packaging("bladeswitch.8")).unwrap().replace('\\', "");
    let (_, commands) = page.split_once(".SH COMMANDS\n").unwrap();
    let (commands, _) = commands.split_once(".SH ").unwrap();
    let lines = commands.lines().filter(|line| line.starts_with(".B"));
    // `.BI run " FILE"`, `.BR drain ", " steer`: what stands in quotes is no command.
    let plain = |line: &str| line.split('"').step_by(2).map(str::to_owned).collect::<String>();
    let names: Vec<String> = lines.flat_map(|line| plain(line).split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()).collect();
    let names: Vec<&String> = names.iter().filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let help = Command::new(PROGRAM).args([name.as_str(), "--help"]).output().unwrap();
        assert!(help.status.success(), "the man page has `{name}`, the program has not");
    }
}

/// A switch that runs; ended when the test is over, however.
struct Switch {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Switch {
    /// Starts it and waits until it says that it runs; returns with it the line about privileges.
    fn start(mut command: Command) -> (Switch, String) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut switch = Switch { child, lines };
        let mut privileges = String::new();
        while let Some(line) = switch.lines.next() {
            let line = line.unwrap();
            if line.starts_with("privileges: ") {
                privileges = line;
            } else if line.starts_with("running; ") {
                return (switch, privileges);
            }
        }
        let mut said = String::new();
        switch.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        panic!("it ended before it ran: {said}");
    }

    /// `/proc/PID/task/*/status` of each thread, by thread.
    fn threads(&self) -> BTreeMap<String, String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().flatten();
        // A thread may end while it is looked at.
        tasks
            .filter_map(|task| Some((task.file_name().into_string().ok()?, std::fs::read_to_string(task.path().join("status")).ok()?)))
            .collect()
    }

    /// Ends it by SIGTERM: it ends well, and with every frame accounted for.
    fn end(mut self) {
        let kill = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status().unwrap();
        assert!(kill.success());
        let rest: Vec<String> = self.lines.by_ref().map(Result::unwrap).collect();
        assert!(rest.iter().any(|line| line.contains("ledger") && line.contains("balanced")), "{rest:#?}");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A value of a status, a number in hexadecimal.
fn mask(status: &str, key: &str) -> u64 {
    let value =
        status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t")).unwrap_or_else(|| panic!("no {key} in {status}"));
    u64::from_str_radix(value, 16).unwrap()
}

#[test]
fn a_switch_without_interfaces_keeps_no_capability_in_any_thread() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chassis.toml");
    std::fs::write(&file, "[switch]\nworkers = 2\n[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n").unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg(file);
    let (switch, privileges) = Switch::start(command);
    assert_eq!(privileges, "privileges: none are kept");
    let threads = switch.threads();
    // Two workers and control at least.
    assert!(threads.len() >= 3, "{threads:?}");
    for status in threads.values() {
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            assert_eq!(mask(status, set), 0, "{set} of {status}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
    switch.end();
}

/// A network namespace with two pairs of interfaces, p0 to q0 and p1 to q1, removed at the end. (One pair would be a loop.)
struct Namespace(String);

impl Namespace {
    fn new() -> Namespace {
        let namespace = Namespace(format!("bs-unit-{}", std::process::id()));
        let name = &namespace.0;
        let up = |interface: &str| vec!["-n", name, "link", "set", interface, "up"].into_iter().map(str::to_owned).collect::<Vec<_>>();
        let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for args in [words(format!("netns add {name}")), words(format!("-n {name} link add p0 type veth peer name p1")), up("p0"), up("p1")]
        {
            let output = Command::new("ip").args(&args).output().unwrap();
            assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        namespace
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

/// Why the test below cannot run on this machine.
fn lacks() -> Option<&'static str> {
    let has = |program: &str, args: &[&str]| Command::new(program).args(args).output().is_ok_and(|output| output.status.success());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    if mask(&status, "CapEff") >> 21 & 1 == 0 {
        Some("CAP_SYS_ADMIN, to make a network namespace")
    } else if !has("ip", &["-V"]) {
        Some("the program ip (iproute2)")
    } else if !has("setpriv", &["--version"]) {
        Some("the program setpriv (util-linux)")
    } else {
        None
    }
}

#[test]
fn a_user_with_what_the_unit_grants_runs_a_switch_on_interfaces() {
    if let Some(why) = lacks() {
        println!("skipped: this machine lacks {why}");
        return;
    }
    // The user reads neither the folder of the build nor that of root.
    let dir: TempDir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (program, file) = (dir.path().join("bladeswitch"), dir.path().join("chassis.toml"));
    std::fs::copy(PROGRAM, &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = "[[blade]]\nslot = 1\nport = \"auto:p0\"\n[[blade]]\nslot = 2\nport = \"af_packet:p1\"\n";
    std::fs::write(&file, config).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();

    let namespace = Namespace::new();
    let granted =
        setting("AmbientCapabilities").to_lowercase().split(' ').map(|name| name.replace("cap_", "+")).collect::<Vec<_>>().join(",");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &namespace.0, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
    command.args([
        format!("--inh-caps=-all,{granted}"),
        format!("--ambient-caps=-all,{granted}"),
        format!("--bounding-set=-all,{granted}"),
    ]);
    command.arg(&program).arg("run").arg(&file);
    let (switch, privileges) = Switch::start(command);
    let unit = NEEDED.iter().fold(0u64, |mask, (_, number, _)| mask | 1 << number);
    for (name, ..) in NEEDED {
        assert!(privileges.contains(name), "{privileges}");
    }
    let threads = switch.threads();
    assert!(threads.len() >= 2, "{threads:?}");
    for status in threads.values() {
        assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
        assert_eq!(mask(status, "CapPrm") & !unit, 0, "{status}");
        assert_eq!(mask(status, "CapBnd"), unit, "{status}");
    }
    switch.end();
    drop(namespace);
}
