//! The arguments that several subcommands share, and the run of a library with all its events recorded.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dlscope::event::Event;
use dlscope::{Bind, Library, Loader, Recorder};

use crate::Failure;
use crate::against::Side;
use crate::bytes::shown;
use crate::call::invoke;
use crate::capture::Capture;
use crate::fixture_call::FixtureCall;
use crate::fixtures::{Fixture, Unpacked};
use crate::foreign;

/// The library to load, and how.
#[derive(clap::Args)]
pub struct Subject {
    /// The library: a name to search, or a path with a '/'
    #[arg(value_name = "LIB", conflicts_with = "fixture")]
    pub library: Option<OsString>,
    /// Load this built-in library; `dlscope trace --list-fixtures` lists them
    #[arg(long, value_name = "NAME")]
    pub fixture: Option<String>,
    /// Stop before any of the library's own code runs: no constructors, no calls
    #[arg(long)]
    pub no_run: bool,
    /// Bind a function of another library when it is called for the first time, as RTLD_LAZY does
    #[arg(long)]
    pub lazy: bool,
    /// Stop waiting for the library's code after N seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: Option<u32>,
    #[command(flatten)]
    pub search: SearchDirs,
}

/// The directories that the loader searches first.
#[derive(Clone, clap::Args)]
pub struct SearchDirs {
    /// Search DIR before all other places, also for what the library needs
    #[arg(short = 'L', value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// Whether what this process has itself counts for nothing: see `why --root`.
    #[arg(skip)]
    pub alone: bool,
}

impl SearchDirs {
    /// A loader that searches them.
    pub fn loader(&self) -> Loader {
        let loader = if self.alone { Loader::new().without_host() } else { Loader::new() };
        self.dirs.iter().fold(loader, |loader, dir| loader.search_dir(dir))
    }
}

/// The format of a subcommand's output.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Writes a value to standard output as one line of JSON.
pub fn print_json(value: &impl serde::Serialize) -> io::Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string(value)?)
}

/// The library to load.
pub enum Target {
    Library(OsString),
    Fixture(&'static Fixture, Unpacked),
}

/// What is made of a run.
pub trait Story {
    /// A phase is over, with these events. `printed`: what the loaded code wrote to standard output meanwhile.
    fn part(&mut self, phase: Phase<'_>, events: Vec<Event>, printed: &str) -> io::Result<()>;

    /// The run is over, with this result. The answer is that of the command.
    fn over(&mut self, result: Result<(), Failure>) -> Result<(), Failure>;
}

/// A phase of the run. It is told when it is over.
pub enum Phase<'p> {
    /// The library was opened, or the load failed.
    Load { took: Duration },
    /// One of the calls that a fixture describes was made.
    Call { text: &'p str, result: &'p Result<String, Failure> },
    /// The library was closed.
    Close,
}

impl Subject {
    /// The library or the fixture that the arguments name; without a name the fixture `add`.
    pub fn target(&self) -> Result<Target, Failure> {
        Target::of(self.library.as_deref(), self.fixture.as_deref())
    }

    /// The same as one side of `trace --against`: the words of the command line once more.
    pub fn as_side(&self) -> Side {
        let mut side = match (&self.library, &self.fixture) {
            (Some(library), _) => library
                .to_str()
                .map_or_else(|| Side { title: shown(library), arguments: vec![library.clone()] }, Side::of),
            (None, fixture) => Side::of(fixture.as_deref().unwrap_or("add")),
        };
        let flags = [("--lazy", self.lazy), ("--no-run", self.no_run)];
        for (flag, _) in flags.iter().filter(|(_, is_set)| *is_set) {
            side.title.push_str(&format!(" {flag}"));
            side.arguments.push(flag.into());
        }
        for dir in &self.search.dirs {
            side.title.push_str(&format!(" -L {}", shown(dir)));
            side.arguments.extend(["-L".into(), dir.into()]);
        }
        side
    }

    /// Loads the library, makes the calls of a fixture, and closes it. The story is told to its end in any case: if the
    /// library's code crashes, ends the process or runs for too long, that is the result, and the process ends behind it.
    pub fn run(&self, target: &Target, story: &mut dyn Story) -> Result<(), Failure> {
        let result = self.run_all(target, story);
        story.over(result)
    }

