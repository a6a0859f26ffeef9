//! `dlscope step`: a load, walked through in the terminal, forwards and backwards.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, DisableMouseCapture, EnableMouseCapture, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use ratatui::layout::Size;

use crate::Failure;
use crate::subject::Subject;
use crate::walk::Walk;

mod app;
mod colours;
mod help;
mod hex;
mod panes;
mod screen;

use app::App;

/// Walk through a load in the terminal, forwards and backwards, event by event
#[derive(clap::Args)]
#[command(after_help = "\
The library is really loaded, once, and closed again; then its record is walked through, so going back is exact.
Without LIB a small C library is taken that is built into this command.

Keys: → ← event, ] [ stage, n N next of this type, / search, g go to an event or address, m memory, ? all keys, q quit

Examples:
  dlscope step                          a first look
  dlscope step --fixture ifunc          another built-in library
  dlscope step libz.so.1 --event 100    begin at an event
  dlscope step ./libmine.so --no-run    do not run any of its code")]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Begin at event N, counted from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    event: u64,
    /// Let the mouse wheel step, and a click on a stage go there; the terminal's own selecting then needs Shift
    #[arg(long)]
    mouse: bool,
}

/// Set by SIGINT and SIGTERM: the terminal must be put back before we go. (After SIGHUP there is none, so that one just
/// ends the process.)
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
    let mut walk = Walk::record(&args.subject)?;
    walk.go(usize::try_from(args.event - 1).unwrap_or(usize::MAX));
    end_on_signals()?;
    // Also sets a panic hook that puts the terminal back.
    let terminal = ratatui::try_init()?;
    let mut app = App::new(walk);
    let result = show(terminal, &mut app, args.mouse);
    ratatui::restore();
    result?;
    // What went wrong with the load is said where it stays to be read.
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

/// Draws, waits for something to happen, does what it says.
fn follow(terminal: &mut DefaultTerminal, app: &mut App) -> io::Result<()> {
    while !app.quit {
        // So that a terminal never shows half a screen.
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

/// Waits; `false` if there is nothing to read, but to draw anew: the size has changed (the signal that tells may have
/// come before anybody listened for it), or the process was asked to end.
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
