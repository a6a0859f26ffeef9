//! The command, from outside: what it prints, where, and with which exit status.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn dlscope(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dlscope")).args(arguments).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is UTF-8")
}

/// Runs the command, expects this exit status, and gives its standard output.
fn stdout_of(arguments: &[&str], status: i32) -> String {
    let output = dlscope(arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "dlscope {arguments:?}\n{out}\n{err}");
    out.into()
}

/// Runs the command, expects this exit status and nothing on standard output, and gives its standard error.
fn complaint_of(arguments: &[&str], status: i32) -> String {
    let output = dlscope(arguments);
    assert_eq!(output.status.code(), Some(status), "dlscope {arguments:?}: {output:?}");
    assert_eq!(text(&output.stdout), "", "dlscope {arguments:?} should print nothing");
    text(&output.stderr).into()
}

/// The stream of one run: its first line, and the events.
fn stream(arguments: &[&str], status: i32) -> (Value, Vec<Value>) {
    let mut all = vec!["trace", "--format", "json"];
    all.extend(arguments);
    let out = stdout_of(&all, status);
    let mut lines = out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    (lines.next().expect("a first line"), lines.collect())
}

const STAGES: [&str; 11] = [
    "1 find",
    "2 read",
    "3 plan",
    "4 map",
    "5 dynamic",
    "6 needed",
    "7 versions",
    "8 relocate",
    "9 seal",
    "10 publish",
    "11 init",
];

// ── trace, for people ────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_first_command_tells_every_stage_in_order_and_calls_the_library() {
    let out = stdout_of(&["trace"], 0);
    let begins: Vec<_> = STAGES.iter().map(|stage| out.find(&format!("\n{stage} "))).collect();
    assert!(begins.iter().all(Option::is_some), "{begins:?}\n{out}");
    assert!(begins.is_sorted(), "{begins:?}\n{out}");
    for part in ["call        add(40, 2) = 42  as it should be", "it prints  hello from libadd.so", "close  "] {
        assert!(out.contains(part), "{part:?} is missing in\n{out}");
    }
    assert!(!out.contains("expected"), "a call had another result than it should\n{out}");
}

#[test]
fn every_number_of_a_relocation_is_the_one_that_its_event_has() {
    let out = stdout_of(&["trace", "libz.so.1", "--all"], 0);
    let bias = out.split("B = 0x").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("the load bias");
    let bias = u64::from_str_radix(bias, 16).expect("a number");
    let number = |word: &str| word.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let mut checked = 0;
    for line in out.lines().filter(|line| line.contains("→ 0x") && line.contains(&format!("= {bias:#x} + "))) {
        let after = line.split("→ ").nth(1).and_then(|rest| number(rest.split_whitespace().next()?));
        let addend = line.split(" + ").nth(1).and_then(|rest| number(rest.split_whitespace().next()?));
        assert_eq!(after, addend.map(|addend| bias + addend), "{line}");
        checked += 1;
    }
    assert!(checked > 10, "only {checked} relative relocations in\n{out}");
}

#[test]
fn all_tells_what_is_left_out_otherwise() {
    let short = stdout_of(&["trace", "libz.so.1"], 0);
    let long = stdout_of(&["trace", "libz.so.1", "--all"], 0);
    assert!(short.contains(" more (--all)"), "{short}");
    assert!(!long.contains("(--all)"), "{long}");
    assert!(long.lines().count() > short.lines().count());
}

#[test]
fn one_symbol_is_followed_through_lookup_and_slot() {
    let out = stdout_of(&["trace", "libz.so.1", "--symbol", "malloc"], 0);
    for part in ["malloc, version GLIBC_2.2.5, gnu hash 0x0d39ad3d", "bucket", "found", "R_X86_64_JUMP_SLOT", "slot 0x"]
    {
        assert!(out.contains(part), "{part:?} is missing in\n{out}");
    }
    assert!(!out.contains("R_X86_64_RELATIVE"), "{out}");
    let none = stdout_of(&["trace", "libz.so.1", "--symbol", "nobody_has_this_name"], 0);
    assert!(none.contains("No lookup and no relocation of this load names \"nobody_has_this_name\""), "{none}");
}

