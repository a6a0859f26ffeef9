//! `dlscope trace`: loads a library and tells what the loader did, in the order in which it happened.

use std::io;

use dlscope::Event;

use crate::Failure;
use crate::against::{self, Side};
use crate::compare;
use crate::fixtures::FIXTURES;
use crate::page::{Page, Table, dim, symbol};
use crate::subject::{Format, Phase, Story, Subject, Target};
use crate::telling::Telling;

/// Load a library and tell every step: paths tried, bytes mapped, words patched, code run
#[derive(clap::Args)]
#[command(after_help = "\
Without LIB, dlscope loads a small C library that is built into this command, and calls its functions.

Examples:
  dlscope trace                                      a first look
  dlscope trace --fixture diamond                    another built-in library
  dlscope trace libsqlite3.so.0 --symbol malloc      only what concerns one symbol
  dlscope trace ./libmine.so --no-run                run none of the library's code
  dlscope trace plt --against 'plt --lazy'            two loads, and only what differs
  dlscope trace libz.so.1 --format json | jq .event  the raw events, see docs/events.md")]
pub struct Args {
    #[command(flatten)]
    pub subject: Subject,
    /// List the built-in libraries, and what each of them shows
    #[arg(long)]
    list_fixtures: bool,
    /// Tell everything: every relocation, every event, dependencies as fully as the library itself
    #[arg(long)]
    pub all: bool,
    /// Tell only what concerns the symbol NAME: each lookup of it, each slot that gets its address
    #[arg(long, value_name = "NAME")]
    pub symbol: Option<String>,
    /// Say what each kind of event means where it first appears
    #[arg(long)]
    pub explain: bool,
    /// Load B as well, and tell only what differs; B is a library or a built-in one, with options such as --lazy
    #[arg(long, value_name = "B", conflicts_with_all = ["all", "symbol", "explain"])]
    against: Option<String>,
    /// How to tell it; JSON is one event a line, see docs/events.md
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.list_fixtures {
        return list_fixtures().map_err(Failure::Io);
    }
    let subject = &args.subject;
    if let Some(other) = &args.against {
        return against::run([subject.as_side(), Side::of(other)], args.format);
    }
    let target = subject.target()?;
    let telling = Some(Telling::begin(args, &target)?);
    subject.run(&target, &mut Trace { subject, target: &target, telling, closed: false })
}

/// A run that is told on standard output.
struct Trace<'t> {
    subject: &'t Subject,
    target: &'t Target,
    /// `None` once it is finished.
    telling: Option<Telling>,
    closed: bool,
}

impl Story for Trace<'_> {
    fn part(&mut self, phase: Phase<'_>, events: Vec<Event>, printed: &str) -> io::Result<()> {
        self.closed = matches!(phase, Phase::Close);
        self.telling.as_mut().map_or(Ok(()), |telling| telling.part(&phase, &events, printed))
    }

    fn over(&mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        let Some(mut telling) = self.telling.take() else { return result };
        // A comparison would not be fair: the system's loader does not search the directories of -L.
        if self.closed && !self.subject.no_run && self.subject.search.dirs.is_empty() {
            telling.verdict(|| compare::one_line(&self.target.name()));
        }
        telling.finish(result.is_ok())?;
        result
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
