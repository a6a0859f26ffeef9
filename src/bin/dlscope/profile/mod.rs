//! `dlscope profile`: where the time of a load goes.
//!
//! Watching every relocation slows a load many times over, so the time is measured by a probe that asks for the ends
//! of stages only (`stamps`), in fresh processes (`child`, started by `process`); `account` divides each run's time,
//! `merge` makes one profile of all runs. What is counted comes from one more load whose every event is heard
//! (`counts`), and what glibc says of the same library from `LD_DEBUG=statistics` (`glibc`).

use std::ffi::OsString;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

mod account;
mod child;
mod counts;
mod glibc;
mod merge;
mod pages;
mod part;
mod picture;
mod process;
mod show;
mod stamps;

pub use child::{ChildArgs, run as run_child};
use child::{Timed, Told, Way};
use glibc::{Glibc, Preloaded, Start, Statistics, ticks_per_nanosecond};
use merge::{Profile, Runs, smaller_half, typical};
use process::{Children, monotonic};

use crate::Failure;

/// Show where the time of a load goes: by stage and by object, with what was relocated, looked up and copied
#[derive(clap::Args)]
#[command(after_help = "\
The library is loaded many times, each time in a process of its own that has
opened nothing before; its files are in the page cache. Runs of all sorts take
turns. Of each sort the shorter half of the runs counts, for whatever disturbs
a run makes it longer; its mean is shown.

  time      From one event to the next, where only the ends of stages are told,
            some 20 events an object. The parts add up to the whole call. What
            a constructor opens counts as the loads that it is.
  silent    The whole call with nobody watching: so one sees what watching costs.
  lookup    In runs of their own a clock is read before and after each search
            for a symbol; its own time is taken off. The share that searches
            have in an object's relocation there is taken out of `relocate`.
  faults    Counted by getrusage(2) between events, in one more run.
  ░         What the same part takes less when every page of the library and of
            the process was brought into memory beforehand, by madvise(2). A
            little too much, for then the caches are warm as well.
  counts    Relocations, lookups, symbols: from one more run, whose every event
            is told.
  pages     /proc/self/pagemap. Copied: a page of the file that was written, so
            it is private memory now.
  glibc     LD_DEBUG=statistics. In dlopen ld.so only counts; its times are of a
            process that does nothing, with the library in LD_PRELOAD and with
            LD_BIND_NOW=1, less the same without it. ld.so leaves out the last
            digit of its cycles, which is put right, and does not count DT_RELR.

What the numbers cannot tell: how long a load takes from a cold disk; what a
search costs that is shorter than the reading of a clock, or whose waiting for
memory a prefetch has done; which of an object's faults in stage 8 are of
searches and which of stores; what constructors do with their time.

Examples:
  dlscope profile libsqlite3.so.0
  dlscope profile libgtk-3.so.0 --all            every object, 100 symbols
  dlscope profile libLLVM-14.so.1 -o llvm.svg    a picture
  dlscope profile ./libmine.so --format json | jq .parts")]
pub struct Args {
    /// The library: a name to search, or a path with a '/'
    #[arg(value_name = "LIB")]
    library: OsString,
    /// How often the library is loaded for each sort of run
    #[arg(long, value_name = "N", default_value = "15")]
    runs: NonZeroUsize,
    /// All objects and the 100 symbols that are looked for most, instead of the first ten
    #[arg(long)]
    all: bool,
    /// Draw it, as SVG
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How to tell it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Search DIR before all other places, also for what the library needs
    #[arg(short = 'L', value_name = "DIR")]
    search_dirs: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs: one JSON object, times in nanoseconds
    Json,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<(), Failure> {
    let profile = measure(args)?;
    if let Some(path) = &args.output {
        fs::write(path, picture::draw(&profile))
            .map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))?;
    }
    match args.format {
        Format::Text => show::profile(&profile, args.all).map_err(Failure::Io),
        Format::Json => {
            use std::io::Write as _;
            let text = serde_json::to_string_pretty(&profile).map_err(std::io::Error::from)?;
            writeln!(std::io::stdout(), "{text}").map_err(Failure::Io)
        }
    }
}