#[test]
fn explain_says_what_each_kind_of_event_means_once() {
    let out = stdout_of(&["trace", "--explain"], 0);
    assert_eq!(out.matches("relocation: A relocation: the word at r_offset gets").count(), 1, "{out}");
    let read_on =
        "read on: mmap(2) · glibc _dl_map_segments · musl map_library · docs/chapters/04-map.md#the-reservation";
    assert!(out.contains(read_on), "{read_on:?} is missing in\n{out}");
}

#[test]
fn a_word_is_explained_with_a_command_that_shows_it() {
    let got = stdout_of(&["explain", "got"], 0);
    assert!(got.starts_with("GOT") && got.contains("at a distance") || got.contains("the linker knew"), "{got}");
    assert!(got.contains("see it   dlscope trace --fixture pointers"), "{got}");
    assert!(got.contains("read on  dlscope explain 08-relocate  \"The formula\""), "{got}");
    // A word of several parts needs no quotes, and one list has them all.
    assert!(stdout_of(&["explain", "load", "bias"], 0).starts_with("load bias"));
    let all = stdout_of(&["explain"], 0);
    assert!(all.contains("bloom filter") && all.contains("09-seal"), "{all}");
    let complaint = complaint_of(&["explain", "bloom", "filtre"], 2);
    assert!(complaint.contains("close to it: bloom filter"), "{complaint}");
}

#[test]
fn a_chapter_is_shown_as_text() {
    let chapter = stdout_of(&["explain", "09-seal"], 0);
    assert!(chapter.contains("9 seal: what needs no writing any more"), "{chapter}");
    assert!(chapter.contains("$ dlscope trace") && !chapter.contains("```") && !chapter.contains("## "), "{chapter}");
    for name in ["README", "tls.md", "lazy", "why", "events", "gdb"] {
        assert!(stdout_of(&["explain", name], 0).lines().count() > 30, "{name}");
    }
}

#[test]
fn calls_that_are_left_for_their_first_time_are_counted_and_named() {
    let out = stdout_of(&["trace", "--fixture", "plt", "--lazy"], 0);
    let line = "2 functions left for the first call, each slot points back into the PLT: labs, strlen";
    assert!(out.contains(line), "{line:?} is missing in\n{out}");
    assert!(out.contains("calls wait for their first time: GOT[1] = 0x"), "{out}");
}

#[test]
fn a_library_that_stays_after_its_last_use_is_told_with_the_reason() {
    let end = |fixture| stdout_of(&["trace", "--fixture", fixture], 0);
    assert!(end("nodelete").contains("it stays: it was linked with -z nodelete"));
    let unique = end("unique");
    assert!(unique.contains("it stays: its definition of shared_counter (STB_GNU_UNIQUE) is the one"), "{unique}");
    assert!(!end("diamond").contains("it stays"));

    let (_, events) = stream(&["--fixture", "unique"], 0);
    let stays: Vec<_> = events.iter().filter(|event| event["event"] == "stays").map(|event| &event["why"]).collect();
    assert_eq!(stays, [&serde_json::json!({ "unique": "shared_counter" })]);
}

#[test]
fn the_way_from_a_line_of_c_to_a_slot_is_told() {
    // The line, the call, the entry of the PLT, and the slot.
    let plt = stdout_of(&["trace", "--fixture", "plt"], 0);
    assert!(plt.contains(" call in positive (plt.c:") && plt.contains(" → PLT entry 0x"), "{plt}");
    assert!(plt.contains(": jmp [slot]") && plt.contains("return labs(number);"), "{plt}");
    // A slot that code loads itself.
    let pointers = stdout_of(&["trace", "--fixture", "pointers"], 0);
    assert!(pointers.contains(" mov … [slot] in "), "{pointers}");
    let tls = stdout_of(&["trace", "--fixture", "tls-initial-exec"], 0);
    assert!(tls.contains(" mov … [slot] in bump_local (tls-initial-exec.c:"), "{tls}");
    // A library without lines and without names has addresses.
    let libz = stdout_of(&["trace", "libz.so.1", "--no-run"], 0);
    assert!(libz.contains(" call") && libz.contains(" → PLT entry 0x"), "{libz}");
}

