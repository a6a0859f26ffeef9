//! `dlscope why`: explains a load that fails or surprises, without running any code of the library.
//!
//! `Loader::inspect` loads the library and goes on where a load would end, with an event for each fault. This command
//! reads the events: it makes a graph of the dependencies (`graph`), turns faults into problems, with the nearest thing
//! to what is missing (`problem`, `symbols`, `machine`, `paths`), and puts problems into sentences (`words`, `cures`).

use std::sync::Arc;

use serde::Serialize;

use crate::Failure;
use crate::subject::{Format, SearchDirs, Target, print_json};

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

/// Explain a load that fails or surprises: what is missing, where dlscope looked for it, what would make it work
#[derive(clap::Args)]
#[command(after_help = "\
None of the library's code runs, and nothing of it stays in memory.

Examples:
  dlscope why ./libmine.so                    does it load, and if not, what would help?
  dlscope why libgtk-3.so.0                   all its dependencies, and where each was found
  dlscope why -L build/lib libmine.so         search the folder build/lib first
  LD_LIBRARY_PATH=/opt/lib dlscope why libmine.so --all
                                              show every path that dlscope tried
  dlscope why --fixture origin-misspelt       a built-in library that does not load
  dlscope why ./libmine.so --format json | jq -r '.cures[]'

Exit status: 0 the library would load; 1 it would not; 2 the command line was wrong.")]
pub struct Args {
    /// The library: a name to search, or a path with a '/'
    #[arg(value_name = "LIB", required_unless_present = "fixture", conflicts_with = "fixture")]
    library: Option<String>,
    /// Explain this built-in library; `dlscope trace --list-fixtures` lists them
    #[arg(long, value_name = "NAME")]
    fixture: Option<String>,
    /// Tell everything: each path that was tried, each symbol, each dependency wherever an object needs it
    #[arg(long)]
    all: bool,
    /// How to tell it; JSON is one object, see docs/why.md
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    search: SearchDirs,
}

/// The whole explanation. Its fields are those of the JSON object.
#[derive(Serialize)]
pub struct Explanation<'e> {
    /// The library, as the user named it.
    library: &'e str,
    loads: bool,
    /// Whether it loads, and if not, the first reason; in one sentence.
    summary: String,
    problems: Vec<Problem>,
    /// What would make it work, in the order of the problems.
    cures: Vec<String>,
    #[serde(flatten)]
    surprises: Surprises,
    /// The search for the library itself.
    search: Option<&'e graph::Search>,
    /// Every object with its dependencies; the first is the library.
    objects: &'e [Node],
    #[serde(skip)]
    graph: &'e Graph,
}

/// Runs the subcommand. Returns whether the library would load.
pub fn run(args: &Args) -> Result<bool, Failure> {
    let target = Target::of(args.library.as_deref(), args.fixture.as_deref())?;
    let library = target.name();
    if library.is_empty() {
        return Err(Failure::Usage("the name of the library is empty".into()));
    }
    let watcher = Arc::new(Watcher::default());
    let inspection = args.search.loader().probe(watcher.clone()).inspect(&library);
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
        Format::Json => print_json(&explanation)?,
    }
    Ok(loads)
}
