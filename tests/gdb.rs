//! gdb sees loaded libraries: `docs/gdb/dlscope.py`, in a program that uses the crate and under the preload.

use std::path::Path;
use std::process::Command;

const LIBRARY: &str = "\
int counter = 40;
int seen_inner(int step) {
    int local = counter + step;
    counter = local;
    return local;
}
static int one(void) { return 1; }
static int (*seen_choose(void))(void) {
    return one;
}
int chosen(void) __attribute__((ifunc(\"seen_choose\")));
int (*kept)(void) = chosen;
__attribute__((constructor)) void outer(void) {
    seen_inner(2);
}
";

const PROGRAM: &str = "\
#include <dlfcn.h>
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    dlsym(0, \"counter\"); // in everybody's scope: a handle is answered at once
    return library ? dlclose(library) : 1;
}
";

/// What gdb says to `commands`, of a library of a few lines that `program` opens.
fn gdb(dir: &Path, commands: &[&str], program: &[&str]) -> Option<String> {
    let is_there = Command::new("gdb").arg("--version").output().is_ok();
    assert!(is_there || std::env::var_os("CI").is_none(), "gdb is not installed");
    if !is_there {
        eprintln!("skipped: gdb is not installed");
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/gdb/dlscope.py");
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", &format!("source {script}")]);
    // Names that nothing else has: those of the library itself.
    gdb.args(["-ex", "set debuginfod enabled off", "-ex", "set confirm off"]);
    commands.iter().for_each(|command| {
        gdb.args(["-ex", command]);
    });
    let output = gdb.arg("--args").args(program).current_dir(dir).output().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

fn build(dir: &Path) {
    for (name, source, arguments) in [
        ("seen.c", LIBRARY, &["-shared", "-fPIC", "-o", "libseen.so"][..]),
        ("program.c", PROGRAM, &["-o", "program"][..]),
    ] {
        std::fs::write(dir.join(name), source).unwrap();
        let status = Command::new("cc").args(["-g", "-O0"]).args(arguments).arg(name).current_dir(dir).status();
        assert!(status.unwrap().success());
    }
}

fn assert_all(output: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(output.contains(wanted), "no {wanted:?} in:\n{output}");
    }
}

#[test]
fn a_breakpoint_by_name_in_a_program_that_uses_the_crate() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let commands = ["break seen_inner", "run", "backtrace", "next", "print local", "list", "info dlscope"];
    let program = [env!("CARGO_BIN_EXE_dlscope"), "trace", "./libseen.so"];
    let Some(output) = gdb(dir.path(), &commands, &program) else { return };
    // From the library through the loader to the program.
    let frames = ["seen_inner (step=2) at seen.c:3", "outer () at seen.c:14", "dlscope::load::init::run", "main"];
    assert_all(&output, &frames);
    assert_all(&output, &["$1 = 42", "counter = local;", "Load bias", "libseen.so"]);
}

#[test]
fn a_breakpoint_by_line_under_the_preload_and_the_unload() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let dlscope = Path::new(env!("CARGO_BIN_EXE_dlscope"));
    let preload = dlscope.parent().unwrap().join("examples/libdlscope_preload.so");
    let environment = format!("set environment LD_PRELOAD {}", preload.display());
    let by_line = "break seen.c:4";
    let commands = [
        &environment,
        "set startup-with-shell off",
        by_line,
        "run",
        "backtrace",
        "print local",
        "continue",
        "info dlscope",
    ];
    let Some(output) = gdb(dir.path(), &commands, &["./program", "./libseen.so"]) else { return };
    assert_all(&output, &["seen.c:4", "outer () at seen.c:14", "main (argc=2", "program.c:3", "$1 = 42"]);
    assert_all(&output, &["exited normally", "dlscope has loaded no library yet."]);
}

#[test]
fn a_backtrace_inside_a_resolver() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let commands = ["break seen_choose", "run", "backtrace"];
    let program = [env!("CARGO_BIN_EXE_dlscope"), "trace", "./libseen.so"];
    let Some(output) = gdb(dir.path(), &commands, &program) else { return };
    assert_all(&output, &["seen_choose () at seen.c:9", "dlscope::load::relocate::resolve::second_pass", "main"]);
}

/// Under the preload library at `preload`, a program stops at every stage.
fn stops_at_every_stage_under(preload: &Path) {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let environment = format!("set environment LD_PRELOAD {}", preload.display());
    let mut commands = vec![environment.as_str(), "set startup-with-shell off", "break main", "run"];
    let stages = "find read plan map dynamic needed versions relocate seal publish init lookup close";
    let breaks: Vec<String> = stages.split(' ').map(|stage| format!("dlscope-break-stage {stage}")).collect();
    commands.extend(breaks.iter().map(String::as_str));
    commands.extend(["continue"; 30]);
    let Some(output) = gdb(dir.path(), &commands, &["./program", "./libseen.so"]) else { return };
    let functions = [
        "load::find::Search::run",
        "load::read::headers",
        "load::plan::plan",
        "load::map::map",
        "load::dynamic::object",
        "load::needed::Needed::next",
        "load::versions::check",
        "load::relocate::first_pass",
        "load::seal::seal",
        "load::publish::publish",
        "load::init::run",
        "library::lookup::address",
        "load::close::release",
    ];
    let stops: Vec<&str> =
        output.lines().filter(|l| l.starts_with("Breakpoint ") && l.contains(", dlscope::")).collect();
    for function in functions {
        let stop = format!(", dlscope::{function} (");
        assert!(stops.iter().any(|line| line.contains(&stop)), "no stop at {function} in:\n{output}");
    }
    assert_all(&output, &["exited normally"]);
}

#[test]
fn a_program_stops_at_every_stage_under_the_preload() {
    let dlscope = Path::new(env!("CARGO_BIN_EXE_dlscope"));
    stops_at_every_stage_under(&dlscope.parent().unwrap().join("examples/libdlscope_preload.so"));
}

/// The names are as stable in the optimised library, which `dlscope exec` uses.
#[test]
fn a_program_stops_at_every_stage_under_the_preload_of_a_release_build() {
    let target = Path::new(env!("CARGO_BIN_EXE_dlscope")).ancestors().nth(2).unwrap();
    let preload = target.join("release/examples/libdlscope_preload.so");
    if !preload.exists() {
        assert!(std::env::var_os("CI").is_none(), "no {}", preload.display());
        eprintln!("skipped: `cargo build --release --example dlscope_preload` makes {}", preload.display());
        return;
    }
    stops_at_every_stage_under(&preload);
}

/// Where nobody watches, the loop of the chapter on relocation is the one that runs: gdb stops at its store.
#[test]
fn a_silent_load_stops_in_the_relocation_loop() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/load/relocate.rs")).unwrap();
    let store = |line: &str| line.contains("self.data.store(relocation.place, kind.word(");
    let line = 1 + source.lines().position(store).expect("the store of the loop");
    let example = Path::new(env!("CARGO_BIN_EXE_dlscope")).parent().unwrap().join("examples/open_and_call");
    let stop = format!("src/load/relocate.rs:{line}");
    let commands = [&*format!("break {stop}"), "run", "delete", "continue"];
    let Some(output) = gdb(dir.path(), &commands, &[example.to_str().unwrap(), "./libseen.so", "outer"]) else {
        return;
    };
    // One of several, if the compiler has put the loop's body into more than one place: "Breakpoint 1.1".
    let stopped = |line: &str| line.starts_with("Breakpoint 1") && line.ends_with(&format!(" at {stop}"));
    assert!(output.lines().any(stopped), "no stop at {stop} in:\n{output}");
    assert_all(&output, &["exited normally"]);
}

#[test]
fn every_stage_of_the_loader_has_its_breakpoint() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let stages = "find read plan map dynamic needed versions relocate seal publish init lookup close";
    let commands: Vec<String> = stages.split(' ').map(|stage| format!("dlscope-break-stage {stage}")).collect();
    let mut commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    commands.extend(["delete", "dlscope-break-stage find", "dlscope-break-stage relocate", "run", "backtrace 1"]);
    commands.extend(["continue", "backtrace 1", "dlscope-break-stage nonsense"]);
    let program = [env!("CARGO_BIN_EXE_dlscope"), "trace", "./libseen.so"];
    let Some(output) = gdb(dir.path(), &commands, &program) else { return };
    let set = output.lines().filter(|line| line.starts_with("Breakpoint ") && line.contains(" at 0x")).count();
    assert!(set >= 13 && !output.contains("pending"), "{set} breakpoints\n{output}");
    let stops = ["#0  dlscope::load::find::Search::run", "#0  dlscope::load::relocate::first_pass"];
    assert_all(&output, &stops);
    assert_all(&output, &["the stages are: find read"]);
}
