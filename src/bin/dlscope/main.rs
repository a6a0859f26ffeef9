//! The command `dlscope`: the loader, watched. One file a subcommand; all of them only read events.

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod atlas;
mod call;
mod capture;
mod compare;
mod demangle;
mod exec;
mod fixture_call;
mod fixtures;
mod narrate;
mod page;
mod profile;
mod report;
mod signature;
mod step;
mod story;
mod subject;
mod telling;
mod trace;
mod walk;
mod why;
mod words;

// Exceptions of loaded libraries find their way, without a lock.
dlscope::interpose!();

/// Watch a shared library being loaded: every path tried, every byte patched, every call made.
///
/// dlscope is a loader of its own. It does what the system's `dlopen` does, in eleven stages (find, read, plan, map,
/// dynamic, needed, versions, relocate, seal, publish, init), and tells about each step.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = "\
Examples:
  dlscope trace                                a first look: a small library that is built in
  dlscope trace libz.so.1                      the same for a library of yours
  dlscope step libz.so.1                       walk through it, forwards and backwards
  dlscope report libz.so.1                     the whole walk as one file for a browser
  dlscope why ./libmine.so                     why it does not load, and what would help
  dlscope call libm.so.6 'cos(f64) -> f64' 0   load, call, print the result: 1

Exit status: 0 all went well; 1 the load or the call failed; 2 the command line was wrong.
Colour is used on a terminal only, and never if NO_COLOR is set."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Trace(trace::Args),
    Step(step::Args),
    Report(report::Args),
    Why(why::Args),
    Call(call::Args),
    Compare(compare::Args),
    Exec(exec::Args),
    Profile(profile::Args),
    /// Load one library by one loader and write what came of it to a file
    #[command(hide = true)]
    CompareChild(compare::ChildArgs),
    /// Open one library once and write what it took to a file
    #[command(hide = true)]
    ProfileChild(profile::ChildArgs),
}

/// Why the command did not do what it was asked.
pub enum Failure {
    /// The load, a lookup or a close failed.
    Load(Box<dlscope::Error>),
    /// The command line was wrong in a way that only shows later than in its grammar.
    Usage(String),
    /// The library is there, and what was asked of it makes no sense.
    Refused(String),
    /// The kernel refused something that has nothing to do with loading.
    Io(io::Error),
}

impl From<dlscope::Error> for Failure {
    fn from(error: dlscope::Error) -> Failure {
        Failure::Load(Box::new(error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Trace(args) => trace::run(&args),
        Command::Step(args) => step::run(&args),
        Command::Call(args) => call::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Exec(args) => exec::run(&args),
        Command::Compare(args) => match compare::run(&args) {
            Ok(true) => Ok(()),
            // The report has said it all.
            Ok(false) => return ExitCode::FAILURE,
            Err(failure) => Err(failure),
        },
        Command::Why(args) => match why::run(&args) {
            Ok(true) => Ok(()),
            // The explanation has said it all.
            Ok(false) => return ExitCode::FAILURE,
            Err(failure) => Err(failure),
        },
        Command::CompareChild(args) => compare::run_child(&args),
        Command::Profile(args) => profile::run(&args),
        Command::ProfileChild(args) => profile::run_child(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough: `dlscope trace | head`.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Load(error)) => complain(&error.to_string(), 1),
        Err(Failure::Io(error)) => complain(&error.to_string(), 1),
        Err(Failure::Refused(message)) => complain(&message, 1),
        Err(Failure::Usage(message)) => complain(&message, 2),
    }
}

fn complain(message: &str, status: u8) -> ExitCode {
    use io::Write as _;
    let red = anstyle::AnsiColor::Red.on_default().bold();
    // If even this cannot be written there is nobody left to tell.
    let _ = writeln!(anstream::stderr(), "{red}error:{red:#} {message}");
    ExitCode::from(status)
}