#[test]
fn what_every_library_has_is_folded_and_a_slot_for_its_own_function_is_explained() {
    let out = stdout_of(&["trace"], 0);
    assert!(!out.contains("_ITM_") && out.contains("3 weak names of the compiler's start-up files"), "{out}");
    assert!(out.contains("a slot for a function of its own: another object's may come first"), "{out}");
    assert!(stdout_of(&["trace", "--all"], 0).contains("_ITM_registerTMCloneTable"));
    assert!(!stdout_of(&["trace", "--fixture", "plt"], 0).contains("a function of its own"));
}

#[test]
fn the_point_of_a_fixture_is_told_even_where_it_lies_in_a_dependency() {
    let story = stdout_of(&["trace", "--fixture", "first-wins"], 0);
    let of_right = story.split("libright.so: 8 relocations").nth(1).expect("stage 8 tells of libright.so");
    let slot = of_right.lines().nth(1).expect("a line for the slot");
    assert!(slot.trim().starts_with("side ") && slot.contains("libleft.so+0x"), "{slot}");
}

#[test]
fn segments_that_need_no_call_of_their_own_are_told_as_in_place() {
    let story = stdout_of(&["trace"], 0);
    for segment in ["0 R--", "2 R--"] {
        assert!(story.contains(&format!("{segment}  in place already")), "segment {segment}");
    }
    assert!(story.contains("DT_PLTREL DT_RELA"));
    assert!(story.contains("what an adopted library needs was found when the program started"));
}

#[test]
fn a_default_version_is_kept_until_the_end_of_the_search() {
    let story = stdout_of(&["trace", "--fixture", "versions", "--symbol", "foo"], 0);
    let search = story.split("lookup: foo, no version asked for").nth(1).expect("a lookup without a version");
    let search = search.split("\n\n").next().unwrap();
    for words in [
        "symbol 5: the name, version V1, not the default",
        "symbol 6: the name, version V2, the default: kept for the end of the search",
        "the end, so the default counts: symbol 6, version V2: found",
    ] {
        assert!(search.contains(words), "{words:?} in\n{search}");
    }
    let of_slot = story.split("relocate libnew-user.so: foo").nth(1).expect("the lookup of a slot");
    assert!(of_slot.lines().nth(1).unwrap().contains("wanted for slot 0x"), "{of_slot}");
}

#[test]
fn thread_local_variables_are_told_in_words_and_distances_with_their_sign() {
    let out = stdout_of(&["trace", "--fixture", "tls-initial-exec", "--all"], 0);
    assert!(out.contains("in every thread its thread-local variables lie at thread pointer - 0x"), "{out}");
    assert!(out.contains("get their first values: 128 bytes at thread pointer - 0x"), "{out}");
    assert!(!out.contains("0xffffffffffff"), "{out}");
    // No event is told by the name of its kind.
    for fixture in ["tls-initial-exec", "tls-descriptor", "tls-dynamic", "ifunc"] {
        let out = stdout_of(&["trace", "--fixture", fixture], 0);
        let raw = |line: &&str| ["static_tls:", "install_tls:", "relocated:"].iter().any(|kind| line.contains(kind));
        assert_eq!(out.lines().find(raw), None, "{fixture}");
    }
}

#[test]
fn every_fixture_is_told_and_each_of_its_calls_gives_what_it_should() {
    let list = stdout_of(&["trace", "--list-fixtures"], 0);
    let names: Vec<_> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 50, "{list}");
    for name in names {
        let output = dlscope(&["trace", "--fixture", name]);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let refused = out.lines().nth(1).is_some_and(|line| {
            [" (every loader refuses it)", " (dlscope refuses it)"].iter().any(|end| line.ends_with(end))
        });
        let waits = out.lines().nth(1).is_some_and(|line| line.contains(" (waits for the chapter on "));
        assert!(!out.contains("  expected "), "{name}: a call had another result than it should\n{out}");
        match output.status.code() {
            Some(0) => assert!(!refused, "{name} should be refused\n{out}"),
            Some(1) => assert!(refused || waits, "{name}\n{err}\n{out}"),
            other => panic!("{name}: {other:?}\n{err}\n{out}"),
        }
    }
}

