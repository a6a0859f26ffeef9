//! `dlscope why`: explains a load that fails or surprises, without running any code of the library.
//!
//! The loader inspects (`Loader::inspect`): it loads, and where a load would end it says so and goes on. The rest is
//! reading: the stream becomes a graph of who needs whom (`graph`), faults become problems with what comes nearest to
//! what is missing (`problem`, `symbols`, `machine`, `paths`), and problems become sentences (`words`, `cures`).

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use dlscope::Loader;
use serde::Serialize;

use crate::Failure;
use crate::subject::Target;

mod cures;
mod graph;
mod machine;
mod paths;
mod problem;
mod surprises;
mod symbols;
mod tell;
mod tree;
mod watch;
mod words;

use graph::{Graph, Node};
use machine::Machine;
use problem::{Evidence, Problem};
use surprises::Surprises;
use symbols::Exports;
use watch::Watcher;

/// Explain a load that fails or surprises: what is missing, where it was looked for, what would make it work
#[derive(clap::Args)]
#[command(after_help = "\
None of the library's code runs, and nothing of it stays.

Examples:
  dlscope why ./libmine.so                    does it load, and if not, what would help?
  dlscope why libgtk-3.so.0                   all that it needs, and where each was found
  dlscope why -L build/lib libmine.so         the same with a folder to search first
  LD_LIBRARY_PATH=/opt/lib dlscope why libmine.so --all
                                              with every path that was tried
  dlscope why --fixture origin-misspelt       a built-in library that does not load
  dlscope why ./libmine.so --format json | jq -r '.cures[]'

Exit status: 0 it would load; 1 it would not; 2 the command line was wrong.")]
pub struct Args {
    /// The library: a name to search, or a path with a '/'
    #[arg(value_name = "LIB", required_unless_present = "fixture", conflicts_with = "fixture")]
    library: Option<String>,
    /// Explain this built-in library; `dlscope trace --list-fixtures` lists them
    #[arg(long, value_name = "NAME")]
    fixture: Option<String>,
    /// Tell everything: each path that was tried, each symbol, shared dependencies wherever they are needed
    #[arg(long)]
    all: bool,
    /// How to tell it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Search DIR before all other places, also for what the library needs
    #[arg(short = 'L', value_name = "DIR")]
    search_dirs: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs: one JSON object, see docs/why.md
    Json,
}

/// All that is told, and as JSON.
#[derive(Serialize)]
pub struct Explanation<'e> {
    /// As it was asked for.
    library: &'e str,
    loads: bool,
    /// One sentence.
    summary: String,
    problems: Vec<Problem>,
    /// What would make it work, in the order of the problems.
    cures: Vec<String>,
    #[serde(flatten)]
    surprises: Surprises,
    /// How the library itself was looked for.
    search: Option<&'e graph::Search>,
    /// Every object with what it needs; the first is the library.
    objects: &'e [Node],
    #[serde(skip)]
    graph: &'e Graph,
}

/// Runs the subcommand; whether the library would load.
pub fn run(args: &Args) -> Result<bool, Failure> {
    let target = Target::of(args.library.as_deref(), args.fixture.as_deref())?;
    let library = target.name();
    if library.is_empty() {
        return Err(Failure::Usage("the name of the library is empty".into()));
    }
    let watcher = Arc::new(Watcher::default());
    let loader = args.search_dirs.iter().fold(Loader::new(), |loader, dir| loader.search_dir(dir));
    let inspection = loader.probe(watcher.clone()).inspect(&library);
    let events = watcher.take();
    let exports = Exports::of(&inspection);
    let graph = Graph::of(&events);
    let loads = inspection.faults().is_empty();

    let machine = Machine::around(&library, &graph);
    let evidence = Evidence { asked: &library, events: &events, graph: &graph, exports: &exports, machine: &machine };
    let problems = problem::all(&evidence);
    let surprises = Surprises::of(&events, &graph, &exports);
    let adopted = graph.nodes.iter().filter(|node| node.of_host).count();
    let explanation = Explanation {
        library: &library,
        loads,
        summary: tell::summary(&library, &problems, (graph.nodes.len(), adopted), &surprises),
        cures: problems.iter().flat_map(|problem| problem.cures(&library)).collect(),
        problems,
        surprises,
        search: graph.asked.as_ref(),
        objects: &graph.nodes,
        graph: &graph,
    };
    match args.format {
        Format::Text => tell::tell(&explanation, args.all)?,
        Format::Json => {
            let text = serde_json::to_string(&explanation).map_err(std::io::Error::from)?;
            writeln!(std::io::stdout(), "{text}")?;
        }
    }
    Ok(loads)
}
