//! What glibc's loader says of the same library: `LD_DEBUG=statistics` (ld.so(8)).
//!
//! ld.so times relocation at the start of a program only, not in `dlopen`, where it just counts. So there are two
//! ways: a process that opens the library with `dlopen`, for the counts; and a process that does nothing, with the
//! library in `LD_PRELOAD` and `LD_BIND_NOW`, less the same without it, for the times.
//!
//! Beware: ld.so of glibc 2.36, and others, prints its cycles without their last digit (`HP_TIMING_PRINT` puts the
//! end of the string where the digit stands). A library whose resolver takes 100 ms shows it: 28 million cycles where
//! the counter went 285 million further. [`Start::scale`] finds out.

use std::time::{Duration, Instant};

use serde::Serialize;

/// What is comparable.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Glibc {
    /// Nanoseconds of `dlopen`, nobody watching.
    pub dlopen: Option<f64>,
    /// "number of relocations" of the `dlopen`: ld.so counts searches for symbols.
    pub lookups: Option<u64>,
    /// "number of relocations from cache": the symbol was that of the relocation before.
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
    relocation_cycles: Option<u64>,
    loading_cycles: Option<u64>,
    relocations: Option<u64>,
    reused: Option<u64>,
    relative: Option<u64>,
    final_relocations: Option<u64>,
    final_reused: Option<u64>,
}

impl Statistics {
    /// From the text that `LD_DEBUG=statistics` gives.
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

    /// What `dlopen` did after the start: lookups, and answers that were used again.
    pub fn of_dlopen(&self) -> (Option<u64>, Option<u64>) {
        (less(self.final_relocations, self.relocations), less(self.final_reused, self.reused))
    }
}

/// The start of a program: what ld.so printed, and nanoseconds from before the process was made until the program
/// began.
pub struct Start {
    pub statistics: Statistics,
    pub took: u64,
}

impl Start {
    /// What the cycles of ld.so must be multiplied by: 10 if the last digit is missing, else 1. If it is not missing,
    /// ten times the start-up is soon more than the whole time that the processes took to begin.
    pub fn scale<'s>(mut starts: impl Iterator<Item = &'s Start>, ticks_per_nanosecond: f64) -> f64 {
        let impossible = |start: &Start| {
            let cycles = start.statistics.startup_cycles.unwrap_or(0);
            cycles as f64 * 10.0 / ticks_per_nanosecond > start.took as f64
        };
        if starts.any(impossible) { 1.0 } else { 10.0 }
    }
}

/// A start with the library and one without it.
pub struct Preloaded {
    pub with: Start,
    pub without: Start,
}

impl Preloaded {
    pub fn relocation_cycles(&self) -> Option<u64> {
        less(self.with.statistics.relocation_cycles, self.without.statistics.relocation_cycles)
    }

    pub fn loading_cycles(&self) -> Option<u64> {
        less(self.with.statistics.loading_cycles, self.without.statistics.loading_cycles)
    }

    pub fn relative(&self) -> Option<u64> {
        less(self.with.statistics.relative, self.without.statistics.relative)
    }
}

fn less(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a?.checked_sub(b?)
}

/// ld.so counts in ticks of the processor's time stamp counter: how many of them a nanosecond has.
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