#[test]
fn a_load_that_fails_is_told_as_far_as_it_went() {
    let output = dlscope(&["trace", "--fixture", "missing-symbol"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}\n{err}");
    assert!(out.contains("\n8 relocate") && out.contains("\nfailed  "), "{out}");
    assert!(!out.contains("\n11 init"), "{out}");
    assert!(err.starts_with("error: ") && err.contains("undefined symbol: nowhere"), "{err}");
}

/// A library whose constructor does that, in a folder of its own.
fn library_that(does: &str) -> Option<(tempfile::TempDir, String)> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("ends.c");
    let code = format!(
        "#include <stdlib.h>\n#include <unistd.h>\n__attribute__((constructor)) static void begin(void)\n{{ {does}; }}\n"
    );
    fs::write(&source, code).unwrap();
    let library = folder.path().join("ends.so");
    let mut cc = Command::new("cc");
    let output = cc.args(["-g", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
    if output.is_err() {
        assert!(std::env::var_os("CI").is_none(), "cc is not installed");
        eprintln!("skipped: cc is not installed");
        return None;
    }
    assert!(output.unwrap().status.success());
    let library = library.to_str().unwrap().to_string();
    Some((folder, library))
}

#[test]
fn code_that_ends_the_process_does_not_take_the_story_with_it() {
    let crashed = "the library's code crashed: SIGSEGV at ends.so+0x";
    let still = "the library's code still runs after 1 s, at ";
    for (does, said, line) in [
        ("*(volatile int *)8 = 1", crashed, ", in begin, ends.c:4; it touched the address 0x8"),
        ("abort()", "the library's code crashed: SIGABRT at libc.so.6+0x", ""),
        ("exit(3)", "the library's code called exit(3)", ""),
        ("for (;;) pause()", still, ""),
        ("for (;;);", still, ", in begin, ends.c:4"),
    ] {
        let Some((folder, library)) = library_that(does) else { return };
        let limit: &[&str] = if said == still { &["--timeout", "1"] } else { &[] };
        let output = dlscope(&[&["trace", &library], limit].concat());
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{does}: {out}{err}");
        assert!(err.contains(said) && err.contains(line), "{does}: {err}");
        assert!(out.contains("came to no end after"), "{does}: {out}");
        let begun = out.lines().last().unwrap_or_default();
        let last = out.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(begun);
        assert!(last.contains("DT_INIT_ARRAY["), "{does}: {out}");

        let page = folder.path().join("ends.html");
        let output = dlscope(&[&["report", &library, "-o", page.to_str().unwrap()], limit].concat());
        assert_eq!(output.status.code(), Some(1), "{does}: {output:?}");
        assert!(text(&output.stderr).contains(said) && page.exists(), "{does}: {output:?}");

        let output = dlscope(&[&["trace", "--format", "json", &library], limit].concat());
        let last: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
        assert_eq!((output.status.code(), &last["event"]), (Some(1), &"call".into()), "{does}: {last}");
    }
}

#[test]
fn what_is_in_the_process_already_is_not_loaded_again() {
    let out = stdout_of(&["trace", "libc.so.6"], 0);
    assert!(out.contains("\"libc.so.6\" is already in this process"), "{out}");
    assert!(!out.contains("\n4 map"), "{out}");
}

// ── trace, for programs ──────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_would_be_read_for_ever_is_refused_at_once() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let pipe = folder.join(format!("pipe-{}", std::process::id()));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for subcommand in ["why", "trace", "report"] {
        for (file, what) in [("/dev/zero", "a device"), (pipe.to_str().unwrap(), "a named pipe")] {
            let complaint = complaint_of(&[subcommand, file], 1);
            assert!(complaint.contains(what), "{subcommand} {file}: {complaint}");
        }
    }
    fs::remove_file(pipe).unwrap();
}

