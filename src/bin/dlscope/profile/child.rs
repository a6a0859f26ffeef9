//! The hidden subcommand `profile-child`: a fresh process that opens one library once, measures that in one way, writes
//! the result to a file and ends.

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

use super::account::{LookupTime, Share, divide, lookups};
use super::counts::{Counter, Counts};
use super::pages::{self, ObjectPages};
use super::process::monotonic;
use super::stamps::{Moment, Stamps};
use crate::subject::SearchDirs;

/// What a child measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunKind {
    /// The time of the whole load, without a probe.
    Silent,
    /// The time of each stage of each object.
    Stages,
    /// The time of each stage of each object, and of the lookups.
    Lookups,
    /// The same as `Lookups`, with every page in memory beforehand.
    Resident,
    /// The page faults of each stage of each object, and the state of the objects' pages.
    Pages,
    /// How many events of each sort there are. Nothing is timed.
    Counts,
    /// The time of glibc's `dlopen`. The process then ends by exit(3), so that ld.so prints its statistics.
    System,
    /// When the program began, on the clock of [`monotonic`]. No library is opened.
    Nothing,
}

impl RunKind {
    pub fn counts_faults(self) -> bool {
        self == RunKind::Pages
    }
}

/// Open one library once and write how long that took to a file
#[derive(clap::Args)]
pub struct ChildArgs {
    #[arg(value_enum)]
    kind: RunKind,
    /// The file for the result. It is not standard output, because libraries print there
    out: PathBuf,
    library: OsString,
    #[command(flatten)]
    search: SearchDirs,
}

/// The result of a child.
#[derive(Serialize, Deserialize)]
pub enum ChildReport {
    Timed(Timed),
    Counts(Counts),
    /// The load failed with this error.
    Failed(String),
}

/// One timed load.
#[derive(Default, Serialize, Deserialize)]
pub struct Timed {
    /// Nanoseconds from the call to its return, without the time that the probe took.
    pub whole: u64,
    pub shares: Vec<Share>,
    pub lookups: Vec<LookupTime>,
    pub pages: Vec<ObjectPages>,
    pub clock: Clock,
}

/// The time that a pair of clock readings takes, in nanoseconds.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Clock {
    /// The time that such a pair measures if nothing is between the readings.
    pub inside: f64,
    /// The time of the two readings together.
    pub pair: f64,
}

/// Runs the subcommand.
pub fn run(args: &ChildArgs) -> ! {
    let told = match args.kind {
        RunKind::Nothing => ChildReport::Timed(Timed { whole: monotonic(), ..Timed::default() }),
        RunKind::System => by_system(&args.library),
        _ => by_dlscope(args),
    };
    let written = serde_json::to_vec(&told).map_err(Into::into).and_then(|bytes| fs::write(&args.out, bytes));
    if let Err(error) = &written {
        eprintln!("profile-child: {error}");
    }
    let status = i32::from(written.is_err());
    if matches!(args.kind, RunKind::System | RunKind::Nothing) {
        std::process::exit(status);
    }
    // SAFETY: nothing is left to be done; no destructor of the library runs.
    unsafe { libc::_exit(status) }
}

fn by_system(library: &OsString) -> ChildReport {
    let start = Instant::now();
    // SAFETY: the user asks for this library's code to run, in this process that is made for it.
    let opened = unsafe { unix::Library::open(Some(library), libc::RTLD_NOW) };
    let whole = start.elapsed().as_nanos() as u64;
    match opened {
        Ok(library) => {
            let _ = library.into_raw();
            ChildReport::Timed(Timed { whole, ..Timed::default() })
        }
        Err(error) => ChildReport::Failed(error.to_string()),
    }
}

fn by_dlscope(args: &ChildArgs) -> ChildReport {
    let loader = args.search.loader();
    let open = |loader: &Loader| {
        // SAFETY: the user asks for this library's code to run, in this process that is made for it.
        let opened = unsafe { loader.open(&args.library) };
        opened.map(std::mem::forget::<Library>).map_err(|error| error.to_string())
    };
    let result = match args.kind {
        RunKind::Counts => {
            let counter = Arc::new(Counter::default());
            open(&loader.probe(counter.clone())).map(|()| ChildReport::Counts(counter.take()))
        }
        RunKind::Silent => timed(&loader, open, None, args.kind),
        _ => {
            let stamps = Arc::new(Stamps::new(args.kind));
            timed(&loader.probe(stamps.clone() as Arc<dyn Probe>), open, Some(&stamps), args.kind)
        }
    };
    result.unwrap_or_else(ChildReport::Failed)
}

fn timed(
    loader: &Loader,
    open: impl Fn(&Loader) -> Result<(), String>,
    stamps: Option<&Stamps>,
    kind: RunKind,
) -> Result<ChildReport, String> {
    // An old kernel cannot bring pages into memory. Its times would make page faults look as if they cost nothing.
    if kind == RunKind::Resident && !pages::bring_in_host() {
        return Ok(ChildReport::Timed(Timed::default()));
    }
    // This also reads the clock for the first time, which takes longer.
    let clock = Clock::measure();
    let start = Moment::new(kind.counts_faults());
    open(loader)?;
    let end = Moment::new(kind.counts_faults());
    let (stamps, seen) = stamps.map(Stamps::take).unwrap_or_default();
    let inside_probe: u128 = stamps.iter().map(|s| (s.left.time - s.came.time).as_nanos()).sum();
    Ok(ChildReport::Timed(Timed {
        whole: ((end.time - start.time).as_nanos() - inside_probe) as u64,
        shares: divide(start, &stamps, end),
        lookups: lookups(&stamps),
        pages: seen.iter().filter_map(|object| object.finish()).collect(),
        clock,
    }))
}

impl Clock {
    /// The shortest of some rounds, because a disturbed round takes longer.
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
