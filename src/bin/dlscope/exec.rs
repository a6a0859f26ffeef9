//! `dlscope exec`: runs a program in which dlscope's functions replace libc's `dlopen` and its kin.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::bytes::shown;

const LIBRARY: &str = "libdlscope_preload.so";

/// Run a program with dlscope's `dlopen` in place of libc's
///
/// The program runs unchanged, with libdlscope_preload.so in LD_PRELOAD: dlscope's functions replace its dlopen, dlsym,
/// dlclose and their kin, also in the programs that it starts. The exit status is that of the program.
#[derive(clap::Args)]
pub struct Args {
    /// Write the events of every load to FILE: JSON lines if its name ends in .json or .jsonl, else text; `-` is
    /// standard error, and `%p` in the name becomes the process id
    #[arg(long, value_name = "FILE")]
    trace: Option<OsString>,
    /// The path of libdlscope_preload.so [default: DLSCOPE_PRELOAD, else beside this program, in examples/ beside it,
    /// or in ../lib]
    #[arg(long, value_name = "PATH")]
    preload: Option<PathBuf>,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "PROGRAM", allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let library = find(args.preload.as_deref())?;
    let mut preload = library.into_os_string();
    if let Some(others) = env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        preload.push(":");
        preload.push(others);
    }
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(Failure::Usage("no program is given".into()));
    };
    let mut command = Command::new(program);
    command.args(arguments).env("LD_PRELOAD", preload);
    if let Some(file) = &args.trace {
        command.env("DLSCOPE_TRACE", file);
    }
    // execvp(3) returns only if it failed.
    let error = command.exec();
    Err(Failure::Refused(format!("{}: {error}", shown(program))))
}

fn find(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let given = given.map(Path::to_owned).or_else(|| env::var_os("DLSCOPE_PRELOAD").map(Into::into));
    let own = env::current_exe()?;
    let beside = own.parent().unwrap_or(Path::new("."));
    let places = match given {
        Some(path) => vec![path],
        None => vec![beside.join(LIBRARY), beside.join("examples").join(LIBRARY), beside.join("../lib").join(LIBRARY)],
    };
    let found = places.iter().find_map(|path| path.canonicalize().ok());
    found.ok_or_else(|| {
        let tried: String = places.iter().map(|p| format!("\n       tried {}", p.display())).collect();
        let hint = "build it with `cargo build --release --example dlscope_preload`, or name it with --preload";
        Failure::Usage(format!("{LIBRARY} is not there{tried}\n       {hint}"))
    })
}