#[test]
fn the_stream_begins_with_its_version_and_every_event_says_where_it_belongs() {
    let (first, events) = stream(&["libz.so.1"], 0);
    assert_eq!((&first["stream"], &first["version"]), (&"dlscope".into(), &1.into()), "{first}");
    assert_eq!(first["library"], "libz.so.1");
    assert!(events.len() > 100, "only {} events", events.len());
    for event in &events {
        for field in ["seq", "load", "thread"] {
            assert!(event[field].is_u64(), "{field} of {event}");
        }
        for field in ["parent", "object"] {
            assert!(event.get(field).is_some(), "{field} of {event}");
        }
        assert!(event["stage"].is_string() && event["event"].is_string(), "{event}");
        let file = event["source"]["file"].as_str().unwrap_or_default();
        assert!(file.starts_with("src/") && event["source"]["line"].is_u64(), "{event}");
    }
    let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "seq does not ascend: {numbers:?}");
}

#[test]
fn what_a_library_prints_does_not_get_into_the_stream() {
    let output = dlscope(&["trace", "--format", "json"]);
    assert!(text(&output.stdout).lines().all(|line| line.starts_with('{')), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("hello from libadd.so"), "{}", text(&output.stderr));
}

#[test]
fn no_field_of_a_line_is_there_twice() {
    let out = stdout_of(&["trace", "--fixture", "chain", "--format", "json"], 0);
    for line in out.lines() {
        let parsed: serde_json::Map<String, Value> = serde_json::from_str(line).expect("a JSON object");
        // A parser keeps the last of two; so a line that is written again is shorter if there were two.
        let again = serde_json::to_string(&parsed).expect("JSON");
        assert_eq!(again.len(), line.len(), "a field is lost in {line}");
    }
}

#[test]
fn no_run_stops_before_any_code_of_the_library() {
    let (first, events) = stream(&["--fixture", "constructors", "--no-run"], 0);
    assert_eq!(first["run"], false);
    let calls: Vec<_> =
        events.iter().filter(|event| event["event"] == "call" && event["purpose"] != "resolver").collect();
    assert!(calls.is_empty(), "{calls:?}");
    assert!(events.iter().any(|event| event["event"] == "store"), "it should be relocated");
    let out = stdout_of(&["trace", "--fixture", "constructors", "--no-run"], 0);
    assert!(!out.contains("\n11 init") && !out.contains("\ncall") && !out.contains("it prints"), "{out}");
}

#[test]
fn the_page_on_events_documents_every_kind_and_every_field() {
    let page = include_str!("../docs/events.md");
    let mut sections: HashMap<&str, &str> = HashMap::new();
    for section in page.split("\n### `").skip(1) {
        let (kind, rest) = section.split_once('`').expect("a kind in backquotes");
        sections.insert(kind, rest.split("\n## ").next().unwrap_or(rest));
    }
    let source = include_str!("../src/event/show.rs");
    let (_, names) = source.split_once("pub fn name(&self)").expect("Kind::name");
    let (names, _) = names.split_once("pub fn ").expect("the function after Kind::name");
    let names: Vec<_> = names.split('"').skip(1).step_by(2).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in &names {
        assert!(sections.contains_key(name), "docs/events.md has no section for `{name}`");
    }
    let common = ["seq", "load", "parent", "thread", "stage", "object", "source", "event"];
    for arguments in [&["libz.so.1"][..], &["--fixture", "ifunc"], &["--fixture", "nested-open"], &["--fixture", "bss"]]
    {
        for event in stream(arguments, 0).1 {
            let kind = event["event"].as_str().unwrap_or_default();
            let section = sections.get(kind).unwrap_or_else(|| panic!("no section for {event}"));
            for field in event.as_object().expect("an object").keys().filter(|field| !common.contains(&field.as_str()))
            {
                assert!(section.contains(&format!("`{field}`")), "docs/events.md: `{kind}` has a field `{field}`");
            }
        }
    }
}

