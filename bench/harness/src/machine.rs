//! What the machine is, and what else it was doing meanwhile. Everything that comes from `/proc` is absent elsewhere.

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Linux counts CPU time for user space in hundredths of a second, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident memory of this process in bytes.
#[must_use]
pub fn rss() -> Option<u64> {
    bytes("self", "VmRSS:")
}

/// Resident memory of another process in bytes.
#[must_use]
pub fn rss_of(process: u32) -> Option<u64> {
    bytes(&process.to_string(), "VmRSS:")
}

/// How much of that is of no file and so shared with no other process, but for what one has inherited.
#[must_use]
pub fn own_of(process: u32) -> Option<u64> {
    bytes(&process.to_string(), "RssAnon:")
}

/// The most that [`rss`] has been since [`forget_peak`].
#[must_use]
pub fn peak_rss() -> Option<u64> {
    bytes("self", "VmHWM:")
}

/// Lets [`peak_rss`] begin anew.
pub fn forget_peak() -> std::io::Result<()> {
    fs::write("/proc/self/clear_refs", "5")
}

fn bytes(process: &str, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes * 1024)
}

/// How many cores there are for this process.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[derive(Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: Option<u64>,
    pub kernel: String,
    pub rustc: &'static str,
}

impl Machine {
    #[must_use]
    pub fn inspect() -> Self {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal").and_then(|text| {
            let kibibytes: u64 = text.trim_end_matches(" kB").parse().ok()?;
            Some(kibibytes / (1024 * 1024))
        });
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
        Machine {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: cores(),
            memory_gib: memory,
            kernel: kernel.map_or_else(
                |_| std::env::consts::OS.to_owned(),
                |v| format!("Linux {}", v.trim()),
            ),
            rustc: env!("BENCH_RUSTC"),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, cores, kernel, rustc) = (&self.cpu, self.cores, &self.kernel, self.rustc);
        let memory = self
            .memory_gib
            .map_or_else(String::new, |gib| format!(", {gib} GiB"));
        write!(f, "{cpu}, {cores} cores{memory}, {kernel}, {rustc}")
    }
}

/// CPUs kept from a run while it ran, on average.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Disturbance {
    /// Taken by the hypervisor.
    pub stolen: f64,
    /// Used by processes that are not ours.
    pub others: f64,
    /// Lost because all of them were slower than they usually were in the run: so it looks from within what the
    /// neighbours of a virtual machine take.
    pub slowed: f64,
}

/// How long the machine is watched at work to tell its speed.
const GLANCE: Duration = Duration::from_millis(30);
/// Words of memory that this work takes for each core: more than fit into caches of its own.
const WORDS: usize = 1 << 20;

/// How fast the machine is now: steps per second of all cores at once, at work on memory and numbers.
#[must_use]
pub fn speed() -> f64 {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores())
            .map(|_| scope.spawn(steps_per_second))
            .collect();
        let speeds = workers.into_iter().map(|it| it.join().unwrap_or(0.0));
        speeds.sum()
    })
}

fn steps_per_second() -> f64 {
    const STEPS: usize = 1 << 12;
    let mut words = vec![1_u64; WORDS];
    let (began, mut steps, mut place) = (Instant::now(), 0, 1_usize);
    while began.elapsed() < GLANCE {
        for _ in 0..STEPS {
            // Where the next step goes depends on this one, as in a walk through a program's memory.
            let word = &mut words[place % WORDS];
            *word = word.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place as u64;
            place = place.wrapping_mul(5).wrapping_add(*word as usize >> 40);
        }
        steps += STEPS;
    }
    black_box(words);
    steps as f64 / began.elapsed().as_secs_f64()
}

/// The counters of one moment; two of them give the disturbance between.
pub struct Meter {
    at: Instant,
    ticks: Option<Ticks>,
}

struct Ticks {
    stolen: f64,
    busy: f64,
    ours: f64,
}

impl Meter {
    #[must_use]
    pub fn now() -> Self {
        Meter {
            at: Instant::now(),
            ticks: Ticks::read(),
        }
    }

    /// Children count as ours once they have been waited for.
    #[must_use]
    pub fn until_now(&self) -> Option<Disturbance> {
        let (before, after) = (self.ticks.as_ref()?, Ticks::read()?);
        let ticks = self.at.elapsed().as_secs_f64() * TICKS_PER_SECOND;
        let others = (after.busy - before.busy) - (after.ours - before.ours);
        // Each counter is rounded to whole ticks on its own, so in a short run two of them mean nothing.
        let others = if others <= 2.0 { 0.0 } else { others };
        Some(Disturbance {
            stolen: (after.stolen - before.stolen) / ticks,
            others: others / ticks,
            slowed: 0.0,
        })
    }
}

impl Ticks {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let all = numbers(stat.lines().next()?.strip_prefix("cpu ")?);
        // user nice system idle iowait irq softirq steal
        let [user, nice, system, _, _, irq, softirq, stolen] = *all.first_chunk()?;
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        // Counting from behind the name, which may hold spaces: field 14 is utime, then stime, cutime, cstime.
        let own = numbers(own.rsplit_once(") ")?.1.get(2..)?);
        let ours = own.get(10..14)?.iter().sum();
        Some(Ticks {
            stolen,
            busy: user + nice + system + irq + softirq,
            ours,
        })
    }
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}
