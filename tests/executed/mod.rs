//! Which lines of dlscope's own source a process executes, seen from outside: a debugger's way, without a debugger.
//!
//! The traced process runs the same program as the test, so the DWARF line table of the test is that of the process too.
//! A breakpoint is set on each row of that table that belongs to `src/`, and taken out at its first hit. So it makes no
//! difference how often a line runs, and a load stops a few thousand times; single steps would be hundreds of thousands.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use addr2line::Loader;
use goblin::elf64::header::Header;
use goblin::elf64::program_header::{PF_X, PT_LOAD, ProgramHeader};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use proc_macro2::LineColumn;

mod source;
pub use source::lines_around;

/// Lines of dlscope's source by file; the file is relative to the package, as in `src/loader.rs`.
pub type Lines = BTreeMap<String, BTreeSet<u32>>;

/// The instruction `int3`.
const BREAKPOINT: u8 = 0xcc;

/// In the traced process: runs `body` so that its parent sees it.
pub fn under_watch(body: impl FnOnce()) {
    // What hangs must not hang the test too.
    // SAFETY: unistd.h; the signal's default action ends the process.
    unsafe { nix::libc::alarm(60) };
    ptrace::traceme().expect("this thread asks its parent to trace it");
    // The parent sets its breakpoints here.
    raise(Signal::SIGSTOP).unwrap();
    body();
    raise(Signal::SIGSTOP).unwrap();
}

/// Starts `command`, which is this very program, and gives the lines of `src/` that its call of [`under_watch`]
/// executes: those with code that ran, and those that belong to the same piece of source ([`lines_around`]).
pub fn executed_lines(command: &mut Command) -> Lines {
    let program = Program::read();
    let mut child = command.spawn().unwrap();
    let thread = match wait() {
        WaitStatus::Stopped(thread, Signal::SIGSTOP) => thread,
        other => panic!("the traced process: {other:?}"),
    };
    ptrace::setoptions(thread, ptrace::Options::PTRACE_O_EXITKILL).unwrap();
    let memory = fs::File::options().read(true).write(true).open(format!("/proc/{}/mem", child.id())).unwrap();
    let bias = entry_point(child.id()).wrapping_sub(program.entry);

    let mut original = program.text.clone();
    for (start, bytes) in &mut original {
        memory.read_exact_at(bytes, start.wrapping_add(bias)).unwrap();
    }
    let mut patched = original.clone();
    for row in &program.rows {
        *byte_at(&mut patched, *row) = BREAKPOINT;
    }
    write(&memory, &patched, bias);

    let mut hit = BTreeSet::new();
    loop {
        ptrace::cont(thread, None).unwrap();
        match wait() {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                let mut registers = ptrace::getregs(thread).unwrap();
                // `int3` is one byte long and has been executed: back to its start.
                registers.rip -= 1;
                let address = registers.rip.wrapping_sub(bias);
                assert!(program.rows.contains(&address), "{address:#x} has no breakpoint of ours");
                hit.insert(address);
                memory.write_all_at(&[*byte_at(&mut original, address)], registers.rip).unwrap();
                ptrace::setregs(thread, registers).unwrap();
            }
            WaitStatus::Stopped(_, Signal::SIGSTOP) => break,
            other => panic!("the traced process: {other:?}"),
        }
    }
    write(&memory, &original, bias);
    ptrace::detach(thread, None).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "the traced process: {status}");
    program.lines_of(&hit)
}

fn byte_at(text: &mut BTreeMap<u64, Vec<u8>>, address: u64) -> &mut u8 {
    let (start, bytes) = text.range_mut(..=address).next_back().unwrap();
    &mut bytes[(address - start) as usize]
}

fn write(memory: &fs::File, text: &BTreeMap<u64, Vec<u8>>, bias: u64) {
    for (start, bytes) in text {
        memory.write_all_at(bytes, start.wrapping_add(bias)).unwrap();
    }
}

