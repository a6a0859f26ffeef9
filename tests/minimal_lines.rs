//! How much of dlscope a learner meets who follows one load, and whether what `step` shows is part of it.
//!
//! The load is that of the fixture `add`, with no probe, as the first one of its process: `Library::open`, `get`, a call
//! of the function. Constructors of the program that run before `main` are not part of it.
//!
//! **How lines are counted.** A row of the program's line table counts if the processor came to it; so does each call
//! that the row's code was inlined through. That gives places that have code. They are widened to what a reader takes as
//! one piece, in the manner of line coverage: the signature and braces of a function that ran; all lines of a statement
//! that ran, but not the branches, match arms, loop bodies and closures inside of it that did not. Lines without a token
//! (blank ones, comments) never count, nor do type definitions, `impl` lines, constants outside of functions and derived
//! code. The compiler makes no code at all for a few conversions that are always inlined; they are not seen.

mod executed;
mod fixtures;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::c_int;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use dlscope::{Library, Loader, Recorder};
use executed::{Lines, executed_lines, lines_around, under_watch};
use proc_macro2::LineColumn;

const MOST_LINES: usize = 2_350;
const MOST_FILES: usize = 42;

/// In a process that a test starts, which runs just that test: the path of the library that it is to load.
const LIBRARY: &str = "DLSCOPE_TEST_LIBRARY";

/// In such a process: the library's close is watched as well.
const CLOSED: &str = "DLSCOPE_TEST_CLOSED";

/// What precedes each line that the watched load tells its parent.
const SHOWN: &str = "shown: ";

type Add = unsafe extern "C" fn(c_int, c_int) -> c_int;

fn call(library: &Library) {
    // SAFETY: the type is that of the fixture's source.
    let sum = unsafe { library.get::<Add>("add").unwrap()(40, 2) };
    assert_eq!(sum, 42);
}

/// Runs the test `name` in a process of its own, where [`LIBRARY`] is set.
fn itself(name: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    // What is in the environment changes what is done: `LD_LIBRARY_PATH` must be split, `LD_BIND_NOW` obeyed.
    command.env_clear().env(LIBRARY, fixtures::unpack("add", "minimal_lines"));
    command
}

/// What a silent load executes, and if `closed` the way back, too.
fn silent_load(closed: bool) -> Lines {
    let mut command = itself("who_follows_one_silent_load_meets_few_lines_and_files");
    if closed {
        command.env(CLOSED, "1");
    }
    executed_lines(&mut command)
}

#[test]
fn who_follows_one_silent_load_meets_few_lines_and_files() {
    if let Some(path) = env::var_os(LIBRARY) {
        // SAFETY: the fixture's constructor only counts.
        let open_and_call = || {
            // SAFETY: the fixture's constructor only counts.
            let library = unsafe { Library::open(&path).unwrap() };
            call(&library);
            library
        };
        if env::var_os(CLOSED).is_some() {
            under_watch(|| drop(open_and_call()));
        } else {
            let mut library = None;
            under_watch(|| library = Some(open_and_call()));
        }
        return;
    }
    let executed = silent_load(false);
    let lines: usize = executed.values().map(BTreeSet::len).sum();
    let mut files: Vec<_> = executed.iter().map(|(file, lines)| (lines.len(), file)).collect();
    files.sort_by(|a, b| b.cmp(a));
    let table: String = files.iter().map(|(lines, file)| format!("{lines:6}  {file}\n")).collect();
    let summary = format!("a silent load executes {lines} lines in {} files of dlscope:\n{table}", files.len());
    println!("{summary}");
    assert!(
        lines <= MOST_LINES && files.len() <= MOST_FILES,
        "more than {MOST_LINES} lines or {MOST_FILES} files: {summary}"
    );
}

#[test]
fn every_line_that_step_shows_as_the_one_that_did_it_is_executed_in_a_silent_load() {
    if let Some(path) = env::var_os(LIBRARY) {
        let recorder = Arc::new(Recorder::default());
        // SAFETY: the fixture's constructor only counts.
        let library = unsafe { Loader::new().probe(recorder.clone()).open(&path).unwrap() };
        call(&library);
        drop(library);
        for event in recorder.events() {
            let kind = format!("{:?}", event.kind);
            let kind = kind.split([' ', '(']).next().unwrap();
            println!("\n{SHOWN}{}:{} {}, {kind}", event.source.file, event.source.line, event.stage);
        }
        return;
    }
    let name = "every_line_that_step_shows_as_the_one_that_did_it_is_executed_in_a_silent_load";
    let output = itself(name).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let mut shown = BTreeMap::<_, BTreeSet<_>>::new();
    for (source, what) in text.lines().filter_map(|line| line.strip_prefix(SHOWN)?.split_once(' ')) {
        shown.entry(source).or_default().insert(what);
    }
    assert!(!shown.is_empty(), "the watched load told nothing:\n{text}");

    let executed = silent_load(true);
    let is_executed = |source: &str| {
        let (file, line) = source.rsplit_once(':').unwrap();
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists(), "{source} is no file of the package");
        executed.get(file).is_some_and(|lines| lines.contains(&line.parse().unwrap()))
    };
    let others = shown.iter().filter(|(source, _)| !is_executed(source));
    let others: Vec<_> = others.map(|(source, what)| format!("  {source} ({what:?})")).collect();
    let many = shown.len();
    assert!(others.is_empty(), "of {many} lines shown, a silent load does not execute these:\n{}", others.join("\n"));
}

#[test]
fn places_with_code_are_widened_to_statements_but_not_to_branches_that_did_not_run() {
    let text = "
        /// A comment.
        fn ran(
            x: u8,
        ) -> u8 {
            if x == 0 {
                let reason = \"set up early\";
                fail(reason);
            }
            let last = call(

                x, // a comment
                || {
                    never()
                },
            );
            match last {
                0 => 1,
                _ => 2,
            }
        }
        fn did_not() {}
    ";
    // The comparison, the constant of the branch, the call, and the second arm.
    let places = [(6, 15), (7, 29), (10, 23), (19, 21)].map(|(line, column)| LineColumn { line, column });
    let lines = lines_around(text, &places.into());
    assert_eq!(Vec::from_iter(lines), [3, 4, 5, 6, 10, 12, 13, 15, 16, 17, 19, 20, 21]);
}
