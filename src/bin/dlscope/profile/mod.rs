//! `dlscope profile`: shows where the time of a load goes.
//!
//! An event for every relocation makes a load many times slower, so a probe that hears only the ends of stages measures
//! the time (`stamps`), in fresh processes (`child`, started by `process`). `account` divides the time of each run, and
//! `merge` makes one profile of all runs. The counts come from one more load with all events (`counts`), and glibc's
//! numbers for the same library from `LD_DEBUG=statistics` (`glibc`).

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

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
use child::{ChildReport, RunKind, Timed};
use glibc::{Glibc, Preloaded, ProgramStart, Statistics, ticks_per_nanosecond};
use merge::{Profile, Runs, smaller_half, typical};
use process::{Children, monotonic};

use crate::Failure;
use crate::bytes::shown;
use crate::subject::{Format, SearchDirs};

/// Show where the time of a load goes: by stage and by object, with what was relocated, looked up and copied
#[derive(clap::Args)]
#[command(after_help = "\
dlscope loads the library many times, each time in a process of its own that has
opened nothing before; the files are in the page cache. Runs of all kinds take
turns. Of each kind the shorter half of the runs counts, because a disturbance
can only make a run longer; dlscope shows the mean of that half.

  time      The time from one event to the next. Only the ends of stages have
            events, some 20 for each object. The parts add up to the whole
            call. A library that a constructor opens counts like any other.
  silent    The whole call without a probe. The difference to the whole call
            with a probe is the cost of measuring.
  lookup    In other runs dlscope reads a clock before and after each lookup,
            and subtracts the time of reading it. The share of lookups in an
            object's relocation there is taken out of `relocate`.
  faults    Counted by getrusage(2) between events, in one more run.
  ░         How much less time the part takes when madvise(2) has brought every
            page of the library and of the process into memory beforehand. It
            is a little too much, because the caches are warm then, too.
  counts    Relocations, lookups and symbols come from one more run, with all
            events.
  pages     From /proc/self/pagemap. A copied page is a page of the file that
            was written to, so that it is private memory now.
  glibc     From LD_DEBUG=statistics. ld.so measures no times in dlopen. Its
            times come from a process that does nothing, with the library in
            LD_PRELOAD and with LD_BIND_NOW=1, less those without the library.
            ld.so prints its cycles without the last digit, which dlscope
            corrects, and does not count relocations of DT_RELR.

The numbers do not tell how long a load takes from a cold disk, how long a
lookup takes that is shorter than reading a clock, which page faults of stage 8
belong to lookups and which to stores, or what constructors do.

Examples:
  dlscope profile libsqlite3.so.0
  dlscope profile libgtk-3.so.0 --all            every object, 100 symbols
  dlscope profile libLLVM-14.so.1 -o llvm.svg    draw a picture
  dlscope profile ./libmine.so --format json | jq .parts")]
pub struct Args {
    /// The library: a name to search, or a path with a '/'
    #[arg(value_name = "LIB")]
    library: OsString,
    /// How often to load the library for each kind of run
    #[arg(long, value_name = "N", default_value = "15")]
    runs: NonZeroUsize,
    /// Show all objects and the 100 most frequent symbols, instead of ten of each
    #[arg(long)]
    all: bool,
    /// Draw the profile as an SVG picture in FILE
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How to tell it; JSON is one object, with times in nanoseconds
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    search: SearchDirs,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<(), Failure> {
    let profile = measure(args)?;
    if let Some(path) = &args.output {
        fs::write(path, picture::draw(&profile))
            .map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))?;
    }
    match args.format {
        Format::Text => show::profile(&profile, args.all)?,
        Format::Json => writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&profile).map_err(io::Error::from)?)?,
    }
    Ok(())
}

fn measure(args: &Args) -> Result<Profile, Failure> {
    let children = Children::new(args.library.clone(), args.search.clone())?;
    let timed = |kind: RunKind| match children.run(kind)? {
        ChildReport::Timed(timed) => Ok(timed),
        ChildReport::Failed(error) => Err(Failure::Refused(error)),
        ChildReport::Counts(_) => Err(Failure::Refused("a child counted that should have measured".into())),
    };
    // This run also tells whether the library can be loaded at all.
    let counts = match children.run(RunKind::Counts)? {
        ChildReport::Counts(counts) => counts,
        ChildReport::Failed(error) => return Err(Failure::Refused(error)),
        ChildReport::Timed(_) => return Err(Failure::Refused("a child measured that should have counted".into())),
    };
    if counts.opened.is_empty() {
        let why = "it is in this process from the start, so opening it maps nothing; there is no load to measure";
        return Err(Failure::Refused(format!("{}: {why}", shown(&args.library))));
    }
    let mut runs = Runs { pages: timed(RunKind::Pages)?, counts, ..Runs::default() };
    // The system's loader does not search the directories of -L.
    let path = fs::canonicalize(&runs.counts.opened).ok().filter(|_| args.search.dirs.is_empty());
    let mut system = System::default();
    for _ in 0..args.runs.get() {
        runs.silent.push(timed(RunKind::Silent)?);
        runs.stages.push(timed(RunKind::Stages)?);
        runs.lookups.push(timed(RunKind::Lookups)?);
        runs.resident.push(timed(RunKind::Resident)?);
        if let Some(path) = &path {
            system.run(&children, path)?;
        }
    }
    let glibc = match &path {
        Some(_) => system.finish(&children)?,
        None => Glibc::default(),
    };
    Ok(runs.merge(shown(&args.library), glibc))
}

/// The runs of the system's loader.
#[derive(Default)]
struct System {
    dlopen: Vec<Timed>,
    preloaded: Vec<Preloaded>,
}

impl System {
    fn run(&mut self, children: &Children, library: &Path) -> Result<(), Failure> {
        // If ld.so refuses the library, or the process dies, the profile still has dlscope's numbers.
        if let Ok(ChildReport::Timed(timed)) = children.run(RunKind::System) {
            self.dlopen.push(timed);
        }
        let start = |preload| {
            let before = monotonic();
            match children.with_statistics(RunKind::Nothing, preload).ok()? {
                (ChildReport::Timed(told), said) => {
                    let took = told.whole.saturating_sub(before);
                    Some(ProgramStart { statistics: Statistics::parse(&said), took })
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
        let ticks = ticks / ProgramStart::scale(starts, ticks);
        let time = |of: fn(&Statistics) -> Option<u64>| {
            let cycles = self.preloaded.iter().filter_map(|pair| pair.more(of));
            smaller_half(cycles.map(|cycles| cycles as f64 / ticks).collect())
        };
        let opened = children.with_statistics(RunKind::System, None).map(|(_, said)| Statistics::parse(&said));
        let (lookups, reused) = opened.unwrap_or_default().of_dlopen();
        Ok(Glibc {
            dlopen: typical(self.dlopen),
            lookups,
            reused,
            relocation: time(|s| s.relocation_cycles),
            loading: time(|s| s.loading_cycles),
            relative: self.preloaded.iter().find_map(|pair| pair.more(|s| s.relative)),
        })
    }
}
