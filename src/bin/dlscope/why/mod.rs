//! `dlscope why`: explains a load that fails or surprises, without running any code of the library. The system's loader
//! is asked, too, in a child process (`system`), and a verdict that it contradicts is told as dlscope's alone.
//!
//! `Loader::inspect` loads the library and goes on where a load would end, with an event for each fault. This command
//! reads the events: it makes a graph of the dependencies (`graph`), turns faults into problems, with the nearest thing
//! to what is missing (`problem`, `symbols`, `machine`, `paths`), and puts problems into sentences (`words`, `cures`).

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use dlscope::Inspection;
use serde::Serialize;

use crate::Failure;
use crate::bytes::{name_of, shown};
use crate::subject::{Format, SearchDirs, Target, print_json};

mod candidates;
mod content;
mod cures;
mod families;
mod graph;
mod host;
mod likely;
mod machine;
mod optional;
mod paths;
mod problem;
mod root;
mod surprises;
mod symbols;
mod symtab;
mod system;
mod tell;
mod tree;
mod watch;
mod words;

use cures::Cures;
use graph::{Graph, Node};
use host::{Host, NeededGlibc};
use machine::Machine;
use optional::Optional;
use problem::{Evidence, Problem, ProblemKind};
use surprises::Surprises;
use symbols::Exports;
pub use symbols::near;
use system::SystemSays;
pub use system::{ChildArgs, run_child};
use watch::Watcher;

/// Explain a load that fails or surprises: what is missing, where dlscope looked for it, what would make it work
#[derive(clap::Args)]
#[command(after_help = "\
None of the library's code runs here, and nothing of it stays in memory. A child process asks the system's dlopen, with the
constructors taken out (--offline: it does not).

Examples:
  dlscope why ./libmine.so                    does it load, and if not, what would help?
  dlscope why libgtk-3.so.0                   all its dependencies, and where each was found
  dlscope why -L build/lib libmine.so         search the folder build/lib first
  LD_LIBRARY_PATH=/opt/lib dlscope why libmine.so --all
                                              show every path that dlscope tried
  dlscope why --host python3 ./ext.so         a plugin: python3 defines what it lacks
  dlscope why --glibc 2.28 ./libmine.so       would it load on an older system?
  dlscope why --root rootfs /usr/lib/libmine.so
                                              a container: its cache, its folders, its libc
  dlscope why --fixture origin-misspelt       a built-in library that does not load
  dlscope why ./libmine.so --format json | jq -r '.cures[]'

Exit status: 0 the library would load; 1 it would not; 2 the command line was wrong.")]
pub struct Args {
    /// The library: a name to search, or a path with a '/'
    #[arg(value_name = "LIB", required_unless_present = "fixture", conflicts_with = "fixture")]
    library: Option<OsString>,
    /// Explain this built-in library; `dlscope trace --list-fixtures` lists them
    #[arg(long, value_name = "NAME")]
    fixture: Option<String>,
    /// Tell everything: each path that was tried, each symbol, each dependency wherever an object needs it
    #[arg(long)]
    all: bool,
    /// The program that will load the library: what it and its libraries define counts as defined
    #[arg(long, value_name = "PROGRAM")]
    host: Option<OsString>,
    /// Say whether it would load with this version of glibc, such as 2.28, and which is the oldest that it needs
    #[arg(long, value_name = "VERSION")]
    glibc: Option<String>,
    /// Look at a library of another system, whose files lie below DIR: a container, an image, a cross build. All paths
    /// are taken inside DIR, as after chroot
    #[arg(long, value_name = "DIR", conflicts_with = "fixture")]
    root: Option<PathBuf>,
    /// Do not ask the system's loader. Otherwise a child process asks its dlopen, without constructors
    #[arg(long)]
    offline: bool,
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
    /// Whether dlscope loads it and the system's loader does, too, as far as that was asked.
    loads: bool,
    #[serde(skip)]
    by_dlscope: bool,
    /// What the system's `dlopen` says; null if it was not asked.
    system: Option<SystemSays>,
    /// Why it could not be asked.
    #[serde(skip)]
    not_asked: Option<String>,
    /// The root of the other system that the library is of, as this one names it.
    #[serde(skip)]
    root: Option<PathBuf>,
    /// Whether it loads, and if not, the first reason; in one sentence.
    summary: String,
    problems: Vec<Problem>,
    /// What would make it work, in the order of the problems.
    cures: Vec<String>,
    /// The shell commands in the cures, which change files: all of them together help.
    commands: Vec<String>,
    /// The environment variables in the cures: each of them alone helps, for the problem that it belongs to.
    environment: Vec<String>,
    /// The newest glibc version that each object needs; the newest of all first.
    needed_glibc: Vec<NeededGlibc>,
    /// The libraries that objects open when they need them, as their notes say (`.note.dlopen`).
    optional: Vec<Optional>,
    #[serde(skip)]
    tells_glibc: bool,
    #[serde(flatten)]
    surprises: Surprises,
    /// The search for the library itself.
    search: Option<&'e graph::Search>,
    /// Every object with its dependencies; the first is the library.
    objects: &'e [Node],
    #[serde(skip)]
    graph: &'e Graph,
    #[serde(skip)]
    host: &'e Host,
}

