//! What a sample asks of the kernel about itself.

use std::collections::BTreeSet;
use std::fs;

/// The CPU that a sample runs on, given by the program that starts it.
pub const CPU: &str = "VERSUS_CPU";
/// After this long, a sample is killed by a signal: a loader may hang.
const SECONDS: u32 = 60;

/// Keeps the process on one CPU and ends it if it takes too long.
pub fn confine() {
    // SAFETY: no handler is set; the signal ends the process.
    unsafe { libc::alarm(SECONDS) };
    if let Some(cpu) = std::env::var(CPU).ok().and_then(|text| text.parse().ok()) {
        // SAFETY: a `cpu_set_t` may be all zeros, and `CPU_SET` checks the number.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut set);
            libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
        }
    }
}

/// The highest CPU that this process may use.
pub fn last_cpu() -> usize {
    // SAFETY: a `cpu_set_t` may be all zeros; the kernel fills it.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
        set
    };
    // SAFETY: the numbers are below `CPU_SETSIZE`.
    (0..libc::CPU_SETSIZE as usize).rev().find(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).unwrap_or(0)
}

/// KiB of pages that only this process has and that it wrote to (`/proc/self/smaps_rollup`).
pub fn private_dirty() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// The shared libraries that are mapped at this moment (`/proc/self/maps`).
pub fn mapped_libraries() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let paths = text.lines().filter_map(|line| Some(&line[line.find('/')?..]));
    // Not `ld.so.cache`, which a loader may keep for the next search.
    paths
        .filter(|path| path.ends_with(".so") || path.contains(".so.") && !path.ends_with("cache"))
        .map(String::from)
        .collect()
}
