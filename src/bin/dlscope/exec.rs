//! `dlscope exec`: runs a program in which dlscope's functions replace libc's `dlopen` and its kin.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

use goblin::container::Ctx;
use goblin::elf::Elf;
use goblin::elf::header::EM_X86_64;
use goblin::elf::program_header::{PT_INTERP, ProgramHeader};
use nix::unistd::{AccessFlags, Gid, Uid, access};

use crate::Failure;
use crate::bytes::shown;

const LIBRARY: &str = "libdlscope_preload.so";

/// Run a program with dlscope's `dlopen` in place of libc's
///
/// The program runs unchanged, with libdlscope_preload.so in LD_PRELOAD: dlscope's functions replace its dlopen, dlsym,
/// dlclose and their kin, also in the programs that it starts. The exit status is that of the program. A warning says
/// so if nothing of it will be seen: a static program, one for musl, one with the rights of another user.
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
    if let Some(reason) = file_of(program).and_then(|file| unseen(&file, true).ok().flatten()) {
        let yellow = anstyle::AnsiColor::Yellow.on_default().bold();
        writeln!(anstream::stderr(), "{yellow}warning:{yellow:#} {reason}")?;
    }
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

/// The file that execvp(3) runs.
fn file_of(program: &OsStr) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(program.into());
    }
    let path = env::var_os("PATH")?;
    let runs = |file: &PathBuf| file.is_file() && access(file, AccessFlags::X_OK).is_ok();
    env::split_paths(&path).map(|folder| folder.join(program)).find(runs)
}

/// Why a program's loads will not be seen, if that is so. `script`: a script is judged by the program that runs it.
fn unseen(file: &Path, script: bool) -> io::Result<Option<String>> {
    let name = file.display();
    let opened = File::open(file)?;
    let metadata = opened.metadata()?;
    let head = &mut [0; 512];
    let length = opened.read_at(head, 0)?;
    let head = &head[..length];
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii_start();
        let interpreter = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        let interpreter = Path::new(OsStr::from_bytes(interpreter));
        return if script { unseen(interpreter, false) } else { Ok(None) };
    }
    let Ok(header) = Elf::parse_header(head) else { return Ok(None) };
    if header.e_machine != EM_X86_64 || header.e_phentsize != 56 {
        return Ok(Some(format!(
            "{name} is a program for another processor or of 32 bits: it cannot take dlscope's library"
        )));
    }
    let mut table = vec![0; usize::from(header.e_phnum) * 56];
    opened.read_exact_at(&mut table, header.e_phoff)?;
    let headers = ProgramHeader::parse(&table, 0, header.e_phnum.into(), Ctx::default());
    let Some(interp) = headers.map_err(io::Error::other)?.into_iter().find(|header| header.p_type == PT_INTERP) else {
        return Ok(Some(format!(
            "{name} is a static program: it has no ld.so that could take dlscope's library, and nothing of it will be seen"
        )));
    };
    // Longer than any path.
    let mut interpreter = vec![0; interp.p_filesz.min(4096) as usize];
    opened.read_exact_at(&mut interpreter, interp.p_offset)?;
    let interpreter = String::from_utf8_lossy(&interpreter);
    let interpreter = interpreter.trim_end_matches('\0');
    if !interpreter.contains("ld-linux") {
        let whose = if interpreter.contains("ld-musl") { "musl" } else { "another C library" };
        return Ok(Some(format!(
            "{name} is a program for {whose} ({interpreter}): dlscope's library needs glibc, and nothing will be seen, or it \
             does not even start"
        )));
    }
    // ld.so then takes only libraries of its default folders, by name (ld.so(8), "Secure-execution mode").
    let other_user = metadata.mode() & 0o4000 != 0 && metadata.uid() != Uid::current().as_raw();
    let other_group = metadata.mode() & 0o2000 != 0 && metadata.gid() != Gid::current().as_raw();
    Ok((other_user || other_group).then(|| {
        format!("{name} runs with the rights of another user: ld.so takes no library from LD_PRELOAD, and nothing will be seen")
    }))
}
