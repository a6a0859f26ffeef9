//! `dlscope compare`: what it says of good libraries, of bad ones, and of a loader that is wrong.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::library;
use serde_json::Value;

fn dlscope(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlscope"));
    command.arg("compare").args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The lines of `--format json`, and whether the command was content.
fn compare(arguments: &[&str]) -> (Vec<Value>, bool) {
    let output = dlscope(&[&["--format", "json"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (lines, output.status.success())
}

fn compare_one(arguments: &[&str]) -> (Value, bool) {
    let (mut lines, content) = compare(arguments);
    assert_eq!(lines.len(), 1);
    (lines.remove(0), content)
}

fn fixture(path: &str) -> String {
    format!("{}/fixtures/{path}", env!("OUT_DIR"))
}

/// Builds a library from C.
fn build(name: &str, source: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare");
    fs::create_dir_all(&folder).unwrap();
    let (from, to): (PathBuf, PathBuf) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
    fs::write(&from, source).unwrap();
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&to).arg(&from).status().unwrap();
    assert!(status.success());
    to.to_str().unwrap().into()
}

#[test]
fn a_block_is_found_by_the_slots_of_another_library_that_uses_it() {
    // The library that has the variables refers to none of them itself.
    let owner = build("owner", "__thread int first = 5, second;");
    let user = "extern __thread int first, second; int answer(void) { second = 7; return first * 10 + second; }";
    for (name, flag) in [("described", "-mtls-dialect=gnu2"), ("fixed", "-ftls-model=initial-exec")] {
        let folder = Path::new(&owner).parent().unwrap();
        let (from, to) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
        fs::write(&from, user).unwrap();
        let mut cc = Command::new("cc");
        let status = cc.args(["-shared", "-fPIC", flag, "-o"]).arg(&to).arg(&from).arg(&owner).status().unwrap();
        assert!(status.success());
        let (result, content) = compare_one(&[to.to_str().unwrap()]);
        assert!(content && result["verdict"] == "agree", "{flag}: {result:#}");
    }
}

#[test]
fn it_is_the_same_library_whether_or_not_somebody_watches_its_relocation() {
    let names = ["libz.so.1", "libsqlite3.so.0", "libcrypto.so.3", "libstdc++.so.6"];
    for way in [&[][..], &["--watched"]] {
        let (results, content) = compare(&[way, &names].concat());
        assert!(content, "{way:?}");
        for result in results {
            assert_eq!(result["verdict"], "agree", "{way:?}: {result:#}");
            assert!(result["slots"]["compared"].as_u64().unwrap() >= 70, "{way:?}: {result:#}");
        }
    }
}

#[test]
fn a_good_library_agrees_and_every_part_of_it_was_compared() {
    let (zlib, content) = compare_one(&["libz.so.1"]);
    assert!(content);
    assert_eq!(zlib["verdict"], "agree", "{zlib:#}");
    assert_eq!(zlib["objects"]["compared"], 1);
    for (part, at_least) in [("symbols", 100), ("slots", 50), ("pages", 20)] {
        assert!(zlib[part]["compared"].as_u64().unwrap() >= at_least, "{part}: {zlib:#}");
        assert_eq!(zlib[part]["different"], 0, "{part}: {zlib:#}");
    }
    assert_eq!(zlib["details"], Value::Array(Vec::new()));
}

#[test]
fn the_text_report_says_the_same_and_counts_the_verdicts() {
    let output = dlscope(&["libz.so.1", "libnowhere.so.9"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    let zlib = text.lines().find(|line| line.starts_with("libz.so.1: agree")).unwrap_or_else(|| panic!("{text}"));
    assert!(zlib.contains("1 object, ") && zlib.contains(" slots, ") && zlib.contains(" pages"), "{zlib}");
    assert!(text.contains("libnowhere.so.9: both-refuse"), "{text}");
    assert!(text.contains("2 libraries") && text.contains("1  agree") && text.contains("1  both-refuse"), "{text}");
}

#[test]
fn with_format_json_each_library_has_a_line_with_all_fields_in_the_order_asked() {
    let asked = ["libm.so.6", &fixture("diamond/libdiamond.so"), "libnowhere.so.9", "libz.so.1"];
    let (lines, content) = compare(&asked);
    assert!(content, "{lines:#?}");
    let named: Vec<_> = lines.iter().map(|line| line["library"].as_str().unwrap()).collect();
    assert_eq!(named, asked);
    for line in &lines {
        let mut fields: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["details", "library", "objects", "pages", "reasons", "slots", "symbols", "verdict"]);
        for part in ["objects", "symbols", "slots", "pages"] {
            assert!(line[part]["compared"].is_u64() && line[part]["different"].is_u64(), "{line:#}");
        }
        assert!(line["slots"]["changed_by_constructors"].is_u64(), "{line:#}");
        assert!(line["reasons"].get("system").is_some() && line["reasons"].get("dlscope").is_some(), "{line:#}");
    }
}

#[test]
fn a_wrong_word_in_a_slot_is_named_with_both_values() {
    let (result, content) = compare_one(&["--corrupt", "slot", "libz.so.1"]);
    assert!(!content);
    assert_eq!((&result["verdict"], &result["slots"]["different"]), (&"differ".into(), &1.into()), "{result:#}");
    let detail = &result["details"][0];
    assert_eq!(detail["what"], "slot");
    // The last GLOB_DAT or RELATIVE of the file, whose word must point somewhere else by one bit.
    let offset = |value: &Value| {
        let text = value.as_str().unwrap();
        let (object, offset) = text.split_once("+0x").unwrap_or_else(|| panic!("{text}"));
        (object.to_string(), u64::from_str_radix(offset, 16).unwrap())
    };
    let ((object, system), (same_object, dlscope)) = (offset(&detail["system"]), offset(&detail["dlscope"]));
    assert_eq!((object, system), (same_object, dlscope ^ 0x10), "{detail:#}");
    assert!(detail["place"].as_str().unwrap().starts_with("0x"), "{detail:#}");
    assert!(detail["about"].as_str().unwrap().starts_with("R_X86_64_"), "{detail:#}");
}

#[test]
fn a_wrong_protection_is_named_with_both_values() {
    let (result, content) = compare_one(&["--corrupt", "protection", "libz.so.1"]);
    assert!(!content);
    assert_eq!((&result["verdict"], &result["pages"]["different"]), (&"differ".into(), &1.into()), "{result:#}");
    let detail = &result["details"][0];
    let told = ["what", "place", "system", "dlscope"].map(|field| detail[field].as_str().unwrap());
    assert_eq!(told, ["page", "0x0", "r--", "rw-"]);
}

#[test]
fn a_wrong_symbol_is_named_with_both_values() {
    let path = build("symbol", "int only(void) { return 1; }");
    let (result, content) = compare_one(&["--corrupt", "symbol", &path]);
    assert!(!content);
    assert_eq!((&result["verdict"], &result["symbols"]["different"]), (&"differ".into(), &1.into()), "{result:#}");
    let detail = &result["details"][0];
    assert_eq!((&detail["what"], &detail["place"]), (&"symbol".into(), &"only".into()));
    assert_ne!(detail["system"], detail["dlscope"]);
}

#[test]
fn a_library_that_is_not_there_is_refused_by_both_with_both_reasons() {
    let (result, content) = compare_one(&["/nowhere/libnothing.so"]);
    assert!(content);
    assert_eq!(result["verdict"], "both-refuse");
    assert!(result["reasons"]["system"].as_str().unwrap().contains("No such file"), "{result:#}");
    assert!(result["reasons"]["dlscope"].as_str().unwrap().contains("cannot be found"), "{result:#}");
}

#[test]
fn an_executable_stack_is_refused_by_policy() {
    let (result, content) = compare_one(&[&fixture("executable-stack/libexecutable-stack.so")]);
    assert!(content);
    // glibc refuses it, too, since 2.41.
    let expected = if common::glibc_is_at_least(41) { "both-refuse" } else { "refused-by-policy" };
    assert_eq!(result["verdict"], expected, "{result:#}");
}

#[test]
fn a_library_that_ends_the_process_ends_both_and_not_the_command() {
    let exits =
        build("exits", "#include <unistd.h>\n__attribute__((constructor)) static void leave(void) { _exit(7); }");
    let crashes = build("crashes", "__attribute__((constructor)) static void crash(void) { *(volatile int *)8 = 1; }");
    let (results, content) = compare(&[&exits, &crashes, "libz.so.1"]);
    assert!(content);
    let verdicts: Vec<_> = results.iter().map(|r| r["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["both-die", "both-die", "agree"], "{results:#?}");
    let reasons = results.iter().map(|r| r["reasons"]["dlscope"].as_str().unwrap_or_default().to_string());
    assert_eq!(
        reasons.collect::<Vec<_>>(),
        ["the process was ended with status 7", "killed by SIGSEGV", ""],
        "{results:#?}"
    );
}

#[test]
fn constructors_may_print_go_elsewhere_close_everything_and_start_threads() {
    let path = build(
        "unruly",
        r#"
        #include <pthread.h>
        #include <stdio.h>
        #include <unistd.h>
        int answer(void) { return 42; }
        int (*pointer)(void) = answer;
        static void *wait_for_ever(void *nothing) { for (;;) pause(); return nothing; }
        __attribute__((constructor)) static void unruly(void) {
            puts("{ this is no JSON");
            fflush(stdout);
            if (chdir("/")) return;
            pthread_t thread;
            pthread_create(&thread, 0, wait_for_ever, 0);
            for (int fd = 0; fd < 100; fd++) close(fd);
        }"#,
    );
    let (result, content) = compare_one(&[&path]);
    assert!(content && result["verdict"] == "agree", "{result:#}");
    assert!(result["slots"]["compared"].as_u64().unwrap() > 5, "{result:#}");
}

#[test]
fn a_pointer_to_the_heap_that_a_constructor_stored_is_counted_apart() {
    let path = build(
        "heap",
        r#"
        #include <stdlib.h>
        static char nothing[1];
        char *buffer = nothing;
        __attribute__((constructor)) static void fill(void) { buffer = malloc(100); }"#,
    );
    let (result, _) = compare_one(&[&path]);
    assert_eq!(result["verdict"], "agree", "{result:#}");
    assert_eq!(result["slots"]["changed_by_constructors"], 1, "{result:#}");
}

#[test]
fn what_a_constructor_opens_in_turn_is_an_object_too() {
    let path = build(
        "opener",
        r#"
        #include <dlfcn.h>
        __attribute__((constructor)) static void open_more(void) { dlopen("libz.so.1", RTLD_LAZY); }"#,
    );
    let (result, _) = compare_one(&[&path]);
    assert_eq!(result["verdict"], "agree", "{result:#}");
    assert_eq!(result["objects"]["compared"], 2, "{result:#}");
}

#[test]
fn a_closure_of_many_objects_agrees() {
    for name in ["libgtk-3.so.0", "libQt5Widgets.so.5"] {
        let Some(path) = library(name) else { continue };
        let (result, _) = compare_one(&[&path]);
        assert_eq!(result["verdict"], "agree", "{result:#}");
        assert!(result["objects"]["compared"].as_u64().unwrap() >= 20, "{result:#}");
    }
}

#[test]
fn every_fixture_that_both_should_take_agrees() {
    let mut libraries = Vec::new();
    for case in fs::read_dir(fixture("")).unwrap() {
        let case = case.unwrap().path();
        let main = case.join(format!("lib{}.so", case.file_name().unwrap().to_string_lossy()));
        // What these show is that glibc does something else; `tests/fixtures_both.rs` holds what.
        let deviates =
            ["copy", "ifunc-cycle-back", "overflow", "pc32-overflow"].iter().any(|name| case.ends_with(name));
        if main.exists() && !deviates {
            libraries.push(main.to_str().unwrap().to_string());
        }
    }
    assert!(libraries.len() > 30, "{libraries:?}");
    let (results, _) = compare(&libraries.iter().map(String::as_str).collect::<Vec<_>>());
    let bad = |r: &&Value| ["differ", "only-system", "crash", "timeout"].iter().any(|verdict| r["verdict"] == *verdict);
    let bad: Vec<_> = results.iter().filter(bad).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

/// By name and not by path: through `ld.so.cache`, its order and its rules.
#[test]
fn names_of_the_cache_mean_the_same_files_to_both() {
    let ldconfig = ["/sbin/ldconfig", "/usr/sbin/ldconfig"].into_iter().find(|path| Path::new(path).exists());
    let printed = Command::new(ldconfig.expect("glibc's ldconfig")).arg("-p").output().unwrap();
    let listed = String::from_utf8_lossy(&printed.stdout).into_owned();
    // `	libz.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libz.so.1`
    let ours = listed.lines().filter(|line| line.contains("x86-64"));
    let names: Vec<&str> = ours.filter_map(|line| line.split_whitespace().next()).collect();
    // glibc's `dlsym` finds nothing on a handle of the dynamic linker itself; and every tenth name will do.
    let chosen = names.iter().copied().filter(|name| !name.starts_with("ld-linux")).step_by(10);
    let chosen: Vec<&str> = chosen.collect();
    let (lines, _) = compare(&chosen);
    assert_eq!(lines.len(), chosen.len());
    let expected = ["agree", "both-refuse", "both-die", "only-dlscope"];
    for line in lines {
        assert!(expected.iter().any(|verdict| line["verdict"] == *verdict), "{line}");
    }
}

#[test]
fn a_word_that_the_system_writes_elsewhere_in_each_run_is_no_difference() {
    // Both the place of the thread-local word and the value of the variable depend on where the library was mapped.
    let source = "#include <stdint.h>\n\
                  __thread long words[512];\n\
                  static int here;\n\
                  __attribute__((constructor)) void begin(void) { words[((uintptr_t)&here >> 12) % 512] = 1; }";
    for run in 0..3 {
        let (result, content) = compare_one(&[&build("elsewhere", source)]);
        assert!(content && result["verdict"] == "agree", "run {run}: {result:#}");
    }
}

/// Builds a program that exports its symbols.
fn build_program(name: &str, source: &str, more: &[&str]) -> String {
    let program = build(name, source).replace(".so", ".program");
    let mut cc = Command::new("cc");
    cc.args(["-rdynamic", "-o", &program]).arg(program.replace("/lib", "/").replace(".program", ".c")).args(more);
    assert!(cc.status().unwrap().success());
    program
}

#[test]
fn a_plugin_is_compared_beside_a_library_that_stands_for_its_program() {
    let host = "#include <stdio.h>\n\
                int host_function(int x) { return x + 1; }\n\
                int host_variable = 5, *host_pointer = &host_variable;\n\
                struct { char bytes[5000]; } host_structure;\n\
                int main(void) { fprintf(stderr, \"%d\", host_function(1)); return 0; }";
    let plugin = build(
        "plugin",
        "extern int host_function(int), host_variable, *host_pointer; extern char host_structure[];\n\
         int (*function)(int) = host_function; int *variable = &host_variable; char *inside = host_structure + 4999;\n\
         static int seen;\n\
         __attribute__((constructor)) void begin(void) { seen = host_function(host_variable); }\n\
         int use(void) { return host_function(*host_pointer) + seen; }",
    );
    let (alone, content) = compare_one(&[&plugin]);
    assert!(content && alone["verdict"] == "both-refuse", "{alone:#}");
    let library = build("hostlibrary", &host.replace("int main", "int not_main"));
    let programs = ["-no-pie", "-pie"].map(|pie| build_program(&format!("host{pie}"), host, &[pie, "-fPIE"]));
    for host in programs.iter().chain([&library]) {
        let (result, content) = compare_one(&["--host", host, &plugin]);
        assert!(content && result["verdict"] == "agree", "{host}: {result:#}");
        assert!(result["slots"]["compared"].as_u64().unwrap() > 5, "{host}: {result:#}");
        let (wrong, content) = compare_one(&["--host", host, "--corrupt", "slot", &plugin]);
        assert!(!content && wrong["verdict"] == "differ", "{host}: {wrong:#}");
    }
    let missing = dlscope(&["--host", "/there/is/no/program", &plugin]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("--host: there is no program"), "{missing:?}");
}

#[test]
fn a_corpus_has_every_shared_object_whatever_its_name_and_no_program() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare-corpus");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("deep")).unwrap();
    let library = build("anyname", "int f(void) { return 7; }");
    for name in ["libx.so.1.2", "addon.node", "deep/module", "libx.jnilib"] {
        fs::copy(&library, folder.join(name)).unwrap();
    }
    let program = build_program("programinside", "int main(void) { return 0; }", &["-pie", "-fPIE"]);
    fs::copy(&program, folder.join("program.so")).unwrap();
    fs::write(folder.join("text.so"), "no ELF file").unwrap();
    let mut objcopy = Command::new("objcopy");
    objcopy.args(["--only-keep-debug", &library]).arg(folder.join("separate.debug"));
    assert!(objcopy.status().unwrap().success());
    let (results, content) = compare(&["--corpus", folder.to_str().unwrap()]);
    assert!(content);
    let mut names: Vec<&str> = results
        .iter()
        .map(|result| {
            assert_eq!(result["verdict"], "agree", "{result:#}");
            Path::new(result["library"].as_str().unwrap()).file_name().unwrap().to_str().unwrap()
        })
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["addon.node", "libx.jnilib", "libx.so.1.2", "module"]);
}
