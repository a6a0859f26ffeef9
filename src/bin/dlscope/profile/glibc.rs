//! The statistics of glibc's loader about the same library: `LD_DEBUG=statistics` (ld.so(8)).
//!
//! ld.so measures the time of relocation at the start of a program only; in `dlopen` it just counts. So the counts come
//! from a process that opens the library with `dlopen`. The times come from a process that does nothing, with the
//! library in `LD_PRELOAD` and with `LD_BIND_NOW`, less the times of the same process without the library.
//!
//! ld.so of glibc 2.36 and other versions prints its cycles without their last digit (`HP_TIMING_PRINT` overwrites it
//! with the end of the string). With a library whose resolver takes 100 ms it printed 28 million cycles while the
//! counter advanced by 285 million. [`ProgramStart::scale`] finds out whether the digit is missing.

use std::time::{Duration, Instant};

use serde::Serialize;

/// The numbers that can be compared with dlscope's.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Glibc {
    /// The time of `dlopen`, in nanoseconds.
    pub dlopen: Option<f64>,
    /// "number of relocations" in `dlopen`. What ld.so counts there are lookups of symbols.
    pub lookups: Option<u64>,
    /// "number of relocations from cache": relocations with the same symbol as the one before.
    pub reused: Option<u64>,
    /// "time needed for relocation", preloaded, in nanoseconds.
    pub relocation: Option<f64>,
    /// "time needed to load objects", preloaded, in nanoseconds.
    pub loading: Option<f64>,
    /// "number of relative relocations", preloaded.
    pub relative: Option<u64>,
}

/// The numbers that ld.so printed in one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    startup_cycles: Option<u64>,
    pub relocation_cycles: Option<u64>,
    pub loading_cycles: Option<u64>,
    relocations: Option<u64>,
    reused: Option<u64>,
    pub relative: Option<u64>,
    final_relocations: Option<u64>,
    final_reused: Option<u64>,
}

impl Statistics {
    /// Reads the text that `LD_DEBUG=statistics` gives.
    pub fn parse(text: &str) -> Statistics {
        let number = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':')?.1.trim().split_once(": "));
            lines.find(|(key, _)| key.trim() == name)?.1.split_ascii_whitespace().next()?.parse().ok()
        };
        Statistics {
            startup_cycles: number("total startup time in dynamic loader"),
            relocation_cycles: number("time needed for relocation"),
            loading_cycles: number("time needed to load objects"),
            relocations: number("number of relocations"),
            reused: number("number of relocations from cache"),
            relative: number("number of relative relocations"),
            final_relocations: number("final number of relocations"),
            final_reused: number("final number of relocations from cache"),
        }
    }

    /// The numbers of `dlopen` alone, without the start: lookups, and relocations that needed none.
    pub fn of_dlopen(&self) -> (Option<u64>, Option<u64>) {
        (less(self.final_relocations, self.relocations), less(self.final_reused, self.reused))
    }
}

/// The start of a program: the statistics of ld.so, and the nanoseconds from before fork(2) until `main`.
pub struct ProgramStart {
    pub statistics: Statistics,
    pub took: u64,
}

impl ProgramStart {
    /// The factor for the cycles of ld.so: 10 if the last digit is missing, else 1. If it is not missing, ten times the
    /// start-up time is more than the whole time that some process took to begin.
    pub fn scale<'s>(mut starts: impl Iterator<Item = &'s ProgramStart>, ticks_per_nanosecond: f64) -> f64 {
        let impossible = |start: &ProgramStart| {
            let cycles = start.statistics.startup_cycles.unwrap_or(0);
            cycles as f64 * 10.0 / ticks_per_nanosecond > start.took as f64
        };
        if starts.any(impossible) { 1.0 } else { 10.0 }
    }
}

/// Two starts of a program: with the library and without it.
pub struct Preloaded {
    pub with: ProgramStart,
    pub without: ProgramStart,
}

impl Preloaded {
    /// How much larger a number of ld.so is with the library.
    pub fn more(&self, of: impl Fn(&Statistics) -> Option<u64>) -> Option<u64> {
        less(of(&self.with.statistics), of(&self.without.statistics))
    }
}

fn less(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a?.checked_sub(b?)
}

/// How many ticks of the processor's time stamp counter a nanosecond has: ld.so's cycles are such ticks.
pub fn ticks_per_nanosecond() -> f64 {
    let ticks = || {
        // SAFETY: RDTSC reads a counter; every x86_64 processor has it, and Linux does not forbid it by itself.
        unsafe { std::arch::x86_64::_rdtsc() }
    };
    let (start, first) = (Instant::now(), ticks());
    while start.elapsed() < Duration::from_millis(5) {
        std::hint::spin_loop();
    }
    (ticks() - first) as f64 / start.elapsed().as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ld_so_prints_is_understood() {
        let text = "\
      7:\t
      7:\truntime linker statistics:
      7:\t  total startup time in dynamic loader: 252733 cycles
      7:\t            time needed for relocation: 18668 cycles (7.3%)
      7:\t                 number of relocations: 83
      7:\t      number of relocations from cache: 7
      7:\t        number of relative relocations: 3
      7:\t           time needed to load objects: 16336 cycles (6.4%)
      7:\t
      7:\truntime linker statistics:
      7:\t           final number of relocations: 1706
      7:\tfinal number of relocations from cache: 18
";
        let statistics = Statistics::parse(text);
        assert_eq!(statistics.relocation_cycles, Some(18668));
        assert_eq!(statistics.relative, Some(3));
        assert_eq!(statistics.of_dlopen(), (Some(1623), Some(11)));
    }
}
