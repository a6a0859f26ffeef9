//! The hidden subcommand `profile-child`: a fresh process that opens one library once, looked at in one way, writes
//! what it saw and ends.

use std::ffi::OsString;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use dlscope::{Library, Loader, Probe};
use libloading::os::unix;
use nix::libc;
use serde::{Deserialize, Serialize};

use super::account::{Searches, Share, divide, searches};
use super::counts::{Counter, Counts};
use super::pages::{self, ObjectPages};
use super::process::monotonic;
use super::stamps::{Looks, Moment, Stamps};

/// How a child looks at the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// Not at all: only the whole is timed.
    Silent,
    /// When each stage of each object ends.
    Stages,
    /// The same, and how long symbols are looked for.
    Lookups,
    /// The same, with every page in memory beforehand.
    Resident,
    /// Stages again; page faults are counted, and pages looked at.
    Pages,
    /// Every event, counted and not timed.
    Counts,
    /// glibc's `dlopen`; the process then ends as others do, so that ld.so prints its statistics.
    System,
    /// Nothing is opened; what is told is when the program began, on the clock of [`monotonic`].
    Nothing,
}

/// Open one library once and write what it took to a file
#[derive(clap::Args)]
pub struct ChildArgs {
    #[arg(value_enum)]
    way: Way,
    /// Where to write what was seen. Not standard output: libraries print
    out: PathBuf,
    library: OsString,
    #[arg(short = 'L')]
    search_dirs: Vec<PathBuf>,
}

/// What a child tells.
#[derive(Serialize, Deserialize)]
pub enum Told {
    Timed(Timed),
    Counts(Counts),
    /// The load failed: the error.
    Failed(String),
}

/// One timed load.
#[derive(Default, Serialize, Deserialize)]
pub struct Timed {
    /// Nanoseconds from before the call to behind it; what the probe did meanwhile is left out.
    pub whole: u64,
    pub shares: Vec<Share>,
    pub searches: Vec<Searches>,
    pub pages: Vec<ObjectPages>,
    pub clock: Clock,
}

/// What it costs to read the clock before and after something, in nanoseconds.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Clock {
    /// The part that falls between the two readings.
    pub inside: f64,
    /// All of it.
    pub pair: f64,
}

/// Runs the subcommand.
pub fn run(args: &ChildArgs) -> ! {
    let told = match args.way {
        Way::Nothing => Told::Timed(Timed { whole: monotonic(), ..Timed::default() }),
        Way::System => by_system(&args.library),
        _ => by_dlscope(args),
    };
    let written = serde_json::to_vec(&told).map_err(Into::into).and_then(|bytes| fs::write(&args.out, bytes));
    if let Err(error) = &written {
        eprintln!("profile-child: {error}");
    }
    let status = i32::from(written.is_err());
    if matches!(args.way, Way::System | Way::Nothing) {
        std::process::exit(status);
    }
    // SAFETY: nothing is left to be done; no destructor of the library runs.
    unsafe { libc::_exit(status) }
}

fn by_system(library: &OsString) -> Told {
    let start = Instant::now();
    // SAFETY: the user asks for this library's code to run, in this process that is made for it.
    let opened = unsafe { unix::Library::open(Some(library), libc::RTLD_NOW) };
    let whole = start.elapsed().as_nanos() as u64;
    match opened {
        Ok(library) => {
            let _ = library.into_raw();
            Told::Timed(Timed { whole, ..Timed::default() })
        }
        Err(error) => Told::Failed(error.to_string()),
    }
}

fn by_dlscope(args: &ChildArgs) -> Told {
    let loader = args.search_dirs.iter().fold(Loader::new(), |loader, dir| loader.search_dir(dir));
    let open = |loader: &Loader| {
        // SAFETY: the user asks for this library's code to run, in this process that is made for it.
        let opened = unsafe { loader.open(&args.library) };
        opened.map(std::mem::forget::<Library>).map_err(|error| error.to_string())
    };
    let looks = Looks {
        lookups: matches!(args.way, Way::Lookups | Way::Resident),
        resident: args.way == Way::Resident,
        pages: args.way == Way::Pages,
    };
    let result = match args.way {
        Way::Counts => {
            let counter = Arc::new(Counter::default());
            open(&loader.probe(counter.clone())).map(|()| Told::Counts(counter.take()))
        }
        Way::Silent => timed(&loader, open, None, looks),
        _ => {
            let stamps = Arc::new(Stamps::new(looks));
            timed(&loader.probe(stamps.clone() as Arc<dyn Probe>), open, Some(&stamps), looks)
        }
    };
    result.unwrap_or_else(Told::Failed)
}

fn timed(
    loader: &Loader,
    open: impl Fn(&Loader) -> Result<(), String>,
    stamps: Option<&Stamps>,
    looks: Looks,
) -> Result<Told, String> {
    // Without it the times of both sorts would be alike, and no fault would seem to cost anything.
    if looks.resident && !pages::bring_in_host() {
        return Ok(Told::Timed(Timed::default()));
    }
    // The first reading of the clock sets it up.
    let clock = Clock::measure();
    let start = Moment::new(looks.pages);
    open(loader)?;
    let end = Moment::new(looks.pages);
    let (stamps, seen) = stamps.map(Stamps::take).unwrap_or_default();
    let inside_probe: u128 = stamps.iter().map(|s| (s.left.time - s.came.time).as_nanos()).sum();
    Ok(Told::Timed(Timed {
        whole: ((end.time - start.time).as_nanos() - inside_probe) as u64,
        shares: divide(start, &stamps, end),
        searches: searches(&stamps),
        pages: seen.iter().filter_map(|object| object.finish()).collect(),
        clock,
    }))
}

impl Clock {
    /// The least of some rounds: a round that is disturbed takes longer.
    fn measure() -> Clock {
        const TIMES: u32 = 100;
        let round = |_| {
            let start = Instant::now();
            let inside: u128 = (0..TIMES).map(|_| black_box(Instant::now()).elapsed().as_nanos()).sum();
            let pair = start.elapsed().as_nanos() as f64 / f64::from(TIMES);
            Clock { inside: inside as f64 / f64::from(TIMES), pair }
        };
        (0..20).map(round).min_by(|a, b| a.pair.total_cmp(&b.pair)).unwrap_or_default()
    }
}
