//! The load of bench/store against the walrus-rust crate. One command a process, the data in WALRUS_DATA_DIR, one line of JSON as the result.
//!
//!   walrus-bench write   --writers 10 --topics 10 --seconds 3 --fsync none|each|<ms> --batch 1 --bytes-min 500 --bytes-max 1024
//!   walrus-bench fill    --topics 10 --mebibytes 512 --bytes-min 500 --bytes-max 1024
//!   walrus-bench read    --topics 10 --batch-bytes 1048576 [--drop-caches 1]
//!   walrus-bench recover
//!
//! Entries are slices of one random buffer, made before the clock starts, as the store's side has it.
use std::collections::HashMap;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};
use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

const PERSIST_EVERY: u32 = 5000;
const RANDOM_BYTES: usize = 1 << 20;

struct Options(HashMap<String, String>);

impl Options {
    fn number(&self, name: &str, default: u64) -> u64 {
        match self.0.get(name) {
            Some(text) => text.parse().unwrap_or_else(|_| panic!("--{name} wants a whole number, not {text}")),
            None => default,
        }
    }

    fn seconds(&self) -> Duration {
        let text = self.0.get("seconds").map(String::as_str).unwrap_or("3");
        Duration::from_secs_f64(text.parse().unwrap_or_else(|_| panic!("--seconds wants a number, not {text}")))
    }

    fn fsync(&self) -> FsyncSchedule {
        match self.0.get("fsync").map(String::as_str).unwrap_or("none") {
            "none" => FsyncSchedule::NoFsync,
            "each" => FsyncSchedule::SyncEach,
            text => FsyncSchedule::Milliseconds(text.parse().unwrap_or_else(|_| panic!("--fsync wants none, each or milliseconds, not {text}"))),
        }
    }
}

/// A linear congruential generator: good enough to choose sizes and fill a buffer, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn between(&mut self, min: u64, max: u64) -> usize {
        (min + self.next() % (max - min + 1)) as usize
    }
}

fn random_bytes(random: &mut Random) -> Vec<u8> {
    (0..RANDOM_BYTES).map(|_| random.next() as u8).collect()
}

#[derive(Default)]
struct Done {
    entries: u64,
    bytes: u64,
    operations: u64,
    latencies_ns: Vec<u64>,
}

fn main() {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let words: Vec<String> = words.collect();
    let options = Options(words.chunks(2).map(|pair| (pair[0].trim_start_matches("--").to_string(), pair.get(1).cloned().unwrap_or_default())).collect());
    if options.0.get("backend").map(String::as_str) == Some("mmap") {
        walrus_rust::disable_fd_backend();
    }
    match command.as_str() {
        "write" => write(&options),
        "fill" => fill(&options),
        "read" => read(&options),
        "recover" => recover(),
        _ => panic!("which of write, fill, read, recover?"),
    }
}

fn open(fsync: FsyncSchedule) -> Arc<Walrus> {
    let consistency = ReadConsistency::AtLeastOnce { persist_every: PERSIST_EVERY };
    Arc::new(Walrus::with_consistency_and_schedule(consistency, fsync).expect("cannot open the data's folder"))
}

/// Runs one thread a writer; all begin together. The seconds are those of the slowest.
fn run(count: u64, work: impl Fn(u64) -> Done + Send + Sync + 'static) -> (Done, f64) {
    let work = Arc::new(work);
    let barrier = Arc::new(Barrier::new(count as usize + 1));
    let threads: Vec<_> = (0..count)
        .map(|index| {
            let (work, barrier) = (work.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                work(index)
            })
        })
        .collect();
    barrier.wait();
    let started = Instant::now();
    let mut sum = Done::default();
    for thread in threads {
        let done = thread.join().expect("a thread failed");
        sum.entries += done.entries;
        sum.bytes += done.bytes;
        sum.operations += done.operations;
        sum.latencies_ns.extend(done.latencies_ns);
    }
    (sum, started.elapsed().as_secs_f64())
}