impl Explanation<'_> {
    /// The library, as the problems name it.
    fn root(&self) -> &str {
        self.graph.label(self.library)
    }
}

/// At most so many times the load is looked at again with folders in which something lies.
const ROUNDS: usize = 5;

/// What would go wrong once the libraries that lie elsewhere were found: what these need may lie elsewhere, too. Adds
/// the problems, and returns the objects that have them.
fn later_problems(
    search: &SearchDirs,
    library: &str,
    graph: &Graph,
    host: &Host,
    problems: &mut Vec<Problem>,
) -> Vec<Node> {
    let mut known: Vec<String> = graph.nodes.iter().map(|node| node.tag.name.to_string()).collect();
    let mut later = Vec::new();
    let mut dirs: Vec<PathBuf> = Vec::new();
    for _ in 0..ROUNDS {
        let new: Vec<PathBuf> = problems.iter().filter_map(Problem::folder_elsewhere).collect();
        let count = dirs.len();
        for dir in new {
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        if dirs.len() == count || graph.nodes.is_empty() {
            break;
        }
        let watcher = Arc::new(Watcher::default());
        let loader = dirs.iter().fold(search.loader(), |loader, dir| loader.search_dir(dir));
        let inspection = loader.probe(watcher.clone()).inspect(name_of(library));
        let events = watcher.take();
        let (exports, graph) = (Exports::of(&inspection), Graph::of(&events));
        let machine = Machine::around(library, &graph);
        let evidence =
            Evidence { asked: library, events: &events, graph: &graph, exports: &exports, machine: &machine, host };
        let found = problem::all(&evidence).into_iter().filter(|problem| !known.contains(&problem.object));
        problems.extend(found);
        for node in graph.nodes {
            if !known.iter().any(|name| **name == *node.tag.name) {
                known.push(node.tag.name.to_string());
                later.push(node);
            }
        }
    }
    later
}

/// Looks at the library. The events of it are in the watcher.
fn inspect(search: &SearchDirs, name: &OsStr) -> (Inspection, Arc<Watcher>) {
    let watcher = Arc::new(Watcher::default());
    let inspection = search.loader().probe(watcher.clone()).inspect(name);
    (inspection, watcher)
}

/// Runs the subcommand. Returns whether the library would load.
pub fn run(args: &Args) -> Result<bool, Failure> {
    let target = Target::of(args.library.as_deref(), args.fixture.as_deref())?;
    let mut name = target.name();
    if name.is_empty() {
        return Err(Failure::Usage("the name of the library is empty".into()));
    }
    let mut search = args.search.clone();
    let mut outside = None;
    if let Some(root) = &args.root {
        let (inside, real) = root::enter(root, &name)?;
        (name, outside) = (inside, Some(real));
        search.alone = true;
    }
    let library = shown(&name);
    if let Some(glibc) = args.glibc.as_ref().filter(|glibc| host::numbers(glibc).is_none()) {
        return Err(Failure::Usage(format!("--glibc: {glibc:?} is no version such as 2.28")));
    }
    let host = args.host.as_deref().map_or(Ok(Host::default()), |program| Host::of(program, &search))?;
    search.dirs.extend(host.rpath.iter().cloned());
    let (mut inspection, mut watcher) = inspect(&search, &name);
    let mut events = watcher.take();
    let mut graph = Graph::of(&events);
    if host.helped_in_vain(&graph) {
        search.dirs.clone_from(&args.search.dirs);
        (inspection, watcher) = inspect(&search, &name);
        events = watcher.take();
        graph = Graph::of(&events);
    }
    graph.tell_rpath_of(&host);
    let pipes = watcher.pipes();
    let exports = Exports::of(&inspection);
    let by_dlscope = inspection.faults().is_empty();
    let (system, not_asked) = match (args.offline, &args.host, &args.root) {
        (true, ..) => (None, None),
        (_, _, Some(root)) => (None, Some(format!("it would have to be asked in {}", shown(root)))),
        // Only that program could ask.
        (_, Some(program), _) => (None, Some(format!("it would have to be asked in {}", shown(program)))),
        _ if !pipes.is_empty() => (None, Some(format!("it would wait for the other end of {}", shown(&pipes[0])))),
        _ => match system::ask(&name, &args.search.dirs) {
            Ok(says) => (Some(says), None),
            Err(error) => (None, Some(error.to_string())),
        },
    };
    let answer = system.as_ref();

    let machine = Machine::around(&library, &graph);
    let evidence =
        Evidence { asked: &library, events: &events, graph: &graph, exports: &exports, machine: &machine, host: &host };
    let mut problems = problem::all(&evidence);
    let surprises = Surprises::of(&events, &graph, &exports);
    if let Some(says) = answer.filter(|says| problems.is_empty() && !says.loads) {
        problems.push(problem::of_system(&evidence, &surprises, says));
    }
    let needed_glibc = host::needed_glibc(&graph);
    if let Some(glibc) = &args.glibc {
        problems.extend(needed_glibc.iter().filter(|needed| needed.is_newer_than(glibc)).map(|needed| Problem {
            object: needed.object.clone(),
            kind: ProblemKind::TooOldGlibc {
                glibc: glibc.clone(),
                version: needed.version.clone(),
                symbols: needed.symbols.clone(),
            },
        }));
        // With the glibc of this system the load itself tells.
        let is_here = args.root.is_none() && host::numbers(glibc) == host::numbers(&host::own_glibc());
        let private = if is_here { Vec::new() } else { host::needs_private(&graph) };
        problems.extend(private.into_iter().map(|(object, symbols)| Problem {
            object,
            kind: ProblemKind::PrivateGlibc { glibc: glibc.clone(), symbols },
        }));
    }
    let loads = problems.is_empty();
    let later = later_problems(&search, &library, &graph, &host, &mut problems);
    let cures = Cures::of(&problems, graph.nodes.iter().chain(&later), outside.as_deref());
    let by_system_alone = answer.is_some_and(|says| says.loads) && !by_dlscope;
    let adopted = graph.nodes.iter().filter(|node| node.of_host).count();
    let explanation = Explanation {
        library: &library,
        loads,
        by_dlscope,
        summary: tell::summary(
            (&library, graph.label(&library)),
            &problems,
            (graph.nodes.len(), adopted),
            &surprises,
            by_system_alone,
        ),
        cures: cures.texts,
        commands: cures.commands,
        environment: cures.environment,
        optional: optional::of(&graph, &search),
        tells_glibc: args.all || args.glibc.is_some(),
        needed_glibc,
        system,
        not_asked,
        root: outside,
        problems,
        surprises,
        search: graph.asked.as_ref(),
        objects: &graph.nodes,
        graph: &graph,
        host: &host,
    };
    match args.format {
        Format::Text => tell::tell(&explanation, args.all)?,
        Format::Json => print_json(&explanation)?,
    }
    Ok(loads)
}