    fn run_all(&self, target: &Target, story: &mut dyn Story) -> Result<(), Failure> {
        let recorder = Arc::new(Recorder::with_capacity(1 << 16));
        let bind = if self.lazy { Bind::Lazy } else { Bind::Now };
        let loader = self.search.loader().bind(bind).probe(recorder.clone());
        let mut run = Run { recorder, limit: self.timeout, story };

        let start = Instant::now();
        let load = |story: &mut dyn Story, _: &_, events, printed: &_| {
            story.part(Phase::Load { took: start.elapsed() }, events, printed)
        };
        let loaded = run.phase(load, || {
            if self.no_run {
                return loader.prepare(target.name()).map(Loaded::Prepared).map_err(Failure::from);
            }
            // SAFETY: the user asks for this library's code to run.
            unsafe { loader.open(target.name()) }.map(Loaded::Open).map_err(Failure::from)
        })??;
        let mut others = Others { loader: &loader, open: Vec::new() };
        let mut failed = None;
        if let (Loaded::Open(library), Target::Fixture(fixture, files)) = (&loaded, target) {
            for text in fixture.calls {
                let call = |story: &mut dyn Story, result: &_, events, printed: &_| {
                    story.part(Phase::Call { text, result }, events, printed)
                };
                let result = run.phase(call, || others.make(text, library, files))?;
                failed = failed.or(result.err());
            }
        }
        run.phase(
            |story, _, events, printed| story.part(Phase::Close, events, printed),
            || {
                drop(others);
                drop(loaded);
                Ok(())
            },
        )??;
        failed.map_or(Ok(()), Err)
    }
}

/// A run, and what is made of it.
struct Run<'s> {
    recorder: Arc<Recorder>,
    limit: Option<u32>,
    story: &'s mut dyn Story,
}

impl Run<'_> {
    /// Runs a phase, in which foreign code may run, and tells it by `part`.
    fn phase<R>(
        &mut self,
        part: impl Fn(&mut dyn Story, &Result<R, Failure>, Vec<Event>, &str) -> io::Result<()>,
        act: impl FnOnce() -> Result<R, Failure>,
    ) -> Result<Result<R, Failure>, Failure> {
        let mut capture = Some(Capture::begin()?);
        let mut tell = |story: &mut dyn Story, result: &Result<R, Failure>| {
            let printed = capture.take().map_or(Ok(String::new()), Capture::end)?;
            part(story, result, self.recorder.take(), &printed)
        };
        let mut ended = |ended| {
            let result = Err(Failure::Ended(ended));
            let told = tell(self.story, &result).map_err(Failure::Io);
            let result = told.and(result.map(drop));
            let _ = crate::end(self.story.over(result).map(|()| true));
        };
        let result = foreign::watch(self.limit, &mut ended, act)?;
        tell(self.story, &result)?;
        Ok(result)
    }
}

impl Target {
    /// The library, else the fixture, else the fixture `add`.
    pub fn of(library: Option<&OsStr>, fixture: Option<&str>) -> Result<Target, Failure> {
        if let Some(library) = library {
            refuse_what_never_ends(library)?;
            return Ok(Target::Library(library.into()));
        }
        let fixture = Fixture::named(fixture.unwrap_or("add")).map_err(Failure::Usage)?;
        Ok(Target::Fixture(fixture, fixture.unpack()?))
    }

    /// The name or path to give to the loader.
    pub fn name(&self) -> OsString {
        match self {
            Target::Library(name) => name.clone(),
            Target::Fixture(fixture, files) => files.path(fixture.main).into(),
        }
    }

    /// The name for people: that of a fixture is without its temporary folder.
    pub fn title(&self) -> String {
        match self {
            Target::Library(name) => shown(name),
            Target::Fixture(fixture, _) => fixture.main.into(),
        }
    }
}

/// Refuses a path to a pipe, a socket or a device. To open or to read such a file may never come to an end.
fn refuse_what_never_ends(library: &OsStr) -> Result<(), Failure> {
    let is_path = library.as_bytes().contains(&b'/');
    let Some(file) = fs::metadata(library).ok().filter(|_| is_path) else { return Ok(()) };
    let kind = file.file_type();
    let kinds = [(kind.is_fifo(), "a named pipe"), (kind.is_socket(), "a socket")];
    let devices = [(kind.is_char_device() || kind.is_block_device(), "a device")];
    let what = kinds.iter().chain(&devices).find(|(is_it, _)| *is_it);
    what.map_or(Ok(()), |(_, what)| {
        Err(Failure::Refused(format!("{} is {what}, and a library is a file", shown(library))))
    })
}

/// The library. It stays loaded as long as this value lives.
#[allow(dead_code, reason = "a prepared library is only kept, never used")]
enum Loaded {
    Open(Library),
    Prepared(dlscope::Prepared),
}

/// The other libraries of a fixture that its calls need.
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
