//! The system calls in the stream are the ones that the kernel saw: between two marker calls, the events equal
//! what `strace` prints.

mod common;
mod fixtures;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use dlscope::{Loader, Recorder};

const CALLS: &str = "openat,pread64,fstat,newfstatat,mmap,mprotect,madvise,munmap,close";

/// In the child: one load between two calls that cannot be missed, and what our events say of it.
#[test]
fn load_between_markers() {
    let Ok(library) = env::var("LOAD_BETWEEN_MARKERS") else { return };
    let recorder = Arc::new(Recorder::with_capacity(1 << 16));
    let loader = Loader::new().probe(recorder.clone());
    let _ = fs::File::open("/marker-begin");
    // SAFETY: a fixture or a library of the system.
    let library = unsafe { loader.open(library) }.unwrap_or_else(|e| panic!("{e}"));
    library.close().unwrap();
    let _ = fs::File::open("/marker-end");
    for line in recorder.take().iter().filter_map(|e| e.kind.strace()) {
        println!("event\t{line}");
    }
}

/// A call without what strace or we leave out: the bytes read, the parts of `struct stat`.
fn normal(line: &str) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let (call, result) = line.rsplit_once(" = ").unwrap_or((&line, ""));
    let result = result.split(" (").next().unwrap_or_default();
    if let Some(rest) = call.strip_prefix("pread64(") {
        let (fd, length) = (rest.split(',').next().unwrap(), rest.rsplit(", ").take(2).collect::<Vec<_>>());
        return format!("pread64({fd}, …, {}, {}) = {result}", length[1], length[0]);
    }
    if call.starts_with("newfstatat(") || call.starts_with("fstat(") {
        let fd: String = call.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        let size: String =
            call.split("st_size=").nth(1).unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        return format!("fstat({fd}) size {size} = {result}");
    }
    format!("{call} = {result}")
}

/// The allocator's own: anonymous, not fixed, readable. Ours are reserved without access. And what undoes them.
fn without_the_allocators(lines: Vec<String>) -> Vec<String> {
    let mut allocated: Vec<String> = Vec::new();
    let mut kept = Vec::new();
    for line in lines {
        if line.starts_with("mmap(NULL") && line.contains("MAP_ANONYMOUS") && !line.contains("PROT_NONE") {
            allocated.push(line.rsplit(" = ").next().unwrap().into());
        } else if !allocated.iter().any(|address| line.starts_with(&format!("munmap({address},"))) {
            kept.push(line);
        }
    }
    kept
}

fn compare(library: &Path) -> usize {
    let trace =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("strace-{}.txt", library.file_name().unwrap().display()));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-s", "256", "-e", &format!("trace={CALLS}"), "-o"]).arg(&trace);
    command.arg(env::current_exe().unwrap()).args(["load_between_markers", "--exact", "--nocapture"]);
    // All memory from one heap that grows by `brk`.
    command.env("LOAD_BETWEEN_MARKERS", library).env("MALLOC_ARENA_MAX", "1");
    let output = command.output().expect("strace runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let events: Vec<String> = printed.lines().filter_map(|l| l.split_once("event\t")).map(|(_, l)| normal(l)).collect();

    let text = fs::read_to_string(&trace).unwrap();
    let between =
        text.lines().skip_while(|l| !l.contains("/marker-begin")).skip(1).take_while(|l| !l.contains("/marker-end"));
    // Whether a folder is there, whether the cache has changed, and how long it is, are no events of their own.
    let mut is_cache = false;
    let between = between.filter(|l| {
        let asked = l.contains("newfstatat(AT_FDCWD") || is_cache && l.contains("newfstatat(");
        is_cache = l.contains("/etc/ld.so.cache");
        !asked
    });
    // Each line begins with the thread's number.
    let calls = between.map(|l| normal(l.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' '))).collect();
    let calls = without_the_allocators(calls);
    for (index, (event, call)) in events.iter().zip(&calls).enumerate() {
        assert_eq!(event, call, "{}: call {index}: the event, and what the kernel saw", library.display());
    }
    assert_eq!(events.len(), calls.len(), "{}: {events:#?}\n{calls:#?}", library.display());
    events.len()
}

#[test]
fn events_equal_what_the_kernel_saw() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(env::var_os("CI").is_none(), "strace is not installed");
        eprintln!("skipped: strace is not installed");
        return;
    }
    for name in ["add", "bss", "aligned-2m", "diamond", "text-relocations", "readonly-bss"] {
        // Open, look, read, three mappings, close, seal, unmap.
        assert!(compare(&fixtures::unpack(name, "strace")) >= 9, "{name}");
    }
    for name in ["libz.so.1", "libsqlite3.so.0"] {
        assert!(compare(Path::new(name)) >= 10, "{name}");
    }
}
