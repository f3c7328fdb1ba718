//! What memif's queues cost in instructions, for callgrind: frames go round between two pairs of a client and a server in one thread, as they would
//! through a device with a generator on its other side, and only the device's bursts are counted.
//!
//! ```text
//! cargo build --release -p port --example memif_count
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no --toggle-collect='*counted_turn*' \
//!     target/release/examples/memif_count --role server --len 60
//! ```
//!
//! What it prints on standard output is the number of frames that were counted: divide by it. Options: the device's role (`server` or `client`), bytes
//! of a frame without FCS, and frames that wait in the ring beyond those of a burst (as under overload).

use std::collections::BTreeMap;
use std::hint::black_box;

use port::backend::memif::trial::{Queues, Trial};
use port::backend::memif::{Options, Role};
use port::{Burst, Hugepages, Mempool, Nanos, PoolCache};

const TURNS: usize = 200;
const BURST: usize = 32;

fn main() -> Result<(), String> {
    let mut given: BTreeMap<String, String> = BTreeMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").ok_or(format!("{word}: expected --role, --len or --waiting"))?;
        given.insert(name.to_owned(), words.next().ok_or(format!("{word}: a value is missing"))?);
    }
    let number = |name: &str, default: usize| match given.get(name).map(|text| text.parse()) {
        None => Ok(default),
        Some(number) => number.map_err(|error| format!("--{name}: {error}")),
    };
    let (len, waiting) = (number("len", 60)?.clamp(14, 1514), number("waiting", 64)?.min(256));
    let role = if given.get("role").is_some_and(|role| role == "client") { Role::Client } else { Role::Server };
    let mempool = Mempool::new(8192, Hugepages::Never).map_err(|error| error.to_string())?;
    let (mut pool, mut burst) = (mempool.cache(), Burst::new());
    let [mut a, mut b] = [connected(role)?, connected(role)?];
    let frame = vec![7; len];
    let mut counted = 0;
    for turn in 0..TURNS {
        // As many more wait as was asked for.
        let more = if turn == 0 { BURST + waiting } else { BURST };
        for _ in 0..more {
            burst.push(pool.alloc_copy(&frame).ok_or("no buffer")?);
            if burst.len() == BURST {
                a.1.tx[0].tx_burst(Nanos::ZERO, &mut pool, &mut burst);
                pool.free_all(&mut burst);
            }
        }
        a.1.tx[0].tx_burst(Nanos::ZERO, &mut pool, &mut burst);
        pool.free_all(&mut burst);
        counted += counted_turn(&mut a.0, &mut b.0, &mut pool, &mut burst);
        let received = b.1.rx[0].rx_burst(Nanos::ZERO, &mut pool, &mut burst, 64);
        if received != BURST || burst.iter().any(|packet| pool.head(packet) != frame) {
            return Err(format!("turn {turn}: {received} frames came through, or not as they were"));
        }
        pool.free_all(&mut burst);
    }
    println!("{counted}");
    Ok(())
}

/// What a device does with its ports in a turn.
#[inline(never)]
fn counted_turn(from: &mut Queues, to: &mut Queues, pool: &mut PoolCache, burst: &mut Burst) -> usize {
    let (rx, tx) = (black_box(&mut from.rx[0]), black_box(&mut to.tx[0]));
    let received = rx.rx_burst(Nanos::ZERO, pool, burst, BURST);
    tx.tx_burst(Nanos::ZERO, pool, burst);
    tx.flush(Nanos::ZERO, pool);
    rx.prefetch();
    received
}

/// A device's end and the other one.
fn connected(role: Role) -> Result<(Queues, Queues), String> {
    let options = |role: &str| {
        Options::parse("", &BTreeMap::from([("role".to_owned(), role.to_owned())]))
            .map_err(|error| format!("{}: {}", error.key, error.expected))
    };
    let (mut server, mut client) = (Trial::new(&options("server")?), Trial::new(&options("client")?));
    let mut word = server.greeting().map(|hello| (hello, None));
    let mut to_client = true;
    while let Some((message, file)) = word.take() {
        let listener = if to_client { &mut client } else { &mut server };
        word = listener.hear(&message.encode(), file)?;
        to_client = !to_client;
    }
    let sides = (server.agreed.ok_or("the server has not come to terms")?, client.agreed.ok_or("the client has not come to terms")?);
    Ok(if role == Role::Server { sides } else { (sides.1, sides.0) })
}
