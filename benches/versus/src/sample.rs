//! One sample: a fresh process measures one thing about one library, and prints it in one line.

use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::contender::{Contender, Name};
use crate::process;

/// A sample's line starts with this; constructors print, too.
pub const MARK: &str = "versus:";
/// Open and close this often in one process.
const REPEATS: usize = 20;
/// Look up all names again and again for this long.
const LOOKUP_TIME: Duration = Duration::from_millis(40);

/// Prints numbers or paths where the program that started the sample finds them.
pub fn answer(values: impl IntoIterator<Item = impl ToString>) {
    let values: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
    println!("\n{MARK}\t{}", values.join("\t"));
}

/// Measures `what` about `library` and ends the process. `make` prepares the loader.
pub fn run<C: Contender>(make: impl FnOnce() -> Result<C, String>, what: &str, library: &str, more: &[String]) -> ! {
    process::confine();
    let result = measure(make, what, library, more);
    if let Err(why) = &result {
        eprintln!("{why}");
    }
    finish(result.is_ok())
}

/// Ends the process at once: destructors are nobody's concern here, and some loaders' crash.
pub fn finish(well: bool) -> ! {
    let _ = std::io::stdout().flush();
    // SAFETY: it does not return.
    unsafe { libc::_exit(if well { 0 } else { 1 }) }
}

fn measure<C: Contender>(
    make: impl FnOnce() -> Result<C, String>,
    what: &str,
    library: &str,
    more: &[String],
) -> Result<(), String> {
    let start = Instant::now();
    let mut loader = make()?;
    let preparation = start.elapsed().as_nanos();
    match (what, more) {
        ("cold", []) => answer([cold(&mut loader, library)?, preparation]),
        ("repeat", []) => answer(repeat(&mut loader, library)?),
        ("memory", []) => answer([memory(&mut loader, library)?]),
        ("lookup", [names]) => answer(lookup(&mut loader, library, names)?),
        ("crowd", [folder, count]) => answer([crowd(&mut loader, library, folder, count)?]),
        _ => return Err(format!("no measurement {what:?} with {more:?}")),
    }
    Ok(())
}

/// ns of the open call alone, in a process that opened nothing before.
fn cold(loader: &mut impl Contender, library: &str) -> Result<u128, String> {
    let start = Instant::now();
    let opened = loader.open(library);
    let time = start.elapsed();
    std::mem::forget(opened?);
    Ok(time.as_nanos())
}

/// The median of ns to open and close, how many libraries stay mapped, and whether (1 or 0) this one does.
fn repeat(loader: &mut impl Contender, library: &str) -> Result<[u128; 3], String> {
    let before = process::mapped_libraries();
    let mut times = Vec::new();
    for _ in 0..REPEATS {
        let start = Instant::now();
        let opened = loader.open(library)?;
        loader.close(opened);
        times.push(start.elapsed().as_nanos());
    }
    times.sort_unstable();
    let after = process::mapped_libraries();
    let kept = after.difference(&before).count();
    Ok([times[REPEATS / 2], kept as u128, after.contains(library).into()])
}

/// KiB of private dirty pages that a cold load adds.
fn memory(loader: &mut impl Contender, library: &str) -> Result<u64, String> {
    let dirty = || process::private_dirty().ok_or("no Private_Dirty in /proc/self/smaps_rollup");
    // Twice: the first reading has its own pages to write to.
    dirty()?;
    let before = dirty()?;
    let opened = loader.open(library)?;
    let after = dirty()?;
    std::mem::forget(opened);
    Ok(after.saturating_sub(before))
}

/// ns per name that is there and per name that is not, and how many of the names were found.
fn lookup(loader: &mut impl Contender, library: &str, names: &str) -> Result<[f64; 3], String> {
    let text = fs::read_to_string(names).map_err(|e| e.to_string())?;
    let hits: Vec<_> = text.lines().filter_map(|name| Name::new(name.into())).collect();
    let misses: Vec<_> = text.lines().filter_map(|name| Name::new(format!("{name}_is_absent"))).collect();
    let opened = loader.open(library)?;
    let found = hits.iter().filter(|name| loader.find(&opened, name)).count();
    let times = [&hits, &misses].map(|names| per_name(loader, &opened, names));
    std::mem::forget(opened);
    Ok([times[0], times[1], found as f64])
}

/// The median over rounds through all names; the first round warms the caches and is not counted.
fn per_name<C: Contender>(loader: &C, opened: &C::Library, names: &[Name]) -> f64 {
    // A round of few names would measure the clock.
    let turns = 1000_usize.div_ceil(names.len().max(1));
    let round = || {
        let start = Instant::now();
        for name in std::iter::repeat_n(names, turns).flatten() {
            black_box(loader.find(opened, black_box(name)));
        }
        start.elapsed().as_nanos() as f64 / (turns * names.len()) as f64
    };
    round();
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < 5 || start.elapsed() < LOOKUP_TIME {
        times.push(round());
    }
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

/// ns to open the library where `count` others, `0.so`, `1.so`, … of a folder, are open.
fn crowd(loader: &mut impl Contender, library: &str, folder: &str, count: &str) -> Result<u128, String> {
    let count: usize = count.parse().map_err(|_| format!("{count} is no number"))?;
    let opened: Result<Vec<_>, _> = (0..count).map(|i| loader.open(&format!("{folder}/{i}.so"))).collect();
    std::mem::forget(opened?);
    cold(loader, library)
}
