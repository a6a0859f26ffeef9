//! The contract of `<dlfcn.h>`, an item a program: each file in `tests/contract/` is a program in C or C++ together with
//! the libraries that it opens. It runs on glibc and on dlscope, and both must print the same.
//!
//! A file says how to build itself: every `//@ ` line is a line of shell in a folder of its own, where `lib NAME FLAGS`
//! makes a library of the same file, `program FLAGS` says how the program itself is made (`in_c`: in C, whose libraries are
//! in C++), and `$CC` compiles. Some lines mean something else: `ours` (glibc crashes, or is not asked: what dlscope prints is in the lines `prints …`),
//! `untraced` (too many events to write down), and `traced WORDS` (an event with these words was told).

mod preloading;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use preloading::{plain, preloaded, text};

const PREAMBLE: &str = r#"
lib() { name=$1; shift; $CC -shared -fPIC -o "$name.so" "$SOURCE" "$@"; }
flags=
program() { flags="$*"; }
in_c() { CC="cc -x c $CFLAGS"; }
"#;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contract"))
}

/// The text behind `//@ ` of every such line.
fn directives(source: &str) -> Vec<&str> {
    source.lines().filter_map(|line| line.strip_prefix("//@ ")).collect()
}

/// Builds what the file describes, in a folder of its own. `None`: there is no compiler.
fn build(file: &str, lines: &[&str]) -> Option<PathBuf> {
    let compiler = if file.ends_with(".cc") { "c++" } else { "cc" };
    if Command::new(compiler).arg("--version").output().is_err() {
        assert!(env::var_os("CI").is_none(), "{compiler} is not installed");
        eprintln!("skipped: {compiler} is not installed");
        return None;
    }
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contract").join(file);
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).unwrap();
    let script = format!("{PREAMBLE}{}\n$CC -pthread -o program $flags \"$SOURCE\"\n", lines.join("\n"));
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", &script]).current_dir(&place);
    let flags = format!("-O1 -w -I{}", folder().display());
    shell.env("CC", format!("{compiler} {flags}")).env("CFLAGS", flags).env("SOURCE", folder().join(file));
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{file} cannot be built: {}", text(&output));
    Some(place)
}

fn run(file: &str) {
    let source = fs::read_to_string(folder().join(file)).unwrap();
    let (marks, lines): (Vec<&str>, Vec<&str>) = directives(&source).into_iter().partition(|line| {
        ["ours", "untraced", "prints", "traced"].contains(&line.split(' ').next().unwrap_or_default())
    });
    let Some(place) = build(file, &lines) else { return };
    let with = text(&preloaded(&["./program"], |command| {
        command.current_dir(&place);
    }));
    let expected = if marks.contains(&"ours") {
        let prints = marks.iter().filter_map(|mark| mark.strip_prefix("prints "));
        std::iter::once("exit status: 0").chain(prints).map(|line| format!("{line}\n")).collect()
    } else {
        // glibc now and then crashes where a signal handler takes a backtrace while libraries go: then again.
        let outputs = std::iter::repeat_with(|| {
            text(&plain(&["./program"], |command| {
                command.current_dir(&place);
            }))
        });
        outputs.take(5).find(|output| !output.starts_with("signal:")).unwrap_or_default()
    };
    assert!(expected.lines().count() > 2, "{file} says little by itself:\n{expected}");
    same(file, &with, &expected);
    if !marks.contains(&"untraced") {
        // Once more with somebody who listens: the other one of the two compiled copies. And proof that it was us.
        let traced = text(&preloaded(&["./program"], |command| {
            command.current_dir(&place).env("DLSCOPE_TRACE", "trace.txt");
        }));
        same(file, &traced, &expected);
        let trace = fs::read_to_string(place.join("trace.txt")).unwrap_or_default();
        let wanted = marks.iter().filter_map(|mark| mark.strip_prefix("traced ")).chain(["publish"]);
        for words in wanted {
            let has = |line: &str| words.split(' ').all(|word| line.contains(word));
            assert!(trace.lines().any(has), "{file}: no event {words}\n{trace}");
        }
    }
}