fn measure(args: &Args) -> Result<Profile, Failure> {
    let children = Children::new(args.library.clone(), args.search_dirs.clone())?;
    let timed = |way: Way| match children.run(way)? {
        Told::Timed(timed) => Ok(timed),
        Told::Failed(error) => Err(Failure::Refused(error)),
        Told::Counts(_) => Err(Failure::Refused("a child counted that should have measured".into())),
    };
    // The first one tells whether the library can be loaded at all.
    let counts = match children.run(Way::Counts)? {
        Told::Counts(counts) => counts,
        Told::Failed(error) => return Err(Failure::Refused(error)),
        Told::Timed(_) => return Err(Failure::Refused("a child measured that should have counted".into())),
    };
    if counts.opened.is_empty() {
        let why = "it is in this process from the start, so opening it maps nothing; there is no load to measure";
        return Err(Failure::Refused(format!("{}: {why}", args.library.to_string_lossy())));
    }
    let mut runs = Runs { pages: timed(Way::Pages)?, counts, ..Runs::default() };
    // The system's loader knows nothing of directories that were given to ours.
    let path = fs::canonicalize(&runs.counts.opened).ok().filter(|_| args.search_dirs.is_empty());
    let mut system = System::default();
    for _ in 0..args.runs.get() {
        runs.silent.push(timed(Way::Silent)?);
        runs.stages.push(timed(Way::Stages)?);
        runs.lookups.push(timed(Way::Lookups)?);
        runs.resident.push(timed(Way::Resident)?);
        if let Some(path) = &path {
            system.run(&children, path)?;
        }
    }
    let glibc = match &path {
        Some(_) => system.finish(&children)?,
        None => Glibc::default(),
    };
    Ok(runs.merge(args.library.to_string_lossy().into_owned(), glibc))
}

/// The runs of the system's loader.
#[derive(Default)]
struct System {
    dlopen: Vec<Timed>,
    preloaded: Vec<Preloaded>,
}

impl System {
    fn run(&mut self, children: &Children, library: &Path) -> Result<(), Failure> {
        // What ld.so refuses, or what ends a process, is no reason to say nothing about ours.
        if let Ok(Told::Timed(timed)) = children.run(Way::System) {
            self.dlopen.push(timed);
        }
        let start = |preload| {
            let before = monotonic();
            match children.with_statistics(Way::Nothing, preload).ok()? {
                (Told::Timed(told), said) => {
                    let took = told.whole.saturating_sub(before);
                    Some(Start { statistics: Statistics::parse(&said), took })
                }
                _ => None,
            }
        };
        if let (Some(with), Some(without)) = (start(Some(library)), start(None)) {
            self.preloaded.push(Preloaded { with, without });
        }
        Ok(())
    }

    fn finish(self, children: &Children) -> Result<Glibc, Failure> {
        let ticks = ticks_per_nanosecond();
        let starts = self.preloaded.iter().flat_map(|pair| [&pair.with, &pair.without]);
        let ticks = ticks / Start::scale(starts, ticks);
        let time = |of: fn(&Preloaded) -> Option<u64>| {
            smaller_half(self.preloaded.iter().filter_map(of).map(|cycles| cycles as f64 / ticks).collect())
        };
        let opened = children.with_statistics(Way::System, None).map(|(_, said)| Statistics::parse(&said));
        let (lookups, reused) = opened.unwrap_or_default().of_dlopen();
        Ok(Glibc {
            dlopen: typical(self.dlopen),
            lookups,
            reused,
            relocation: time(Preloaded::relocation_cycles),
            loading: time(Preloaded::loading_cycles),
            relative: self.preloaded.iter().find_map(Preloaded::relative),
        })
    }
}
