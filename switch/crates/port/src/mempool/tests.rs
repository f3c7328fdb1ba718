use super::*;
use crate::packet::Burst;

fn pool(buffers: u32) -> (Mempool, PoolCache) {
    let pool = Mempool::new(buffers, Hugepages::Never).unwrap();
    let cache = pool.cache();
    (pool, cache)
}

fn in_use(pool: &Mempool, cache: &mut PoolCache) -> u32 {
    cache.flush();
    pool.in_use()
}

#[test]
fn every_buffer_can_be_had_once() {
    let (pool, mut cache) = pool(1000);
    let mut held = Vec::new();
    while let Some(packet) = cache.alloc(60) {
        held.push(packet);
    }
    let mut indices: Vec<u32> = held.iter().map(Packet::buffer).collect();
    indices.sort();
    assert!(indices.iter().copied().eq(0..1000));
    for packet in held {
        cache.free(packet);
    }
    assert_eq!(in_use(&pool, &mut cache), 0);
}

#[test]
fn a_cache_takes_back_what_another_allocated() {
    let (pool, mut a) = pool(2000);
    let mut b = pool.cache();
    for _ in 0..100 {
        let mut burst: Burst = (0..64).map(|_| a.alloc(60).unwrap()).collect();
        b.free_all(&mut burst);
    }
    a.flush();
    assert_eq!(in_use(&pool, &mut b), 0);
}

#[test]
fn jumbo_frames_are_chained_and_whole() {
    let (pool, mut cache) = pool(8);
    for len in [60, SEGMENT_MAX, SEGMENT_MAX + 1, 2 * SEGMENT_MAX, 9216, 8 * SEGMENT_MAX] {
        let frame: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        let packet = cache.alloc_copy(&frame).unwrap();
        assert_eq!((packet.len(), packet.is_chained()), (len, len > SEGMENT_MAX));
        let mut out = Vec::new();
        cache.copy_to(&packet, &mut out);
        assert_eq!(out, frame);
        cache.free(packet);
        assert_eq!(in_use(&pool, &mut cache), 0);
    }
    assert!(cache.alloc_copy(&vec![0; 8 * SEGMENT_MAX + 1]).is_none());
    assert_eq!(in_use(&pool, &mut cache), 0, "what did not fit holds nothing");
}

#[test]
fn a_shared_buffer_is_read_only_and_freed_by_the_last() {
    let (pool, mut cache) = pool(4);
    for frame in [vec![1; 60], vec![1; 3000]] {
        let mut first = cache.alloc_copy(&frame).unwrap();
        let second = cache.share(&mut first);
        let mut third = cache.share(&mut first);
        assert!(cache.bytes_mut(&mut first).is_none() && !cache.push_front(&mut first, 4) && !cache.pop_front(&mut third, 4));
        cache.free(first);
        cache.free(second);
        assert!(in_use(&pool, &mut cache) > 0);
        assert!(cache.bytes_mut(&mut third).is_some(), "the last holder may write");
        assert!(!third.is_shared());
        cache.free(third);
        assert_eq!(in_use(&pool, &mut cache), 0);
    }
}

