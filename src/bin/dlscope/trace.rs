//! `dlscope trace`: loads a library and tells what happened, in the order in which it happened.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use dlscope::{Bind, Library, Loader, Recorder};

use crate::Failure;
use crate::call::invoke;
use crate::capture::Capture;
use crate::compare;
use crate::fixture_call::FixtureCall;
use crate::fixtures::{FIXTURES, Fixture, Unpacked};
use crate::page::{Page, Table, dim, symbol};
use crate::telling::Telling;

/// Load a library and tell every step: paths tried, bytes mapped, words patched, code run
#[derive(clap::Args)]
#[command(after_help = "\
Without LIB a small C library is loaded that is built into this command, and its functions are called.

Examples:
  dlscope trace                                      a first look
  dlscope trace --fixture diamond                    another built-in library
  dlscope trace libsqlite3.so.0 --symbol malloc      one symbol's way
  dlscope trace ./libmine.so --no-run                do not run any of its code
  dlscope trace libz.so.1 --format json | jq .event  the raw events, see docs/events.md")]
pub struct Args {
    /// The library: a name to search, or a path with a '/'
    #[arg(value_name = "LIB", conflicts_with = "fixture")]
    library: Option<String>,
    /// Load this built-in library
    #[arg(long, value_name = "NAME")]
    fixture: Option<String>,
    /// List the built-in libraries, and what each of them teaches
    #[arg(long)]
    list_fixtures: bool,
    /// Tell everything: every relocation, every event, dependencies as fully as the library itself
    #[arg(long)]
    pub all: bool,
    /// Tell only what concerns the symbol NAME: each lookup of it, each slot that got its address
    #[arg(long, value_name = "NAME")]
    pub symbol: Option<String>,
    /// Say what each kind of event means where it first appears
    #[arg(long)]
    pub explain: bool,
    /// Stop before any of the library's own code runs: no constructors, no calls
    #[arg(long)]
    pub no_run: bool,
    /// Bind calls into other libraries when they are made for the first time, as RTLD_LAZY does
    #[arg(long)]
    pub lazy: bool,
    /// How to tell it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Search DIR before all other places, also for what the library needs
    #[arg(short = 'L', value_name = "DIR")]
    search_dirs: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs: JSON lines, one event a line
    Json,
}

/// What is loaded.
pub enum Target {
    Library(String),
    Fixture(&'static Fixture, Unpacked),
}

impl Target {
    /// The library named, or the fixture, or the first one of all.
    pub fn of(library: Option<&str>, fixture: Option<&str>) -> Result<Target, Failure> {
        if let Some(library) = library {
            return Ok(Target::Library(library.into()));
        }
        let fixture = Fixture::named(fixture.unwrap_or("add")).map_err(Failure::Usage)?;
        Ok(Target::Fixture(fixture, fixture.unpack()?))
    }

    /// What the loader is asked for.
    pub fn name(&self) -> String {
        match self {
            Target::Library(name) => name.clone(),
            Target::Fixture(fixture, files) => files.path(fixture.main).to_string_lossy().into_owned(),
        }
    }
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.list_fixtures {
        return list_fixtures().map_err(Failure::Io);
    }
    let target = Target::of(args.library.as_deref(), args.fixture.as_deref())?;
    let recorder = Arc::new(Recorder::with_capacity(1 << 16));
    let bind = if args.lazy { Bind::Lazy } else { Bind::Now };
    let loader = args.search_dirs.iter().fold(Loader::new().bind(bind), |loader, dir| loader.search_dir(dir));
    let loader = loader.probe(recorder.clone());
    let mut telling = Telling::begin(args, &target)?;

    let capture = Capture::begin()?;
    let start = Instant::now();
    let opened = if args.no_run {
        loader.prepare(target.name()).map(Loaded::Prepared)
    } else {
        // SAFETY: the user asks for this library's code to run.
        unsafe { loader.open(target.name()) }.map(Loaded::Open)
    };
    let took = start.elapsed();
    let printed = capture.end()?;
    telling.load(&recorder.take(), took, &printed)?;

    let loaded = match opened {
        Ok(loaded) => loaded,
        Err(error) => {
            telling.finish(false)?;
            return Err(error.into());
        }
    };
    let mut others = Others { loader: &loader, open: Vec::new() };
    let mut failed = None;
    if let (Loaded::Open(library), Target::Fixture(fixture, files)) = (&loaded, &target) {
        for text in fixture.calls {
            let capture = Capture::begin()?;
            let result = others.make(text, library, files);
            let printed = capture.end()?;
            telling.call(text, &recorder.take(), &result, &printed)?;
            failed = failed.or(result.err());
        }
    }
    let capture = Capture::begin()?;
    drop(others);
    drop(loaded);
    let printed = capture.end()?;
    telling.close(&recorder.take(), &printed)?;
    // The system's loader knows nothing of directories that were given to ours.
    if !args.no_run && args.search_dirs.is_empty() {
        telling.verdict(|| compare::one_line(&target.name()));
    }
    telling.finish(failed.is_none())?;
    failed.map_or(Ok(()), Err)
}

/// The library, for as long as it is to stay loaded.
#[allow(dead_code, reason = "what is prepared is only held")]
enum Loaded {
    Open(Library),
    Prepared(dlscope::Prepared),
}

/// Other files of a fixture that its calls open by name.
struct Others<'l> {
    loader: &'l Loader,
    open: Vec<(String, Library)>,
}

impl Others<'_> {
    /// Makes one call of a fixture; the result as text.
    fn make(&mut self, text: &str, main: &Library, files: &Unpacked) -> Result<String, Failure> {
        let call = FixtureCall::parse(text).map_err(Failure::Usage)?;
        let values = call.signature.values(&call.arguments).map_err(Failure::Usage)?;
        let library = match &call.file {
            None => main,
            Some(file) => self.library(file, files)?,
        };
        // SAFETY: the fixture says what types its functions have.
        let result = unsafe { invoke(library, &call.signature, call.version.as_deref(), &values) }?;
        Ok(call.written(result.as_deref()))
    }

    fn library(&mut self, file: &str, files: &Unpacked) -> Result<&Library, Failure> {
        let at = match self.open.iter().position(|(name, _)| name == file) {
            Some(at) => at,
            None => {
                // SAFETY: a fixture's constructors may run.
                let library = unsafe { self.loader.open(files.path(file)) }?;
                self.open.push((file.into(), library));
                self.open.len() - 1
            }
        };
        Ok(&self.open[at].1)
    }
}

fn list_fixtures() -> io::Result<()> {
    let mut page = Page::stdout();
    let mut table = Table::whole(true);
    for fixture in FIXTURES {
        let remark = fixture.remark().map_or(String::new(), |remark| format!(" ({remark})"));
        table.row([symbol(fixture.name), format!("{}{}", fixture.teaches, dim(&remark))]);
    }
    page.list(&table);
    page.finish()
}