// ── call ─────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn call_prints_the_result_and_nothing_else() {
    for (arguments, result) in [
        (&["libm.so.6", "cos(f64) -> f64", "0"][..], "1\n"),
        (&["libm.so.6", "pow(f64, f64) -> f64", "2", "-1"], "0.5\n"),
        (&["libm.so.6", "sqrtf(f32) -> f32", "2.25"], "1.5\n"),
        (&["libc.so.6", "labs(i64) -> i64", "-42"], "42\n"),
        (&["libc.so.6", "toupper(i32) -> i32", "0x61"], "65\n"),
        (&["libc.so.6", "strlen(str) -> u64", "five!"], "5\n"),
        (&["libc.so.6", "getenv(str) -> str", "THIS_IS_NOT_SET"], "(null)\n"),
        (&["libc.so.6", "strchr(str, i32) -> str", "a=b", "61"], "=b\n"),
        (&["libc.so.6", "free(ptr)", "null"], ""),
        (&["libz.so.1", "crc32(u64, str, u32) -> u64", "0", "123456789", "9"], "3421780262\n"),
    ] {
        let mut all = vec!["call"];
        all.extend(arguments);
        assert_eq!(stdout_of(&all, 0), result, "{arguments:?}");
    }
    let version = stdout_of(&["call", "libz.so.1", "zlibVersion() -> str"], 0);
    assert!(version.starts_with("1.") && version.trim_end().split('.').count() >= 3, "{version:?}");
}

#[test]
fn what_a_called_function_prints_comes_before_its_result() {
    assert_eq!(stdout_of(&["call", "libc.so.6", "puts(str) -> i32", "first"], 0), "first\n6\n");
}

#[test]
fn a_wrong_call_is_a_usage_error_that_says_what_is_wrong() {
    for (arguments, part) in [
        (&["libm.so.6", "cos(f64 -> f64", "0"][..], "there is no ')' after the types"),
        (&["libm.so.6", "cos(double) -> f64", "0"], "\"double\" is written f64 here"),
        (&["libm.so.6", "cos(f64) -> f64"], "takes 1 argument, not 0"),
        (&["libm.so.6", "cos(f64) -> f64", "1", "2"], "takes 1 argument, not 2"),
        (&["libm.so.6", "cos(f64) -> f64", "one"], "\"one\" is not a number"),
        (&["libc.so.6", "toupper(i32) -> i32", "2147483648"], "2147483648 does not fit into i32"),
        (&["libc.so.6", "f(u8)", "-1"], "-1 does not fit into u8, which goes from 0 to 255"),
    ] {
        let mut all = vec!["call"];
        all.extend(arguments);
        let complaint = complaint_of(&all, 2);
        assert!(complaint.starts_with("error: ") && complaint.contains(part), "{arguments:?}: {complaint}");
    }
}

#[test]
fn a_missing_symbol_or_library_is_a_failure() {
    let complaint = complaint_of(&["call", "libm.so.6", "no_such_function() -> i32"], 1);
    assert!(complaint.contains("no symbol no_such_function"), "{complaint}");
    // What comes near is named.
    let complaint = complaint_of(&["call", "libz.so.1", "zlibVersio() -> str"], 1);
    assert!(complaint.contains("\n       libz.so.1 has zlibVersion"), "{complaint}");
    let complaint = complaint_of(&["call", "libno-such-library.so.1", "f() -> i32"], 1);
    assert!(complaint.contains("libno-such-library.so.1: cannot be found"), "{complaint}");
}

#[test]
fn a_variable_is_not_called() {
    let complaint = complaint_of(&["call", "libc.so.6", "environ() -> i32"], 1);
    assert!(complaint.contains("environ is a variable"), "{complaint}");
}

