//! `dlscope step`: shows the record of a load in the terminal, event by event, forwards and backwards.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, DisableMouseCapture, EnableMouseCapture, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use ratatui::layout::Size;

use crate::Failure;
use crate::foreign;
use crate::quiz::questions;
use crate::subject::Subject;
use crate::walk::Walk;

mod app;
mod colours;
mod help;
mod hex;
mod panes;
mod quiz;
mod screen;

use app::App;
use quiz::Quiz;

/// Walk through a load in the terminal, forwards and backwards, event by event
#[derive(clap::Args)]
#[command(after_help = "\
dlscope loads the library once, closes it, and then walks through the record, so a step back is exact.
Without LIB it takes a small C library that is built into this command.

Keys: → ← event, ] [ stage, n N next of this type, / search, g go to an event or address, w words, m memory, ? all keys

Examples:
  dlscope step                          a first look
  dlscope step --fixture ifunc          another built-in library
  dlscope step libz.so.1 --event 100    begin at event 100
  dlscope step --quiz                   guess before you look: questions before some events, and a score
  dlscope step ./libmine.so --no-run    run none of the library's code")]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Begin at event N, counted from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    event: u64,
    /// Step with the mouse wheel, and go to a stage by a click on it; to select text you then need Shift
    #[arg(long)]
    mouse: bool,
    /// Ask what will happen, before it happens
    #[arg(long)]
    quiz: bool,
    /// Write the answers and the score to FILE, as JSON
    #[arg(long, value_name = "FILE", requires = "quiz")]
    result: Option<PathBuf>,
}

/// Set by SIGINT and SIGTERM, because the terminal must be restored before the process ends. SIGHUP ends the process at
/// once: there is no terminal any more.
static ASKED_TO_END: AtomicBool = AtomicBool::new(false);

/// How long to wait for a key before looking whether the process was asked to end.
const PATIENCE: Duration = Duration::from_millis(200);

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let message =
            "step needs a terminal\n       `dlscope trace` tells the same as text, `dlscope report` as a page";
        return Err(Failure::Usage(message.into()));
    }
    Walk::record(&args.subject, &mut |walk| walk_through(args, walk))
}

fn walk_through(args: &Args, mut walk: Walk) -> Result<(), Failure> {
    foreign::may_take_long();
    walk.go(usize::try_from(args.event - 1).unwrap_or(usize::MAX));
    end_on_signals()?;
    // This also sets a panic hook that restores the terminal.
    let terminal = ratatui::try_init()?;
    let quiz = args.quiz.then(|| Quiz::new(questions(&walk), args.result.clone()));
    let mut app = App::new(walk, quiz);
    let result = show(terminal, &mut app, args.mouse);
    ratatui::restore();
    result?;
    if let Some(quiz) = &app.quiz {
        quiz.finish(&app.walk.title)?;
    }
    // The error of a failed load is printed after the screen is gone, so that it stays readable.
    app.walk.error.take().map_or(Ok(()), Err)
}

fn show(mut terminal: DefaultTerminal, app: &mut App, mouse: bool) -> io::Result<()> {
    if mouse {
        execute!(io::stdout(), EnableMouseCapture)?;
    }
    let result = follow(&mut terminal, app);
    if mouse {
        execute!(io::stdout(), DisableMouseCapture)?;
    }
    result
}

/// Draws the screen, waits for a key, and carries it out, until the user quits.
fn follow(terminal: &mut DefaultTerminal, app: &mut App) -> io::Result<()> {
    while !app.quit {
        // Without this a terminal may show half a screen.
        execute!(io::stdout(), BeginSynchronizedUpdate)?;
        let drawn = terminal.draw(|frame| screen::draw(app, frame))?.area.as_size();
        execute!(io::stdout(), EndSynchronizedUpdate)?;
        if something_happens(terminal, drawn)? {
            match event::read()? {
                Event::Key(key) => app.key(key),
                Event::Mouse(mouse) => app.mouse(mouse),
                _ => {}
            }
        }
        app.quit |= ASKED_TO_END.load(Ordering::Relaxed);
    }
    Ok(())
}

/// Waits for a key. Returns `false` if the screen must be drawn anew instead: its size has changed (the signal that
/// says so may have come too early to be heard), or the process was asked to end.
fn something_happens(terminal: &DefaultTerminal, drawn: Size) -> io::Result<bool> {
    while !event::poll(PATIENCE)? {
        if ASKED_TO_END.load(Ordering::Relaxed) || terminal.size()? != drawn {
            return Ok(false);
        }
    }
    Ok(true)
}

extern "C" fn take_note(_: i32) {
    ASKED_TO_END.store(true, Ordering::Relaxed);
}

fn end_on_signals() -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(take_note), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is allowed at any moment.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}