/// Latencies are sampled: a clock read for every write would slow down what is measured.
fn write(options: &Options) {
    let walrus = open(options.fsync());
    let (writers, topics) = (options.number("writers", 10), options.number("topics", 10));
    let (min, max, batch) = (options.number("bytes-min", 500), options.number("bytes-max", 1024), options.number("batch", 1));
    let (seconds, sample_every) = (options.seconds(), options.number("sample-every", 16));
    // Every topic has its block before the clock starts.
    for topic in 0..topics {
        append(&walrus, &format!("topic-{topic}"), &[&[0; 100]]);
    }
    let (done, seconds) = run(writers, move |writer| {
        let mut random = Random(writer + 1);
        let pool = random_bytes(&mut random);
        let mut done = Done::default();
        let mut topic = writer;
        let started = Instant::now();
        while started.elapsed() < seconds {
            let name = format!("topic-{}", topic % topics);
            topic += writers;
            let entries: Vec<&[u8]> = (0..batch)
                .map(|_| {
                    let bytes = random.between(min, max);
                    let at = random.between(0, (RANDOM_BYTES - bytes) as u64);
                    &pool[at..at + bytes]
                })
                .collect();
            let sampled = done.operations % sample_every == 0;
            let before = sampled.then(Instant::now);
            append(&walrus, &name, &entries);
            if let Some(before) = before {
                done.latencies_ns.push(before.elapsed().as_nanos() as u64);
            }
            done.operations += 1;
            done.entries += batch;
            done.bytes += entries.iter().map(|entry| entry.len() as u64).sum::<u64>();
        }
        done
    });
    print(done, seconds, writers);
}

fn append(walrus: &Walrus, topic: &str, entries: &[&[u8]]) {
    loop {
        let result = if entries.len() == 1 { walrus.append_for_topic(topic, entries[0]) } else { walrus.batch_append_for_topic(topic, entries) };
        match result {
            Ok(()) => return,
            // Another batch of this topic is under way.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => thread::yield_now(),
            Err(error) => panic!("append failed: {error}"),
        }
    }
}

fn fill(options: &Options) {
    let walrus = open(FsyncSchedule::NoFsync);
    let topics = options.number("topics", 10);
    let (min, max) = (options.number("bytes-min", 500), options.number("bytes-max", 1024));
    let wanted = (options.number("mebibytes", 512) << 20) / topics;
    let (done, seconds) = run(topics, move |topic| {
        let mut random = Random(topic + 1);
        let pool = random_bytes(&mut random);
        let name = format!("topic-{topic}");
        let mut done = Done::default();
        while done.bytes < wanted {
            let bytes = random.between(min, max);
            let at = random.between(0, (RANDOM_BYTES - bytes) as u64);
            append(&walrus, &name, &[&pool[at..at + bytes]]);
            done.operations += 1;
            done.entries += 1;
            done.bytes += bytes as u64;
        }
        done
    });
    print(done, seconds, topics);
}

/// Opening reads all files, so the caches are dropped after it.
fn read(options: &Options) {
    let walrus = open(FsyncSchedule::NoFsync);
    let (topics, batch_bytes) = (options.number("topics", 10), options.number("batch-bytes", 1 << 20) as usize);
    if options.number("drop-caches", 0) == 1 {
        drop_caches();
    }
    let (done, seconds) = run(topics, move |topic| {
        let name = format!("topic-{topic}");
        let mut done = Done::default();
        loop {
            let entries = walrus.batch_read_for_topic(&name, batch_bytes, true).expect("read failed");
            if entries.is_empty() {
                return done;
            }
            done.operations += 1;
            done.entries += entries.len() as u64;
            done.bytes += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
        }
    });
    print(done, seconds, topics);
}

fn drop_caches() {
    std::process::Command::new("sync").status().expect("sync failed");
    std::fs::write("/proc/sys/vm/drop_caches", "3").expect("the page cache can be dropped by root only");
}

fn recover() {
    let started = Instant::now();
    let walrus = open(FsyncSchedule::NoFsync);
    let seconds = started.elapsed().as_secs_f64();
    drop(walrus);
    print(Done::default(), seconds, 1);
}

fn print(mut done: Done, seconds: f64, writers: u64) {
    done.latencies_ns.sort_unstable();
    let quantile = |q: f64| match done.latencies_ns.len() {
        0 => 0.0,
        count => done.latencies_ns[((count - 1) as f64 * q) as usize] as f64 / 1000.0,
    };
    let mean_us = if done.operations == 0 { 0.0 } else { seconds * 1e6 * writers as f64 / done.operations as f64 };
    println!(
        "{{\"entries\":{},\"bytes\":{},\"operations\":{},\"seconds\":{seconds},\"latencyUsMean\":{mean_us},\"latencyUsP50\":{},\"latencyUsP99\":{}}}",
        done.entries, done.bytes, done.operations, quantile(0.5), quantile(0.99)
    );
}
