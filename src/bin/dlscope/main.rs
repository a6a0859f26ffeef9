//! The command `dlscope`: it shows what the loader does. Each subcommand has a file or a folder of its own.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod against;
mod atlas;
mod bytes;
mod call;
mod capture;
mod child;
mod compare;
mod demangle;
mod exec;
mod explain;
mod fixture_call;
mod fixtures;
mod foreign;
mod host;
mod invoke;
mod narrate;
mod page;
mod profile;
mod quiz;
mod report;
mod signature;
mod step;
mod story;
mod subject;
mod telling;
mod trace;
mod uses;
mod walk;
mod why;
mod words;

// So that the unwinder finds the tables of loaded libraries when they throw exceptions, without taking a lock.
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
  dlscope trace                                a first look, at a small library that is built in
  dlscope trace libz.so.1                      every step of loading this library
  dlscope step libz.so.1                       walk through the load, forwards and backwards
  dlscope report libz.so.1                     the same walk as one file for a browser
  dlscope explain GOT                          what a word of dynamic linking means
  dlscope why ./libmine.so                     why a library does not load, and what would help
  dlscope call libm.so.6 'cos(f64) -> f64' 0   load, call, print the result: 1

Exit status: 0 success; 1 the load or the call failed; 2 the command line was wrong.
dlscope uses colour on a terminal only, and never if NO_COLOR is set."
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
    Explain(explain::Args),
    Why(why::Args),
    Call(call::Args),
    Compare(compare::Args),
    Exec(exec::Args),
    Profile(profile::Args),
    /// Load one library and write what `trace --against` tells of it to a file
    #[command(hide = true)]
    AgainstChild(against::ChildArgs),
    /// Load one library with one loader and write the result to a file
    #[command(hide = true)]
    CompareChild(compare::ChildArgs),
    /// Open one library once and write how long that took to a file
    #[command(hide = true)]
    ProfileChild(profile::ChildArgs),
    /// Load one library by the system's dlopen without its constructors, and write what it says to a file
    #[command(hide = true)]
    WhyChild(why::ChildArgs),
}

/// Why a subcommand failed.
pub enum Failure {
    /// The load, a lookup or a close failed.
    Load(Box<dlscope::Error>),
    /// The command line is wrong in a way that clap cannot see.
    Usage(String),
    /// The library's code ended the process.
    Ended(foreign::Ended),
    /// The request makes no sense for this library, or a child process failed.
    Refused(String),
    /// A system call failed that is not part of a load.
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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Load(error) => error.fmt(f),
            Failure::Io(error) => error.fmt(f),
            Failure::Ended(ended) => ended.fmt(f),
            Failure::Usage(message) | Failure::Refused(message) => f.write_str(message),
        }
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Trace(args) => trace::run(&args),
        Command::Step(args) => step::run(&args),
        Command::Call(args) => call::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Exec(args) => exec::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Compare(args) => return end(compare::run(&args)),
        Command::Why(args) => return end(why::run(&args)),
        Command::AgainstChild(args) => against::run_child(&args),
        Command::CompareChild(args) => compare::run_child(&args),
        Command::ProfileChild(args) => profile::run_child(&args),
        Command::WhyChild(args) => why::run_child(&args),
    };
    end(done.map(|()| true))
}

/// The exit status for the result of a subcommand. `Ok(false)` means that it ran, and printed bad news.
fn end(result: Result<bool, Failure>) -> ExitCode {
    let (failure, status) = match result {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => return ExitCode::FAILURE,
        // The reader of our output closed the pipe early, as in `dlscope trace | head`.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(failure @ Failure::Usage(_)) => (failure, 2),
        Err(failure) => (failure, 1),
    };
    let red = anstyle::AnsiColor::Red.on_default().bold();
    // If standard error cannot be written either, nobody is left to hear of it.
    let _ = writeln!(anstream::stderr(), "{red}error:{red:#} {failure}");
    ExitCode::from(status)
}