/// The next stop or end of what this thread has started or traces; other tests' processes are not its business.
fn wait() -> WaitStatus {
    loop {
        let status = waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD));
        if status != Err(Errno::EINTR) {
            return status.unwrap();
        }
    }
}

/// Where the kernel let the process begin: `e_entry` plus the load bias of the program.
fn entry_point(pid: u32) -> u64 {
    const AT_ENTRY: u64 = 9; // <elf.h>
    let auxv = fs::read(format!("/proc/{pid}/auxv")).unwrap();
    let words: Vec<_> = auxv.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
    words.chunks_exact(2).find(|pair| pair[0] == AT_ENTRY).expect("AT_ENTRY")[1]
}

/// The program of the test, as its file describes it.
struct Program {
    entry: u64,
    /// Room for the bytes of each executable segment, by `p_vaddr`.
    text: BTreeMap<u64, Vec<u8>>,
    /// Where the rows of the line table begin that have to do with dlscope's source.
    rows: BTreeSet<u64>,
    debug_info: Loader,
}

impl Program {
    fn read() -> Program {
        let path = env::current_exe().unwrap();
        let mut file = fs::File::open(&path).unwrap();
        let header = Header::from_fd(&mut file).unwrap();
        let segments = ProgramHeader::from_fd(&mut file, header.e_phoff, header.e_phnum.into()).unwrap();
        let executable = segments.iter().filter(|segment| segment.p_type == PT_LOAD && segment.p_flags & PF_X != 0);
        let text: BTreeMap<_, _> =
            executable.map(|segment| (segment.p_vaddr, vec![0; segment.p_filesz as usize])).collect();
        let debug_info = Loader::new(&path).unwrap();
        let mut program = Program { entry: header.e_entry, text, rows: BTreeSet::new(), debug_info };
        program.rows = program.all_rows().filter(|row| !program.places(*row).is_empty()).collect();
        assert!(!program.rows.is_empty(), "the test was built without debug information");
        program
    }

    /// Where the rows of the line table begin.
    fn all_rows(&self) -> impl Iterator<Item = u64> {
        self.text.iter().flat_map(|(start, bytes)| {
            let rows = self.debug_info.find_location_range(*start, start + bytes.len() as u64).unwrap();
            rows.map(|(address, ..)| address)
        })
    }

    /// The places in dlscope's source that the code at `address` is of: where it was written, and each place that it
    /// was inlined to.
    fn places(&self, address: u64) -> Vec<(&str, LineColumn)> {
        let mut places = Vec::new();
        let mut frames = self.debug_info.find_frames(address).unwrap();
        while let Some(frame) = frames.next().unwrap() {
            places.extend(frame.location.as_ref().and_then(own));
        }
        places
    }

    fn lines_of(&self, addresses: &BTreeSet<u64>) -> Lines {
        let mut places = BTreeMap::<_, BTreeSet<_>>::new();
        for (file, place) in addresses.iter().flat_map(|address| self.places(*address)) {
            places.entry(file).or_default().insert(place);
        }
        let text = |file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let lines = places.iter().map(|(file, places)| (file.to_string(), lines_around(&text(file), places)));
        // A file of which only a derived implementation ran has none.
        lines.filter(|(_, lines)| !lines.is_empty()).collect()
    }
}

/// File and place, if they are of dlscope's source.
fn own<'a>(at: &addr2line::Location<'a>) -> Option<(&'a str, LineColumn)> {
    let file = Path::new(at.file?).strip_prefix(env!("CARGO_MANIFEST_DIR")).ok()?;
    // Line 0 is code that belongs to no line. In DWARF columns count from 1 too.
    let (line, column) = (at.line.filter(|line| *line > 0)?, at.column?.saturating_sub(1));
    let place = LineColumn { line: line as usize, column: column as usize };
    file.starts_with("src").then_some((file.to_str()?, place))
}