// ── manners ──────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn help_teaches_and_a_bare_command_is_a_usage_error() {
    let help = stdout_of(&["--help"], 0);
    for part in ["dlscope trace", "dlscope call", "Exit status: 0", "NO_COLOR"] {
        assert!(help.contains(part), "{part:?} is missing in\n{help}");
    }
    let bare = complaint_of(&[], 2);
    assert!(bare.contains("Usage: dlscope"), "{bare}");
    complaint_of(&["trace", "--no-such-option"], 2);
    complaint_of(&["trace", "libz.so.1", "--fixture", "add"], 2);
}

#[test]
fn an_unknown_fixture_is_a_usage_error_that_says_what_there_is() {
    let complaint = complaint_of(&["trace", "--fixture", "diamonds"], 2);
    assert!(complaint.contains("no fixture is called \"diamonds\"") && complaint.contains("diamond?"), "{complaint}");
}

#[test]
fn nothing_is_coloured_that_goes_to_a_file_or_a_pipe() {
    for arguments in [&["trace"][..], &["trace", "nosuch.so"], &["trace", "--list-fixtures"]] {
        let output = dlscope(arguments);
        let escape = |bytes: &[u8]| bytes.contains(&0x1b);
        assert!(!escape(&output.stdout) && !escape(&output.stderr), "dlscope {arguments:?}");
    }
}

#[test]
fn colour_is_for_terminals_and_no_color_takes_it_away() {
    // `script` runs a command on a terminal of its own.
    let on_terminal = |variable: &str| {
        let command = format!("{variable} {} trace --list-fixtures", env!("CARGO_BIN_EXE_dlscope"));
        let script = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output();
        script.ok().filter(|output| output.status.success()).map(|output| output.stdout)
    };
    let Some(plain) = on_terminal("env TERM=xterm NO_COLOR=1") else {
        eprintln!("there is no script(1) here");
        return;
    };
    assert!(!plain.contains(&0x1b), "{}", String::from_utf8_lossy(&plain));
    let coloured = on_terminal("env -u NO_COLOR TERM=xterm").expect("it ran a moment ago");
    assert!(coloured.contains(&0x1b), "{}", String::from_utf8_lossy(&coloured));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_crash() {
    for arguments in [&["trace", "libz.so.1", "--all"][..], &["trace", "libz.so.1", "--format", "json"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dlscope"));
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        // The reader, and with it the pipe, is closed here.
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "dlscope {arguments:?}: {output:?}");
        assert_eq!(text(&output.stderr), "", "dlscope {arguments:?}");
    }
}

#[test]
fn nothing_is_left_in_the_temporary_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [&["trace"][..], &["trace", "--fixture", "missing-symbol"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dlscope"));
        command.args(arguments).env("TMPDIR", folder.path()).output().expect("it runs");
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").flatten().collect();
        assert!(left.is_empty(), "dlscope {arguments:?} left {left:?}");
    }
}

#[test]
fn exec_warns_of_programs_in_which_nothing_will_be_seen() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
    fs::write(at("main.c"), "int main(void) { return 7; }").unwrap();
    // Any file will do: this one is no library, and ld.so says so and goes on.
    fs::write(at("preload.so"), "").unwrap();
    let other_libc = "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1";
    for (name, flags) in [("plain", "-O0"), ("static", "-static"), ("static-pie", "-static-pie"), ("musl", other_libc)]
    {
        let output = Command::new("cc").args([&at("main.c"), flags, "-o", &at(name)]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    fs::write(at("script"), format!("#! {} argument\n", at("static"))).unwrap();
    fs::set_permissions(at("script"), fs::Permissions::from_mode(0o755)).unwrap();
    let exec = |program: &str| dlscope(&["exec", "--preload", &at("preload.so"), "--", &at(program)]);
    for (program, status, said) in [
        ("plain", 7, ""),
        ("static", 7, "static is a static program"),
        ("static-pie", 7, "static-pie is a static program"),
        ("script", 7, "static is a static program"),
        ("musl", 1, "musl is a program for musl (/lib/ld-musl-x86_64.so.1)"),
    ] {
        let output = exec(program);
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(status) || program == "musl", "{program}: {output:?}");
        assert_eq!(told.contains("warning: "), !said.is_empty(), "{program}: {told}");
        assert!(told.contains(said), "{program}: {told}");
    }
}