#[test]
fn shared_buffers_freed_by_many_threads_come_back() {
    const ROUNDS: usize = if cfg!(miri) { 20 } else { 20_000 };
    let (pool, mut cache) = pool(64);
    let (mut senders, threads): (Vec<_>, Vec<_>) = (0..3)
        .map(|_| {
            let (tx, mut rx) = sync::ring::ring::<Packet>(16);
            let mut cache = pool.cache();
            let thread = std::thread::spawn(move || {
                let mut freed = 0;
                while freed < ROUNDS {
                    match rx.pop() {
                        Some(packet) => {
                            assert_eq!(cache.head(&packet)[0], freed as u8);
                            cache.free(packet);
                            freed += 1;
                        }
                        None => std::thread::yield_now(),
                    }
                }
            });
            (tx, thread)
        })
        .unzip();
    for round in 0..ROUNDS {
        let mut packet = loop {
            match cache.alloc(60) {
                Some(packet) => break packet,
                None => std::thread::yield_now(),
            }
        };
        cache.bytes_mut(&mut packet).unwrap()[0] = round as u8;
        for sender in &mut senders[1..] {
            let mut copy = cache.share(&mut packet);
            while let Err(back) = sender.push(copy) {
                copy = back;
                std::thread::yield_now();
            }
        }
        while let Err(back) = senders[0].push(packet) {
            packet = back;
            std::thread::yield_now();
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(in_use(&pool, &mut cache), 0);
}

#[test]
fn lent_buffers_come_back_as_frames() {
    let (pool, mut cache) = pool(8);
    let (first, second, third) = (cache.lend().unwrap(), cache.lend().unwrap(), cache.lend().unwrap());
    // SAFETY: lent above, each comes back once, and the frames end inside the buffers.
    let packet = unsafe {
        cache.take_back(third);
        let mut packet = cache.received(first, 256, 1792);
        cache.append(&mut packet, first, second, 256, 100);
        packet
    };
    assert_eq!((packet.len(), packet.is_chained(), cache.segment_count(&packet)), (1892, true, 2));
    assert_eq!(cache.segments(&packet).map(<[u8]>::len).collect::<Vec<_>>(), [1792, 100]);
    assert_eq!(in_use(&pool, &mut cache), 2);
    cache.free(packet);
    assert_eq!(in_use(&pool, &mut cache), 0);
}

#[test]
fn surrendered_frames_live_until_the_last_completion() {
    let (pool, mut cache) = pool(16);
    for len in [60, 1900, 5000] {
        for handles in 1..4 {
            let mut packets = vec![cache.alloc_copy(&vec![7; len]).unwrap()];
            for _ in 1..handles {
                let copy = cache.share(&mut packets[0]);
                packets.push(copy);
            }
            let mut out = Vec::new();
            for packet in packets {
                let mut total = 0;
                cache.surrender(packet, |place, len, kind| {
                    total += len as usize;
                    out.push(((place / BUFFER_SIZE as u64) as u32, kind));
                });
                assert_eq!(total, len);
            }
            assert_eq!(in_use(&pool, &mut cache), len.div_ceil(SEGMENT_MAX) as u32);
            // In an order that no device would have: buffers of one frame and of several mixed.
            out.sort_by_key(|(index, kind)| (*index % 3, *kind as u8));
            let last = out.pop().unwrap();
            for (index, kind) in out {
                // SAFETY: surrendered above, and completed once each.
                unsafe { cache.complete(index, kind) };
                assert!(in_use(&pool, &mut cache) > 0);
            }
            // SAFETY: as above.
            unsafe { cache.complete(last.0, last.1) };
            assert_eq!(in_use(&pool, &mut cache), 0, "{len} bytes, {handles} handles");
        }
    }
}

#[test]
fn tags_use_the_headroom() {
    let (_pool, mut cache) = pool(8);
    for len in [60, 4000] {
        let frame: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut packet = cache.alloc_copy(&frame).unwrap();
        for _ in 0..HEADROOM / 4 {
            assert!(cache.push_front(&mut packet, 4));
        }
        assert!(!cache.push_front(&mut packet, 4), "no headroom is left");
        assert!(!cache.pop_front(&mut packet, 3), "odd");
        assert_eq!(packet.len(), len + HEADROOM);
        assert!(cache.pop_front(&mut packet, HEADROOM));
        let mut out = Vec::new();
        cache.copy_to(&packet, &mut out);
        assert_eq!(out, frame);
        cache.free(packet);
    }
}

#[test]
fn padding_is_zero_and_stays_in_the_buffer() {
    let (_pool, mut cache) = pool(8);
    let packet = cache.alloc_copy(&[0xff; SEGMENT_MAX]).unwrap();
    cache.free(packet);
    let mut packet = cache.alloc_copy(&[1; 42]).unwrap();
    assert!(cache.pad_to(&mut packet, 60));
    assert_eq!(cache.head(&packet), [[1u8; 42].as_slice(), &[0; 18]].concat());
    assert!(cache.pad_to(&mut packet, 20) && packet.len() == 60);
    assert!(!cache.pad_to(&mut packet, SEGMENT_MAX + 1));
    let other = cache.share(&mut packet);
    assert!(!cache.pad_to(&mut packet, 64));
    cache.free(other);
    cache.free(packet);
}

#[test]
#[should_panic(expected = "packet of another pool")]
fn a_packet_of_another_pool_is_refused() {
    let (_a, mut a) = pool(1);
    let (_b, b) = pool(1);
    let packet = a.alloc(60).unwrap();
    b.head(&packet);
}

#[test]
fn errors_say_what_to_do() {
    assert!(Mempool::new(0, Hugepages::Auto).unwrap_err().to_string().contains("expected 1 to"));
    assert!(Mempool::new(BUFFERS_MAX + 1, Hugepages::Auto).is_err());
    // Unless this machine has 8 GiB of hugepages reserved, requiring them fails with the way to get them.
    if let Err(error) = Mempool::new(BUFFERS_MAX, Hugepages::Require) {
        assert!(error.to_string().contains("vm.nr_hugepages=4096"), "{error}");
    }
}
