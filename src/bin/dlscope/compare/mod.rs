//! `dlscope compare`: is this really what the system's loader does?
//!
//! Each library is loaded twice, by `dlopen` and by dlscope, each time in a process of its own (`child`, started by
//! `pool`): in one process dlscope would adopt the system's copy. A child looks at its own memory (`look`) and writes
//! what it saw as a `snapshot`; `verdict` holds two of them against each other.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

use clap::ValueEnum;

mod child;
mod comparison;
mod corpus;
mod corrupt;
pub mod file;
mod look;
mod names;
mod pool;
mod process;
mod report;
mod snapshot;
mod thread_local;
mod verdict;
mod way;

pub use child::{ChildArgs, run as run_child};
use comparison::Comparison;
pub use pool::{how, wait};
use report::{Bar, Report, table};
use way::Way;

use crate::Failure;

/// Load libraries by the system's loader and by dlscope, and hold the results against each other
#[derive(clap::Args)]
#[command(after_help = "\
Each library is loaded by each loader in a process of its own, which may take 30 seconds. Compared are: accepted or
refused, the objects and their order, every exported symbol, every relocated word, the protection of every page.

  agree              both load it, and nothing differs
  differ             both load it, and something differs
  only-system        the system's loader takes it, dlscope does not
  crash, timeout     dlscope ends the process, or does not finish
  only-dlscope       dlscope takes it, the system's loader does not
  refused-by-policy  dlscope refuses on purpose: executable stack, code that is writable
  both-refuse        neither takes it
  both-die           it ends every process that loads it

Examples:
  dlscope compare libz.so.1
  dlscope compare --format json ./libmine.so | jq .details
  dlscope compare --corpus -o docs/compatibility.md      every library of this machine; takes half a minute

Exit status: 0 nothing is `differ`, `only-system`, `crash` or `timeout`; 1 something is.")]
pub struct Args {
    /// The libraries: names to search, or paths with a '/'
    #[arg(value_name = "LIB", required_unless_present = "corpus")]
    libraries: Vec<String>,
    /// Every shared object below /lib*, /usr/lib* or, where LIBs are given, below those folders
    #[arg(long)]
    corpus: bool,
    /// Write a table of all that do not agree to FILE, as Markdown
    #[arg(short, long, value_name = "FILE", requires = "corpus")]
    output: Option<PathBuf>,
    /// How many to compare at once [default: the number of processors]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// How to tell it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    way: Way,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs: JSON lines, one library a line
    Json,
}

/// Runs the subcommand. `false`: dlscope falls short for one of the libraries.
pub fn run(args: &Args) -> Result<bool, Failure> {
    let libraries = if args.corpus { corpus::libraries(&args.libraries) } else { args.libraries.clone() };
    let jobs = args.jobs.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let report = Report::new(args.format == Format::Json, libraries.len());
    let mut results = Vec::new();
    let mut bar = Bar::new(libraries.len());
    pool::compare_all(&libraries, jobs, args.way, |result| {
        bar.clear()?;
        report.tell(&result)?;
        results.push(result);
        bar.draw(results.len())
    })?;
    bar.clear()?;
    report.finish(&results)?;
    if let Some(path) = &args.output {
        std::fs::write(path, table(&results, &args.libraries))?;
    }
    Ok(!results.iter().any(|result| result.verdict.is_bad()))
}

/// What comes of comparing one library, in a sentence: `trace` ends with it.
pub fn one_line(library: &str) -> String {
    match pool::compare_one(library) {
        Ok(result) => report::sentence(&result),
        Err(error) => format!("Not held against the system's dlopen: {error}."),
    }
}

impl Comparison {
    /// Whether someone who looks at many libraries wants to see this one.
    fn is_remarkable(&self) -> bool {
        use comparison::Verdict::{Agree, BothRefuse};
        !matches!(self.verdict, Agree | BothRefuse)
    }
}