/// The first line that differs, with those before it.
fn same(file: &str, got: &str, expected: &str) {
    if got == expected {
        return;
    }
    let equal = got.lines().zip(expected.lines()).take_while(|(got, expected)| got == expected).count();
    let rest = |all: &str| all.lines().skip(equal).take(8).collect::<Vec<_>>().join("\n    ");
    let before: Vec<&str> = expected.lines().take(equal).collect();
    let before = before[before.len().saturating_sub(5)..].join("\n    ");
    panic!("{file}\n    {before}\n  then expected:\n    {}\n  but got:\n    {}", rest(expected), rest(got));
}

macro_rules! programs {
    ($($name:ident: $file:literal;)*) => {
        const PROGRAMS: &[&str] = &[$($file),*];
        $(#[test]
        fn $name() {
            run($file);
        })*
    };
}

programs! {
    modes_of_dlopen_and_what_handles_mean: "flags.c";
    words_of_dlerror: "errors.c";
    handles_that_were_closed: "handles.c";
    handles_that_never_were: "garbage.c";
    whose_symbols_default_next_and_a_handle_mean: "scopes.c";
    dladdr_says_whose_an_address_is: "addresses.c";
    dlinfo_says_what_is_known_of_an_object: "info.c";
    numbers_of_modules_are_those_of_tls_get_addr: "module_ids.c";
    dl_iterate_phdr_visits_every_object: "iterate.c";
    tables_for_unwinders_of_every_kind: "frames.c";
    the_list_of_ld_so_stays_as_it_is: "r_debug.c";
    what_goes_when_and_what_stays: "unload.c";
    the_end_of_the_process_and_what_a_library_left_there: "exit.c";
    namespaces_at_the_end_of_the_process: "exit_spaces.c";
    constructors_and_destructors_that_call_exit: "exit_inside.c";
    opens_inside_of_opens_and_those_that_fail: "nested.c";
    constructors_that_wait_for_their_turn: "pending.c";
    threads_open_and_close_at_the_same_time: "threads.c";
    fork_while_others_load: "fork.c";
    namespaces_of_dlmopen: "dlmopen.c";
    first_calls_lose_nothing: "first_calls.c";
    exceptions_pass_first_calls: "first_calls_throw.cc";
    files_that_linkers_and_tools_write: "files.c";
    opens_that_glibc_refuses_or_finishes: "opens.c";
    what_the_tests_of_other_loaders_ask_for: "survey.c";
    what_the_hosts_objects_say_and_forks_in_forks: "host_objects.c";
    what_a_call_leaves_alone_and_text_for_crash_handlers: "more.c";
    constructors_that_throw: "throws.cc";
    a_thread_that_ends_keeps_its_library: "thread_keys.c";
    trap_2_living_beside_glibc: "trap02_beside_glibc.c";
    trap_3_descriptors_keep_every_register: "trap03_descriptors.c";
    trap_4_destructors_of_thread_local_variables: "trap04_thread_destructors.cc";
    trap_5_versions: "trap05_versions.c";
    trap_7_unwinding_while_libraries_come_and_go: "trap07_unwinding.cc";
    trap_8_who_comes_back_in: "trap08_reentry.c";
    trap_8_callbacks_that_look_up: "trap08_callbacks.c";
    trap_9_names_and_files: "trap09_names.c";
    trap_10_of_which_there_is_one: "trap10_one_of_each.cc";
}

#[test]
fn every_program_is_run() {
    let files = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut missing: Vec<String> = files.filter(|file| !file.ends_with(".h") && !PROGRAMS.contains(&&**file)).collect();
    missing.sort();
    assert!(missing.is_empty(), "no test runs {missing:?}");
}
