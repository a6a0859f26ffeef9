//! `dlscope compare`: compares what dlscope makes of a library with what the system's loader makes of it.
//!
//! Each library is loaded twice, by `dlopen` and by dlscope, each time in a process of its own (`child`, started by
//! `pool`): in one process dlscope would adopt the system's copy. A child looks at its own memory (`look`) and writes
//! what it saw as a `snapshot`; `verdict` compares the two snapshots.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

mod child;
mod comparison;
mod corpus;
mod corrupt;
pub mod file;
mod look;
mod names;
mod pool;
pub mod process;
mod report;
mod snapshot;
mod stand_in;
mod thread_local;
mod verdict;
mod way;

pub use child::{ChildArgs, run as run_child};
use comparison::Comparison;
use report::{Bar, Printer, table};
use way::DlscopeOptions;

use crate::Failure;
use crate::subject::Format;

/// Load libraries with the system's loader and with dlscope, and compare the results
#[derive(clap::Args)]
#[command(after_help = "\
Each loader loads each library in a process of its own, which may take 30 seconds. dlscope compares whether the loader
accepts the library, the objects and their order, every exported symbol, every relocated word, and the protection of
every page.

  agree              both load it, and nothing differs
  differ             both load it, and something differs
  only-system        the system's loader accepts it, dlscope does not
  crash, timeout     the process with dlscope dies, or does not finish
  only-dlscope       dlscope accepts it, the system's loader does not
  refused-by-policy  dlscope refuses on purpose: executable stack, writable code
  both-refuse        neither accepts it
  both-die           every process that loads it dies

Examples:
  dlscope compare libz.so.1
  dlscope compare --format json ./libmine.so | jq .details
  dlscope compare --host /usr/bin/python3 ./ext.so       a plugin: python3 defines what it lacks
  dlscope compare --corpus -o docs/compatibility.md      every library of this machine; takes half a minute

Exit status: 0 no library is `differ`, `only-system`, `crash` or `timeout`; 1 some library is.")]
pub struct Args {
    /// The libraries: names to search, or paths with a '/'
    #[arg(value_name = "LIB", required_unless_present = "corpus")]
    libraries: Vec<OsString>,
    /// Compare every shared object below the folders LIB, or below /lib* and /usr/lib* if there are none
    #[arg(long)]
    corpus: bool,
    /// For plugins: the program (or library) that defines what they lack, by its path or by its name in PATH. Both
    /// loaders get a library with the same names in its place, whose functions return 0
    #[arg(long, value_name = "PROGRAM")]
    host: Option<OsString>,
    /// Write a table of all libraries that do not agree to FILE, as Markdown
    #[arg(short, long, value_name = "FILE", requires = "corpus")]
    output: Option<PathBuf>,
    /// How many to compare at once [default: the number of processors]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// How to tell it; JSON is one library a line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    options: DlscopeOptions,
}

/// Runs the subcommand. Returns `false` if dlscope falls short of the system's loader for one of the libraries.
pub fn run(args: &Args) -> Result<bool, Failure> {
    let libraries = if args.corpus { corpus::libraries(&args.libraries) } else { args.libraries.clone() };
    let jobs = args.jobs.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let report = Printer::new(args.format == Format::Json, libraries.len());
    let mut results = Vec::new();
    let mut bar = Bar::new(libraries.len());
    pool::compare_all(&libraries, jobs, args.options, args.host.as_deref(), |result| {
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

/// The result for one library in a sentence, with which `trace` ends.
pub fn one_line(library: &OsStr) -> String {
    match pool::compare_one(library) {
        Ok(result) => report::sentence(&result),
        Err(error) => format!("Not compared with the system's dlopen: {error}."),
    }
}

impl Comparison {
    /// Whether the result is told even among many libraries.
    fn is_remarkable(&self) -> bool {
        use comparison::Verdict::{Agree, BothRefuse};
        !matches!(self.verdict, Agree | BothRefuse)
    }
}
