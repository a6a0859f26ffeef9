//! `dlscope why`: for each way to be broken the exit status, the first sentence, and the cure; for what is not
//! broken, no false alarm. And an inspection runs nothing and leaves nothing.

mod common;
mod fixtures;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::{env, fs};

use common::{descriptors, in_own_process, library, maps};
use dlscope::elf::addr::Addr;
use dlscope::event::{Kind, Stage};
use dlscope::{ErrorKind, Loader, Recorder};
use serde_json::Value;

fn dlscope(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlscope"));
    command.arg("why").args(arguments).env_remove("LD_LIBRARY_PATH");
    change(&mut command);
    command.output().expect("the command starts")
}

/// What the command says about a library, its lines joined, and its exit status.
fn why_with(arguments: &[&str], change: impl FnOnce(&mut Command)) -> (String, i32) {
    let output = dlscope(arguments, change);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).expect("UTF-8"), output.status.code().expect("an exit status"))
}

fn why(path: &Path) -> (String, i32) {
    why_with(&[path.to_str().unwrap()], |_| {})
}

fn json(arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--format", "json"]].concat();
    let output = dlscope(&arguments, |_| {});
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// Lines are broken where the page ends: words are compared.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Expects a load that fails with this beginning, and all these parts; the last one in the last section.
fn broken(path: &Path, first: &str, parts: &[&str], cure: &str) {
    let (text, status) = why(path);
    let words = flat(&text);
    assert_eq!(status, 1, "{text}");
    assert!(words.starts_with(first), "it should begin with {first:?}:\n{text}");
    for part in parts {
        assert!(words.contains(part), "{part:?} is not in:\n{text}");
    }
    let (_, last) = words.split_once("What would make it work").unwrap_or_else(|| panic!("no cure:\n{text}"));
    assert!(last.contains(cure), "the cure {cure:?} is not in:\n{text}");
    inspected_thrice(path);
}

/// Inspects three times: nothing runs, and after the last time nothing is there that was not there before it.
fn inspected_thrice(path: &Path) {
    let mut before: (Vec<String>, Vec<String>) = Default::default();
    for round in 0..3 {
        let recorder = Arc::new(Recorder::with_capacity(1 << 14));
        let inspection = Loader::new().probe(recorder.clone()).inspect(path);
        assert!(!inspection.faults().is_empty(), "{} would load", path.display());
        drop(inspection);
        let events = recorder.take();
        let ran = events.iter().find(|e| e.stage >= Stage::Publish && e.stage <= Stage::Init);
        assert!(ran.is_none(), "it was published or ran: {ran:?}");
        // Resolvers of the host's libc may be called: it was complete before.
        let mapped: Vec<_> = events.iter().filter_map(|e| span_of(&e.kind)).collect();
        for event in &events {
            if let Kind::Call { address, .. } = event.kind {
                assert!(!mapped.iter().any(|span| span.contains(&address)), "its own code was called: {event:?}");
            }
        }
        let now = (maps(), descriptors());
        // The first rounds fill caches.
        if round == 2 {
            let new: Vec<_> = now.0.iter().filter(|line| !before.0.contains(line)).collect();
            assert!(before == now, "an inspection left something behind: {new:#?}");
        }
        before = now;
    }
}

/// What a new object covers.
fn span_of(kind: &Kind) -> Option<Range<Addr>> {
    match kind {
        Kind::Placed { address, length, .. } => Some(*address..Addr(address.0 + length)),
        _ => None,
    }
}

fn fixture(name: &str) -> PathBuf {
    fixtures::unpack(name, "why")
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("why").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

macro_rules! test {
    ($name:ident, $body:block) => {
        #[test]
        fn $name() {
            in_own_process(stringify!($name), || $body);
        }
    };
}

// ── libraries that cannot be had ─────────────────────────────────────────────────────────────────────────

test!(a_missing_library_is_named_with_every_place_and_what_is_undefined_without_it, {
    let path = fixture("missing-library");
    let beside = path.with_file_name("libnowhere.so");
    broken(
        &path,
        "libmissing-library.so cannot be loaded: it needs libnowhere.so, which cannot be found.",
        &[
            "✗ not found",
            &format!("RUNPATH of libmissing-library.so {}", beside.display()),
            "/etc/ld.so.cache nothing",
            "default directories /",
            "Without libnowhere.so, 1 symbol is undefined: nowhere.",
        ],
        "Install the package that has libnowhere.so",
    );
});

test!(a_dependency_for_another_processor_is_passed_over_and_that_is_said, {
    let path = fixture("chain");
    let folder = folder("other-machine");
    for (file, _) in fixtures::FIXTURES.iter().find(|f| f.name == "chain").unwrap().files {
        fs::copy(path.with_file_name(file), folder.join(file)).unwrap();
    }
    let needed = needed_by(&path);
    let mut bytes = fs::read(folder.join(&needed)).unwrap();
    bytes[18..20].copy_from_slice(&183_u16.to_le_bytes()); // e_machine: EM_AARCH64
    fs::write(folder.join(&needed), bytes).unwrap();
    broken(
        &folder.join(path.file_name().unwrap()),
        &format!("libchain.so cannot be loaded: {needed}, which it needs, was built for another processor"),
        &["(AARCH64, not X86_64)", "its e_machine is AARCH64 (183)"],
        &format!("Install the x86_64 build of {needed}"),
    );
});

/// The first `DT_NEEDED` of a library.
fn needed_by(path: &Path) -> String {
    let value = json(&[path.to_str().unwrap()]);
    value["objects"][0]["needs"][0]["name"].as_str().unwrap().into()
}

test!(a_32_bit_library_is_called_one, {
    let path = folder("class32").join("libadd.so");
    let mut bytes = fs::read(fixture("add")).unwrap();
    bytes[4] = 1; // e_ident[EI_CLASS]: ELFCLASS32
    fs::write(&path, bytes).unwrap();
    broken(
        &path,
        "libadd.so cannot be loaded: it is a 32-bit library, and this process is a 64-bit one.",
        &["ELFCLASS32"],
        "Install the x86_64 build of libadd.so",
    );
});

test!(a_wrong_rpath_is_shown_with_the_place_where_the_library_lies, {
    broken(
        &fixture("wrong-rpath"),
        "libwrong-rpath.so cannot be loaded: it needs libdeep.so, which lies in",
        &[
            "RPATH of libwrong-rpath.so /nowhere/build/deep/libdeep.so",
            "there is no folder /nowhere/build/deep on this machine",
        ],
        "Link libwrong-rpath.so with -Wl,-rpath,'$ORIGIN/deep'",
    );
});

test!(a_runpath_that_is_not_inherited_is_explained, {
    broken(
        &fixture("runpath"),
        "librunpath.so cannot be loaded: libnear.so, which it needs, needs libfar.so, which lies in",
        &["DT_RUNPATH of librunpath.so leads there, but a DT_RUNPATH counts only for what its own library needs"],
        "Link libnear.so with -Wl,-rpath,'$ORIGIN'",
    );
});

test!(a_misspelt_origin_is_no_token, {
    broken(
        &fixture("origin-misspelt"),
        "liborigin-misspelt.so cannot be loaded: it needs libdeep.so, which lies in",
        &["RUNPATH of liborigin-misspelt.so $ORIGN/deep/libdeep.so", "$ORIGIN is probably meant"],
        "-Wl,-rpath,'$ORIGIN/deep'",
    );
});

test!(an_origin_that_a_shell_took_away_is_guessed, {
    broken(
        &fixture("origin-unquoted"),
        "liborigin-unquoted.so cannot be loaded: it needs libdeep.so, which lies in",
        &["RUNPATH of liborigin-unquoted.so /deep/libdeep.so", "it belongs in single quotes"],
        "-Wl,-rpath,'$ORIGIN/deep'",
    );
});

test!(an_origin_without_its_folder_is_completed, {
    broken(
        &fixture("origin-folder"),
        "liborigin-folder.so cannot be loaded: it needs libdeep.so, which lies in",
        &["DT_RUNPATH of liborigin-folder.so is \"$ORIGIN\", and libdeep.so lies in $ORIGIN/deep"],
        "-Wl,-rpath,'$ORIGIN/deep'",
    );
});

// ── versions and symbols ─────────────────────────────────────────────────────────────────────────────────

test!(a_missing_version_is_told_with_what_is_offered_and_wanted, {
    broken(
        &fixture("version-missing"),
        "libversion-missing.so cannot be loaded: it needs version V9 of libprovider.so, and the one found offers V1.",
        &["✗ no version V9", "libversion-missing.so wants foo of libprovider.so in version V9. The one found has: V1."],
        "Install a libprovider.so that has V9",
    );
});

test!(a_library_of_a_newer_system_is_told_what_this_one_has, {
    let mut bytes = fs::read(fixture("plt")).unwrap();
    let at = bytes.windows(12).position(|window| window == b"GLIBC_2.2.5\0").expect("it needs GLIBC_2.2.5");
    bytes[at..at + 11].copy_from_slice(b"GLIBC_2.9.9");
    let path = folder("newer").join("libplt.so");
    fs::write(&path, bytes).unwrap();
    broken(
        &path,
        "libplt.so cannot be loaded: it needs version GLIBC_2.9.9 of libc.so.6, and the one found offers up to GLIBC_2.",
        &["✗ no version GLIBC_2.9.9"],
        "was built on a system with a newer C library than this one (up to GLIBC_2.",
    );
});

test!(a_missing_symbol_is_told_with_who_wants_it, {
    broken(
        &fixture("missing-symbol"),
        "libmissing-symbol.so cannot be loaded: it calls nowhere, which no loaded library defines.",
        &["✗ 1 symbol undefined", "with RTLD_LAZY dlopen itself would succeed"],
        "Link libmissing-symbol.so with the library that does",
    );
    broken(
        &fixture("missing-symbol-deep"),
        "libmissing-symbol-deep.so cannot be loaded: libbottom.so, which it needs, uses nowhere,",
        &["Undefined in libbottom.so: nowhere"],
        "Link libbottom.so with the library that does",
    );
});

test!(every_problem_is_found_not_only_the_first, {
    let source = "
        int nowhere_one(void); int nowhere_two(void); double cos(double); int bottle(void);
        int user(void) { return nowhere_one() + nowhere_two() + (int)cos(1.0) + bottle(); }";
    let bottom = compile("libbottle.so", "int bottle(void) { return 1; }", "cc", &[]);
    let path = compile("libmany.so", source, "cc", &["-fno-builtin", "-Wl,--no-as-needed", bottom.to_str().unwrap()]);
    fs::remove_file(&bottom).unwrap();
    let value = json(&[path.to_str().unwrap()]);
    let problems = value["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "all symbols follow from the missing library, as far as one can know: {value:#}");
    assert_eq!(problems[0]["problem"], "not_found");
    let without: Vec<_> = problems[0]["without_it"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(without.contains(&"bottle") && without.contains(&"nowhere_one"), "{without:?}");

    // The same with a library that is there and has nothing of it.
    compile("libbottle.so", "int cork(void) { return 1; }", "cc", &[]);
    let value = json(&[path.to_str().unwrap()]);
    let symbols = value["problems"][0]["symbols"].as_array().unwrap();
    let names: Vec<_> = symbols.iter().filter_map(|symbol| symbol["name"].as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let cos = symbols.iter().find(|symbol| symbol["name"] == "cos").unwrap();
    assert_eq!(cos["nearest"][0]["soname"], "libm.so.6", "{cos:#}");
    let (text, _) = why(&path);
    assert!(flat(&text).contains("link libmany.so with -lm"), "{text}");
});

test!(similar_names_other_parameters_and_other_languages_are_found, {
    let provider = "
        #include <string>
        namespace geo { int area(int r) { return r; } int name(const std::string &s) { return s.size(); } }
        extern \"C\" int plain(int x) { return x; }
        extern \"C\" int positive(int x) { return x; }
        int mangled(int x) { return x; }";
    let user = "
        #include <string>
        namespace geo { int area(double); int name(const std::string &s); }
        int plain(int);
        extern \"C\" { int postive(int); int mangled(int); }
        extern \"C\" int user(int a) { return geo::area(1.0 * a) + plain(a) + postive(a) + mangled(a) + geo::name(\"\"); }";
    let provider = compile("libgeo.so", provider, "c++", &[]);
    let flags = ["-D_GLIBCXX_USE_CXX11_ABI=0", "-Wl,--no-as-needed", provider.to_str().unwrap()];
    let path = compile("libgeo-user.so", user, "c++", &flags);
    let (text, status) = why(&path);
    let words = flat(&text);
    assert_eq!(status, 1, "{text}");
    for part in [
        "geo::area(double) (_ZN3geo4areaEd) libgeo.so has geo::area(int)",
        "postive libgeo.so has positive",
        "plain(int) (_Z5plaini) libgeo.so has plain",
        "mangled libgeo.so has mangled(int) (_Z7mangledi)",
        "geo::name(std::string const&) (_ZN3geo4nameERKSs) libgeo.so has geo::name(std::__cxx11::string const&)",
        "postive: misspelt, or renamed since?",
        "declare it extern \"C\" where",
    ] {
        assert!(words.contains(part), "{part:?} is not in:\n{text}");
    }
    inspected_thrice(&path);
});

test!(the_same_rust_function_of_another_build_is_told, {
    let source = |hash: char, body: &str| {
        let name = format!("_ZN3geo4area17h{}E", hash.to_string().repeat(16));
        format!("int area(void) __asm__(\"{name}\"); {body}")
    };
    let provider = compile("librust.so", &source('a', "int area(void) { return 1; }"), "cc", &[]);
    let flags = ["-Wl,--no-as-needed", provider.to_str().unwrap()];
    let user = source('b', "int user(void) { return area(); }");
    broken(
        &compile("librust-user.so", &user, "cc", &flags),
        "librust-user.so cannot be loaded: it calls geo::area, which no loaded library defines.",
        &["librust.so has the same function of another build"],
        "Rust's own names hold for one compiler and one source only",
    );
});

// ── thread-local storage, circles, surprises ─────────────────────────────────────────────────────────────

test!(static_tls_that_does_not_fit_is_held_against_what_is_left, {
    broken(
        &fixture("tls-too-large"),
        "libtls-too-large.so cannot be loaded: the thread-local variables of this library need 65,536 bytes in the \
         static TLS of every thread, and 8,192 are left.",
        &["✗ no room for its thread-local variables", "Of 8,192 bytes, 8,192 are left"],
        "Compile libtls-too-large.so without -ftls-model=initial-exec",
    );
});

test!(a_circle_loads_and_is_called_no_harm, {
    let (text, status) = why(&fixture("cycle"));
    assert_eq!(status, 0, "{text}");
    let words = flat(&text);
    assert!(words.starts_with("libcycle.so loads: 3 objects, 1 already in the process; the circle"), "{text}");
    assert!(words.contains("libcycle.so → libother.so → libcycle.so"), "{text}");
    assert!(!words.contains("What would make it work"), "{text}");
});

test!(a_definition_that_loses_is_told_with_who_takes_over, {
    let first = compile("libtaker.so", "int shared(void) { return 1; }", "cc", &[]);
    let second = "int shared(void) { return 2; } int own(void) { return shared(); }";
    let second = compile("libloser.so", second, "cc", &[]);
    let source = "int shared(void); int own(void); int user(void) { return shared() + own(); }";
    let flags = ["-Wl,--no-as-needed", first.to_str().unwrap(), second.to_str().unwrap()];
    let path = compile("libwatcher.so", source, "cc", &flags);
    let (text, status) = why(&path);
    let words = flat(&text);
    assert_eq!(status, 0, "{text}");
    assert!(
        words.contains("libtaker.so takes over 1 definition of libloser.so, which is asked after it: shared."),
        "{text}"
    );
    assert!(words.contains("Defined in libtaker.so and in libloser.so: shared. libtaker.so is asked first"), "{text}");
});

// ── real libraries ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn healthy_libraries_load_with_every_object_in_the_tree_and_no_false_alarm() {
    for name in ["libQt5Widgets.so.5", "libgtk-3.so.0", "libcrypto.so.3", "libz.so.1"] {
        let Some(_) = library(name) else { continue };
        let (text, status) = why_with(&[name], |_| {});
        assert_eq!(status, 0, "{text}");
        assert!(text.starts_with(&format!("{name} loads: ")), "{text}");
        assert!(!text.contains('✗') && !text.contains("takes over") && !text.contains("Defined in"), "{text}");
        let value = json(&[name]);
        let objects = value["objects"].as_array().unwrap();
        for object in objects {
            let path = object["name"].as_str().unwrap();
            assert!(text.contains(path.rsplit('/').next().unwrap()), "{path} is not in the tree:\n{text}");
        }
        assert_eq!(value["loads"], true);
    }
}

#[test]
fn a_real_library_without_its_dependency_and_with_another_one_of_its_name() {
    let Some(png) = library("libpng16.so.16") else { return };
    // libz under a name that nobody has.
    let bytes = fs::read(&png).unwrap();
    let at = bytes.windows(10).position(|window| window == b"libz.so.1\0").expect("it needs libz.so.1");
    let mut renamed = bytes.clone();
    renamed[at..at + 9].copy_from_slice(b"libz.so.7");
    let path = folder("real").join("libpng16.so.16");
    fs::write(&path, renamed).unwrap();
    let (text, status) = why(&path);
    let words = flat(&text);
    assert_eq!(status, 1, "{text}");
    assert!(words.starts_with("libpng16.so.16 cannot be loaded: it needs libz.so.7, which cannot be found."), "{text}");
    assert!(words.contains("Without libz.so.7,") && words.contains("inflate"), "{text}");
    assert!(words.contains("libz.so.1, but another number behind .so means another interface"), "{text}");

    // A library that is called libz.so.1 and is none, in LD_LIBRARY_PATH.
    let other = compile("impostor/libz.so.1", "int nothing(void) { return 0; }", "cc", &[]);
    let folder = other.parent().unwrap();
    let (text, status) = why_with(&[&png], |command| {
        command.env("LD_LIBRARY_PATH", folder);
    });
    let words = flat(&text);
    assert_eq!(status, 1, "{text}");
    assert!(words.contains("libz.so.1 is another file of that name and defines"), "{text}");
    assert!(words.contains("Take its folder out of LD_LIBRARY_PATH"), "{text}");
    let (with_option, status) = why_with(&["-L", folder.to_str().unwrap(), &png], |_| {});
    assert_eq!(status, 1, "{with_option}");
}

#[test]
fn an_empty_ld_library_path_is_none_and_an_empty_element_of_it_is_the_current_directory() {
    let path = fixture("origin-misspelt");
    for (value, expected) in [("", "LD_LIBRARY_PATH nothing"), ("/nowhere:", "./libdeep.so")] {
        let (text, status) = why_with(&[path.to_str().unwrap()], |command| {
            command.env("LD_LIBRARY_PATH", value);
        });
        assert_eq!(status, 1, "{text}");
        assert!(flat(&text).contains(expected), "LD_LIBRARY_PATH={value:?}: {expected:?} is not in:\n{text}");
    }
}

// ── the command ──────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_is_no_library_is_called_by_its_name() {
    let script = folder("script").join("libscript.so");
    fs::write(&script, "/* GNU ld script */\nGROUP ( /lib/libreal.so.6 AS_NEEDED ( /lib/ld.so.2 ) )\n").unwrap();
    let program = env::current_exe().unwrap();
    for (path, first, cure) in [
        (script.to_str().unwrap(), "is a linker script", "Open the library that the script names: /lib/libreal.so.6"),
        ("/etc/passwd", "passwd cannot be loaded: it is not an ELF file: it is a text file.", "`file /etc/passwd`"),
        ("/usr/lib", "it is a folder", "Name a file in the folder"),
        (program.to_str().unwrap(), "it is a program, not a library", "Run the program instead"),
        ("./libofnofolderhere.so", "there is no such file", "is opened as it is"),
        (
            "libpgn16.so.16",
            "no file of that name",
            if library("libpng16.so.16").is_some() { "libpng16.so.16" } else { "" },
        ),
    ] {
        let (text, status) = why(Path::new(path));
        assert_eq!(status, 1, "{text}");
        assert!(flat(&text).contains(first), "{first:?} is not in:\n{text}");
        assert!(flat(&text).contains(cure), "{cure:?} is not in:\n{text}");
    }
}

#[test]
fn a_library_in_the_current_directory_must_be_asked_for_by_path() {
    let path = fixture("add");
    let (text, status) = why_with(&["libadd.so"], |command| {
        command.current_dir(path.parent().unwrap());
    });
    assert_eq!(status, 1, "{text}");
    assert!(text.starts_with("libadd.so cannot be loaded: it lies in a folder that is not searched."), "{text}");
    assert!(flat(&text).contains(&format!("Ask for {}", path.display())), "{text}");
}

#[test]
fn the_exit_status_tells_usage_from_failure_and_help_has_examples() {
    assert_eq!(dlscope(&[], |_| {}).status.code(), Some(2));
    assert_eq!(dlscope(&[""], |_| {}).status.code(), Some(2));
    assert_eq!(dlscope(&["libz.so.1", "--format", "yaml"], |_| {}).status.code(), Some(2));
    let help = String::from_utf8(dlscope(&["--help"], |_| {}).stdout).unwrap();
    assert!(
        help.contains("dlscope why ./libmine.so") && help.contains("Exit status: 0 the library would load"),
        "{help}"
    );
}

#[test]
fn json_has_the_tree_the_problems_and_the_cures() {
    let path = fixture("wrong-rpath");
    let value = json(&[path.to_str().unwrap()]);
    assert_eq!(value["loads"], false);
    assert!(value["summary"].as_str().unwrap().starts_with("libwrong-rpath.so cannot be loaded"));
    let problem = &value["problems"][0];
    assert_eq!((&problem["problem"], &problem["library"]), (&"not_found".into(), &"libdeep.so".into()), "{value:#}");
    let need = &value["objects"][0]["needs"][0];
    assert_eq!(need["object"], Value::Null);
    assert_eq!(need["search"]["tried"][0]["rule"]["rpath"], "libwrong-rpath.so", "{need:#}");
    assert_eq!(value["objects"][0]["rpath"], "/nowhere/build/deep");
    assert_eq!(value["cures"].as_array().unwrap().len(), 1);
}

test!(what_is_inspected_can_be_asked_by_programs, {
    let inspection = Loader::new().inspect(fixture("missing-library"));
    let [missing, undefined] = inspection.faults() else { panic!("{:?}", inspection.faults()) };
    assert!(matches!(&missing.kind, ErrorKind::NotFound { .. }), "{missing}");
    assert!(matches!(&undefined.kind, ErrorKind::UndefinedSymbol { symbol, .. } if symbol == "nowhere"), "{undefined}");
    let root = inspection.objects().next().unwrap();
    assert!(root.symbols().any(|symbol| symbol.name == "user"));

    // An inspection changes nothing for a load that follows.
    let loader = Loader::new();
    assert!(loader.inspect(fixture("add")).faults().is_empty());
    // SAFETY: the fixture's own functions.
    let add = unsafe { loader.open(fixture("add")) }.unwrap();
    // SAFETY: add.c.
    assert_eq!(unsafe { add.get::<unsafe extern "C" fn(i32, i32) -> i32>("add").unwrap()(40, 2) }, 42);
});

// ── cures, applied ───────────────────────────────────────────────────────────────────────────────────────

/// A folder of its own with sources that were compiled by a script, for a cure to be applied in.
struct Case {
    folder: PathBuf,
    /// If `why` runs as a user who is not root: the folder that this user may enter, with a copy of the command.
    as_nobody: Option<tempfile::TempDir>,
}

impl Case {
    /// Runs a script of sh in a fresh folder, in which a.c, b.c, user.c and f.c lie: user.c calls `a` and `b`, and f.c
    /// calls `a`.
    fn new(name: &str, script: &str) -> Case {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("why-cures").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Case::within(folder, script, None)
    }

    /// The same in a folder that every user may enter. If the tests run as root, `why` runs as nobody.
    fn as_nobody(script: &str) -> Case {
        use std::os::unix::fs::PermissionsExt;
        let open = tempfile::tempdir().unwrap();
        fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let folder = open.path().join("case");
        fs::create_dir(&folder).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_dlscope"), open.path().join("dlscope")).unwrap();
        Case::within(folder, script, Some(open))
    }

    fn within(folder: PathBuf, script: &str, as_nobody: Option<tempfile::TempDir>) -> Case {
        fs::write(folder.join("a.c"), "int a(void) { return 1; }").unwrap();
        fs::write(folder.join("b.c"), "int b(void) { return 2; }").unwrap();
        fs::write(folder.join("user.c"), "int a(void); int b(void); int f(void) { return a() + b(); }").unwrap();
        fs::write(folder.join("f.c"), "int a(void); int f(void) { return a(); }").unwrap();
        fs::write(folder.join("open.c"), OPENER).unwrap();
        let case = Case { folder, as_nobody };
        case.sh("cc -w -o open open.c");
        case.sh(script);
        case
    }

    fn sh(&self, script: &str) {
        let output = Command::new("sh").args(["-ec", script]).current_dir(&self.folder).output().unwrap();
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    fn as_its_user<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if self.as_nobody.is_some() && nix::unistd::geteuid().is_root() {
            use std::os::unix::process::CommandExt;
            command.uid(65534).gid(65534);
        }
        command.current_dir(&self.folder).env_remove("LD_LIBRARY_PATH")
    }

    /// What `why` says, as JSON.
    fn why(&self, file: &str) -> Value {
        let copy = self.as_nobody.as_ref().map(|open| open.path().join("dlscope"));
        let mut command = Command::new(copy.unwrap_or_else(|| env!("CARGO_BIN_EXE_dlscope").into()));
        let output = self.as_its_user(command.args(["why", "--format", "json", file])).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    /// What the system's `dlopen` says in a program, with this in its environment.
    fn opened(&self, file: &str, setting: Option<&str>) -> String {
        let mut command = Command::new("./open");
        self.as_its_user(command.arg(file));
        if let Some((name, value)) = setting.and_then(|setting| setting.split_once('=')) {
            command.env(name, value.trim_matches('\''));
        }
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// The library does not load; each setting that `why` prints helps, and then all commands that it prints do.
    fn cure(&self, file: &str) -> Value {
        let before = self.why(file);
        assert_eq!((&before["loads"], &before["system"]["loads"]), (&false.into(), &false.into()), "{before:#}");
        let list = |field: &str| -> Vec<String> {
            before[field].as_array().unwrap().iter().map(|text| text.as_str().unwrap().into()).collect()
        };
        let (settings, commands) = (list("environment"), list("commands"));
        assert!(!settings.is_empty() || !commands.is_empty(), "no cure can be applied: {before:#}");
        let cures = list("cures").join("\n");
        for cure in settings.iter().chain(&commands) {
            assert!(cures.contains(cure), "{cure} is not printed:\n{cures}");
        }
        for setting in &settings {
            assert_eq!(self.opened(file, Some(setting)), "loads\n", "with {setting}: {before:#}");
        }
        commands.iter().for_each(|command| self.sh(command));
        if !commands.is_empty() {
            assert_eq!(self.opened(file, None), "loads\n", "after {commands:#?}: {before:#}");
            let after = self.why(file);
            assert_eq!(after["loads"], true, "after {commands:#?}: {after:#}");
        }
        before
    }
}

const OPENER: &str = "
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **arguments) {
    puts(dlopen(arguments[1], RTLD_NOW) ? \"loads\" : dlerror());
    return 0;
}";

/// Libraries `liba.so` in `one` and `libb.so` in `two`.
const BOTH: &str = "
mkdir -p one two app
cc -fPIC -shared -Wl,-soname,libaq.so -o one/libaq.so a.c
cc -fPIC -shared -Wl,-soname,libbq.so -o two/libbq.so b.c
";

/// Whether patchelf, which many cures call, is there.
fn patchelf() -> bool {
    let is_there = Command::new("patchelf").arg("--version").output().is_ok();
    assert!(is_there || env::var_os("CI").is_none(), "patchelf is not installed");
    is_there
}

/// What is printed as cures.
fn cures_of(value: &Value) -> String {
    value["cures"].as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

#[test]
fn one_command_mends_two_missing_libraries_and_keeps_the_path_and_its_tag() {
    if !patchelf() {
        return;
    }
    for (name, flags, tag) in [("rpath", "--disable-new-dtags", "RPATH"), ("runpath", "--enable-new-dtags", "RUNPATH")]
    {
        let script = format!(
            "{BOTH} cc -fPIC -shared -o app/f.so user.c -Lone -laq -Ltwo -lbq -Wl,{flags} -Wl,-rpath,/opt/kept"
        );
        let case = Case::new(&format!("two-{name}"), &script);
        let value = case.cure("app/f.so");
        assert_eq!(value["commands"].as_array().unwrap().len(), 1, "{value:#}");
        case.sh(&format!("readelf -dW app/f.so | grep '({tag}).*/opt/kept:.*one:.*two'"));
    }
    // One element is right, the other misspelt.
    let script = format!(
        "{BOTH} cc -fPIC -shared -o app/f.so user.c -Lone -laq -Ltwo -lbq -Wl,-rpath,'$ORIGIN/../one:$ORIGN/../two'"
    );
    let case = Case::new("two-misspelt", &script);
    case.cure("app/f.so");
    case.sh("readelf -dW app/f.so | grep -F '[$ORIGIN/../one:$ORIGIN/../two]'");
}

#[test]
fn what_a_library_that_lies_elsewhere_needs_is_mended_with_it() {
    if !patchelf() {
        return;
    }
    let script = "
        mkdir -p one two app; echo 'int b(void); int a(void) { return b(); }' > calls.c
        cc -fPIC -shared -Wl,-soname,libbq.so -o two/libbq.so b.c
        cc -fPIC -shared -Wl,-soname,libaq.so -o one/libaq.so calls.c -Ltwo -lbq
        cc -fPIC -shared -o app/f.so f.c -Lone -laq -Wl,-rpath-link,two";
    let value = Case::new("later", script).cure("app/f.so");
    assert_eq!(value["commands"].as_array().unwrap().len(), 2, "{value:#}");
}

#[test]
fn separators_that_are_no_colon_are_told_and_mended() {
    if !patchelf() {
        return;
    }
    for (at, separator) in [";", ",", " "].into_iter().enumerate() {
        let script = format!(
            "{BOTH} cc -fPIC -shared -o app/f.so user.c -Lone -laq -Ltwo -lbq
             patchelf --set-rpath '$ORIGIN/../one{separator}$ORIGIN/../two' app/f.so"
        );
        let case = Case::new(&format!("separator-{at}"), &script);
        let value = case.cure("app/f.so");
        let mistake = value["problems"][0]["mistakes"][0].as_str().unwrap();
        assert!(mistake.contains(&format!("{separator:?} separates nothing in it")), "{mistake}");
    }
}

#[test]
fn a_library_behind_a_link_is_mended_for_the_link_and_for_the_file() {
    if !patchelf() {
        return;
    }
    let script = "
        mkdir -p app/lib other/place/far
        cc -fPIC -shared -Wl,-soname,libaq.so -o app/lib/libaq.so a.c
        cc -fPIC -shared -o app/lib/f.so f.c -Lapp/lib -laq -Wl,-rpath,'$ORIGIN'
        ln -s lib/f.so app/f.so; ln -s ../../../app/lib/f.so other/place/far/f.so";
    for (name, link) in [("link-near", "app/f.so"), ("link-far", "other/place/far/f.so")] {
        let case = Case::new(name, script);
        let (text, _) = why(&case.folder.join(link));
        assert!(flat(&text).contains("f.so is a symbolic link to"), "{text}");
        case.cure(link);
        assert_eq!(case.opened("app/lib/f.so", None), "loads\n");
    }
}

#[test]
fn a_missing_dangling_or_circular_link_is_made_and_no_package_is_asked_for() {
    let library = "
        mkdir s; cc -fPIC -shared -Wl,-soname,libxq.so.1 -o s/libxq.so.1.2.3 a.c
        cc -fPIC -shared -o s/u.so f.c s/libxq.so.1.2.3 -Wl,-rpath,'$ORIGIN'";
    for (name, more, said) in [
        ("link-missing", "", "which is there as"),
        (
            "link-dangling",
            "ln -s libxq.so.1.2.2 s/libxq.so.1",
            "is a symbolic link to libxq.so.1.2.2, which is not there",
        ),
        ("link-circular", "ln -s libxq.so.1 s/libxq.so.1", "leads back to itself"),
    ] {
        let case = Case::new(name, &format!("{library}\n{more}"));
        let value = case.cure("s/u.so");
        assert!(value["summary"].as_str().unwrap().contains(said), "{value:#}");
        assert!(!cures_of(&value).contains("nstall the package"), "{value:#}");
    }
    if patchelf() {
        // The file lies in a folder that is not searched, and the link is missing, too.
        let case = Case::new("link-elsewhere", &format!("{library}\nmkdir t; mv s/libxq.so.1.2.3 t"));
        case.cure("s/u.so");
    }
}

#[test]
fn a_file_or_folder_without_permission_is_named_with_its_owner() {
    for (change, said) in
        [("chmod 0 s/libxq.so.1", "permission to read"), ("chmod 0 s", "permission to enter the folder")]
    {
        let script = format!(
            "mkdir s app; cc -fPIC -shared -Wl,-soname,libxq.so.1 -o s/libxq.so.1 a.c
             echo 'int a(void); int f(void) {{ return a(); }}' > f.c
             cc -fPIC -shared -o app/u.so f.c s/libxq.so.1 -Wl,-rpath,'$ORIGIN/../s'; chmod -R a+rX .; {change}"
        );
        let case = Case::as_nobody(&script);
        let value = case.cure("app/u.so");
        assert!(value["summary"].as_str().unwrap().contains(said), "{value:#}");
    }
}

#[test]
fn nodefaultlib_is_named_and_mended() {
    let Some(path) = library("libzstd.so.1") else { return };
    if !patchelf() {
        return;
    }
    let script = format!(
        "echo 'int ZSTD_versionNumber(void); int f(void) {{ return ZSTD_versionNumber(); }}' > f.c
         cc -fPIC -shared -o u.so f.c {path} -Wl,-z,nodefaultlib"
    );
    let case = Case::new("nodefaultlib", &script);
    let value = case.cure("./u.so");
    let mistake = value["problems"][0]["mistakes"][0].as_str().unwrap();
    assert!(mistake.contains("-z nodefaultlib (DF_1_NODEFLIB"), "{value:#}");
}

#[test]
fn a_file_system_mounted_noexec_is_named() {
    let case = Case::new("noexec", "mkdir m; cc -fPIC -shared -o p.so a.c");
    // In a mount namespace of its own the file system is gone with the process; who is not root needs a user namespace, too.
    let script = format!(
        "mount -t tmpfs -o noexec,size=4m tmpfs m && cp p.so m/ && {} why --format json m/p.so",
        env!("CARGO_BIN_EXE_dlscope")
    );
    let ways = ["-m", "-rm"].map(|flags| {
        let mut command = Command::new("unshare");
        command.args([flags, "sh", "-c", &script]).current_dir(&case.folder).env_remove("LD_LIBRARY_PATH").output()
    });
    let said = ways.iter().flatten().find_map(|output| serde_json::from_slice::<Value>(&output.stdout).ok());
    let Some(value) = said else {
        assert!(env::var_os("CI").is_none(), "no file system can be mounted here: {ways:?}");
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    assert!(value["summary"].as_str().unwrap().contains("mounted noexec"), "{value:#}");
}

#[test]
fn a_needed_name_with_a_slash_is_no_matter_of_search_paths() {
    if !patchelf() {
        return;
    }
    let script = "
        mkdir -p build/deep sub; cc -fPIC -shared -o build/deep/libnoson.so a.c
        cc -fPIC -shared -o u.so f.c build/deep/libnoson.so; mv open sub/; mv u.so sub/";
    let case = Case::new("slash", script);
    let inside = Case { folder: case.folder.join("sub"), as_nobody: None };
    let value = inside.cure("./u.so");
    let cures = cures_of(&value);
    assert!(!cures.contains("rpath") && !cures.contains("LD_LIBRARY_PATH"), "{cures}");
    assert!(value["summary"].as_str().unwrap().contains("needs build/deep/libnoson.so, a path"), "{value:#}");
}

#[test]
fn a_library_that_is_called_like_what_it_needs_is_told_from_it() {
    if !patchelf() {
        return;
    }
    let script = "
        mkdir lib wrap; cc -fPIC -shared -Wl,-soname,libxq.so.1 -o lib/libxq.so.1 a.c
        cc -fPIC -shared -o wrap/libxq.so.1 f.c lib/libxq.so.1";
    let case = Case::new("same-name", script);
    let value = case.cure("./wrap/libxq.so.1");
    let summary = value["summary"].as_str().unwrap();
    assert!(summary.starts_with("libxq.so.1 cannot be loaded: it needs libxq.so.1, which lies in "), "{summary}");
    // The dependency is not found by its own rights: the one that is damaged is named.
    let script = format!("{script}; patchelf --set-rpath '$ORIGIN/../lib' wrap/libxq.so.1; : > lib/libxq.so.1");
    let value = Case::new("same-name-damaged", &script).why("./wrap/libxq.so.1");
    let summary = value["summary"].as_str().unwrap();
    assert!(summary.contains("libxq.so.1, which it needs, is an empty file"), "{summary}");
}

#[test]
fn a_dependency_that_no_dlopen_may_bring_is_the_culprit() {
    let library = "
        mkdir lib; cc -fPIC -shared -Wl,-soname,libxq.so -o lib/libxq.so a.c
        cc -fPIC -shared -o u.so f.c lib/libxq.so -Wl,-rpath,'$ORIGIN/lib'; echo 'int main(void) { return 0; }' > m.c";
    for (name, more) in
        [("pie", "cc -pie -fPIE -o lib/libxq.so m.c"), ("static-pie", "cc -static-pie -fPIE -o lib/libxq.so m.c")]
    {
        let value = Case::new(&format!("unfit-{name}"), &format!("{library}\n{more}")).why("./u.so");
        let summary = value["summary"].as_str().unwrap();
        assert!(summary.starts_with("u.so cannot be loaded: libxq.so, which it needs, is a program"), "{summary}");
        assert!(cures_of(&value).contains("Another file belongs there: /"), "{value:#}");
        assert!(!cures_of(&value).contains("Run the program instead"), "{value:#}");
    }
    let script = format!("{library}\ncc -fPIC -shared -Wl,-soname,libxq.so,-z,nodlopen -o lib/libxq.so a.c");
    let case = Case::new("unfit-nodlopen", &script);
    for (file, who) in [("./u.so", "libxq.so, which it needs,"), ("lib/libxq.so", "it")] {
        let value = case.cure(file);
        let summary = value["summary"].as_str().unwrap();
        assert!(
            summary.contains(&format!("cannot be loaded: {who} must be there when the program starts")),
            "{summary}"
        );
        assert!(!cures_of(&value).contains("policy"), "{value:#}");
    }
}

#[test]
fn an_object_that_inherits_a_dt_rpath_gets_none_that_ends_it() {
    if !patchelf() {
        return;
    }
    let script = "
        mkdir lib deep; cc -fPIC -shared -Wl,-soname,libaq.so -o deep/libaq.so a.c
        cc -fPIC -shared -Wl,-soname,libbq.so -o lib/libbq.so b.c
        cc -fPIC -shared -Wl,-soname,libk.so -o lib/libk.so user.c deep/libaq.so lib/libbq.so
        echo 'int f(void); int g(void) { return f(); }' > g.c
        cc -fPIC -shared -o g.so g.c lib/libk.so -Wl,--disable-new-dtags,-rpath,'$ORIGIN/lib' -Wl,--allow-shlib-undefined";
    let value = Case::new("inherits", script).cure("./g.so");
    assert!(cures_of(&value).contains("-Wl,--disable-new-dtags,-rpath,'"), "{value:#}");
}

/// An older libz in the folder `old`, and f.so, which needs a newer version than it has.
const OLDER: &str = "
mkdir old; echo 'ZLIB_1.2.0 { global: inflateReset2; };' > map
echo 'int inflateReset2(void) { return 1; } int b(void) { return 2; }' > z.c
cc -w -fno-builtin -fPIC -shared -Wl,-soname,libz.so.1,--version-script=map -o old/libz.so.1 z.c
echo 'int inflateReset2(void); int f(void) { return inflateReset2(); }' > f.c
";

#[test]
fn an_older_library_that_comes_first_is_taken_out_of_the_way() {
    let Some(newer) = library("libz.so.1") else { return };
    let link = |flags: &str| format!("{OLDER} cc -fPIC -shared -o f.so f.c {newer} {flags}");
    let case = Case::new("older-variable", &link(""));
    let old = case.folder.join("old");
    let output = dlscope(&["--format", "json", case.folder.join("f.so").to_str().unwrap()], |command| {
        command.env("LD_LIBRARY_PATH", &old);
    });
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["loads"], false, "{value:#}");
    assert!(cures_of(&value).contains("would be found without LD_LIBRARY_PATH"), "{value:#}");
    let settings = value["environment"].as_array().unwrap();
    assert_eq!(settings.len(), 2, "{value:#}");
    for setting in settings {
        let setting = setting.as_str().unwrap();
        case.sh(&format!("export LD_LIBRARY_PATH={}; export {setting}; ./open ./f.so | grep '^loads$'", old.display()));
    }
    if !patchelf() {
        return;
    }
    for (name, flags, rest) in [
        ("rpath", "--disable-new-dtags,-rpath,'$ORIGIN/old:/opt/kept'", "(RPATH).*: \\[/opt/kept"),
        ("runpath", "--enable-new-dtags,-rpath,'$ORIGIN/old:/opt/kept'", "(RUNPATH).*: \\[/opt/kept"),
    ] {
        let case = Case::new(&format!("older-{name}"), &link(&format!("-Wl,{flags}")));
        let value = case.cure("./f.so");
        assert!(
            cures_of(&value).contains(&format!("would be found without the DT_{}", name.to_uppercase())),
            "{value:#}"
        );
        case.sh(&format!("readelf -dW f.so | grep '{rest}'"));
    }
    let case = Case::new("older-alone", &link("-Wl,-rpath,'$ORIGIN/old'"));
    case.cure("./f.so");
    case.sh("! readelf -dW f.so | grep PATH");
    // The path leads to another library, too, so it must stay.
    let script = format!(
        "{OLDER} cc -fPIC -shared -Wl,-soname,libbq.so -o old/libbq.so b.c
         echo 'int inflateReset2(void), b(void); int f(void) {{ return inflateReset2() + b(); }}' > f.c
         cc -fPIC -shared -o f.so f.c {newer} old/libbq.so -Wl,-rpath,'$ORIGIN/old'"
    );
    Case::new("older-shared", &script).cure("./f.so");
}

#[test]
fn a_newer_library_comes_before_the_elements_of_a_dt_rpath_which_stay() {
    if !patchelf() {
        return;
    }
    let script = "
        mkdir here new; echo 'V1 { global: a; };' > v1; echo 'V2 { global: a; };' > v2
        cc -fPIC -shared -Wl,-soname,libaq.so,--version-script=v2 -o new/libaq.so a.c
        cc -fPIC -shared -Wl,-soname,libaq.so,--version-script=v1 -o here/libaq.so a.c
        cc -fPIC -shared -Wl,-soname,libbq.so -o here/libbq.so b.c
        cc -fPIC -shared -o f.so user.c new/libaq.so here/libbq.so -Wl,--disable-new-dtags,-rpath,'$ORIGIN/here'";
    let case = Case::new("version-rpath", script);
    let value = case.cure("./f.so");
    assert!(!cures_of(&value).contains("remove-rpath"), "{value:#}");
    case.sh("readelf -dW f.so | grep -F '[$ORIGIN/new:$ORIGIN/here]'");
}

#[test]
fn a_path_that_is_the_end_of_another_name_is_not_overwritten() {
    let script = "
        mkdir plugin; cc -fPIC -shared -Wl,-soname,libaq.so -o plugin/libaq.so a.c
        echo 'int a(void); int plugin(void) { return a(); }' > p.c
        cc -fPIC -shared -o f.so p.c plugin/libaq.so -Wl,-rpath,/opt/app/plugin";
    let value = Case::new("shared-tail", script).cure("./f.so");
    assert_eq!(value["commands"], serde_json::json!([]), "{value:#}");
    assert!(cures_of(&value).contains("Link f.so with -Wl,-rpath,'$ORIGIN/plugin'"), "{value:#}");
}

#[test]
fn what_is_closed_or_leads_back_is_named_behind_links_too() {
    let library = "
        mkdir lib; cc -fPIC -shared -Wl,-soname,libxq.so.1 -o lib/libxq.so.1 a.c
        cc -fPIC -shared -o u.so f.c lib/libxq.so.1 -Wl,-rpath,'$ORIGIN/lib'";
    let moved =
        "mkdir far; mv lib/libxq.so.1 far; ln -s ../far/libxq.so.1 lib/libxq.so.1; chmod -R a+rX .; chmod 0 far";
    let value = Case::as_nobody(&format!("{library}\n{moved}")).cure("./u.so");
    let summary = value["summary"].as_str().unwrap();
    assert!(summary.contains("no permission to enter the folder") && summary.contains("/far (EACCES)"), "{summary}");
    let case = Case::new("loop-folder", &format!("{library}\nmv lib lib2; ln -s lib lib"));
    let value = case.cure("./u.so");
    let summary = value["summary"].as_str().unwrap();
    assert!(summary.contains("/lib is a symbolic link that leads back to itself"), "{summary}");
}

#[test]
fn a_file_that_broke_off_and_was_filled_with_zeros_is_damaged() {
    let script = "
        mkdir lib; cc -fPIC -shared -Wl,-soname,libxq.so -o lib/libxq.so a.c
        cc -fPIC -shared -o u.so f.c lib/libxq.so -Wl,-rpath,'$ORIGIN/lib'
        size=$(stat -c %s lib/libxq.so); truncate -s 4096 lib/libxq.so; truncate -s $size lib/libxq.so";
    let case = Case::new("zero-tail", script);
    for (file, who) in [("./u.so", "libxq.so, which it needs,"), ("lib/libxq.so", "it")] {
        let value = case.why(file);
        let summary = value["summary"].as_str().unwrap();
        assert!(summary.contains(&format!("cannot be loaded: {who} is damaged")), "{summary}");
        assert_eq!(value["problems"].as_array().unwrap().len(), 1, "{value:#}");
        assert!(cures_of(&value).contains("a download was broken off"), "{value:#}");
    }
    let (text, _) = why(&case.folder.join("lib/libxq.so"));
    assert!(text.contains("lib/libxq.so  ✗ is damaged"), "{text}");
}

#[test]
fn a_dependency_that_is_a_named_pipe_is_not_waited_for() {
    let script = "
        mkdir lib; cc -fPIC -shared -Wl,-soname,libxq.so -o lib/libxq.so a.c
        cc -fPIC -shared -o u.so f.c lib/libxq.so -Wl,-rpath,'$ORIGIN/lib'; rm lib/libxq.so; mkfifo lib/libxq.so";
    let case = Case::new("pipe", script);
    let mut command = Command::new("timeout");
    command.args(["20", env!("CARGO_BIN_EXE_dlscope"), "why", "--format", "json", "./u.so"]);
    let output = command.current_dir(&case.folder).env_remove("LD_LIBRARY_PATH").output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let summary = value["summary"].as_str().unwrap();
    assert_eq!(summary, "u.so cannot be loaded: libxq.so, which it needs, is a named pipe, and no file.", "{value:#}");
    assert_eq!(value["system"], Value::Null);
}

#[test]
fn a_folder_of_ld_so_conf_without_ldconfig_is_told() {
    let script = "
        mkdir -p far/away/opt conf; cc -fPIC -shared -Wl,-soname,libconfq.so -o far/away/opt/libconfq.so a.c
        cc -fPIC -shared -o u.so f.c far/away/opt/libconfq.so
        cp -r /etc/ld.so.conf.d/. conf; echo \"$PWD/far/away/opt\" > conf/zz.conf";
    let case = Case::new("ld-so-conf", script);
    // A mount namespace of its own; who is not root needs a user namespace, too.
    let script =
        format!("mount --bind conf /etc/ld.so.conf.d && {} why --format json ./u.so", env!("CARGO_BIN_EXE_dlscope"));
    let ways = ["-m", "-rm"].map(|flags| {
        let mut command = Command::new("unshare");
        command.args([flags, "sh", "-c", &script]).current_dir(&case.folder).env_remove("LD_LIBRARY_PATH").output()
    });
    let said = ways.iter().flatten().find_map(|output| serde_json::from_slice::<Value>(&output.stdout).ok());
    let Some(value) = said else {
        assert!(env::var_os("CI").is_none(), "no folder can be mounted here: {ways:?}");
        eprintln!("skipped: no folder can be mounted here");
        return;
    };
    assert!(cures_of(&value).starts_with("Run ldconfig (as root): /"), "{value:#}");
}

#[test]
fn paths_of_a_file_behind_a_link_are_looked_at_from_the_file() {
    if !patchelf() {
        return;
    }
    let script = "
        mkdir -p libs real x/y; cc -fPIC -shared -Wl,-soname,libupq.so -o libs/libupq.so a.c
        cc -fPIC -shared -o real/u.so f.c libs/libupq.so -Wl,-rpath,'$ORIGIN/../libs'; ln -s ../../real/u.so x/y/u.so";
    Case::new("origin-link-up", script).cure("x/y/u.so");
}

#[test]
fn ld_library_path_has_the_folder_of_a_library_whose_link_is_missing() {
    let script = "
        mkdir d1 d2; echo 'int b(void); int a(void) { return b(); }' > c.c
        cc -fPIC -shared -Wl,-soname,libnest.so.1 -o d2/libnest.so.1.0 b.c
        cc -fPIC -shared -Wl,-soname,liboutq.so -o d1/liboutq.so c.c d2/libnest.so.1.0
        cc -fPIC -shared -o u.so f.c d1/liboutq.so -Wl,--allow-shlib-undefined";
    let case = Case::new("nested-variable", script);
    let value = case.why("./u.so");
    case.sh("ln -s libnest.so.1.0 d2/libnest.so.1");
    let setting = value["environment"][0].as_str().unwrap();
    assert_eq!(case.opened("./u.so", Some(setting)), "loads\n", "{value:#}");
}

#[test]
fn a_link_is_made_also_where_a_shell_needs_quotes() {
    let script = "
        mkdir 'd d'; cc -fPIC -shared -Wl,-soname,libspq.so.1 -o 'd d/libspq.so.1.0' a.c
        cc -fPIC -shared -o 'd d/u.so' f.c 'd d/libspq.so.1.0' -Wl,-rpath,'$ORIGIN'; printf libspq.so.1.0 > 'd d/libspq.so.1'";
    Case::new("former-link-space", script).cure("d d/u.so");
    // Only bash can write a byte that is no text.
    let script = r"
        mkdir s; n=$(printf 'libq\351.so.1'); cc -fPIC -shared -Wl,-soname,$n -o s/$n.0 a.c
        cc -fPIC -shared -o s/u.so f.c s/$n.0 -Wl,-rpath,'$ORIGIN'";
    let case = Case::new("link-no-text", script);
    let value = case.why("s/u.so");
    let command = value["commands"][0].as_str().unwrap();
    let output = Command::new("bash").args(["-c", command]).current_dir(&case.folder).output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    assert_eq!(case.opened("s/u.so", None), "loads\n", "{value:#}");
}

#[test]
fn blanks_semicolons_and_a_missing_dollar_in_a_path_are_told_and_mended() {
    if !patchelf() {
        return;
    }
    let elements = [
        ("$ORIGIN/lib;", "\";\" at its end is a part of the path"),
        ("$ORIGIN/lib ", "\" \" at its end is a part of the path"),
        (" $ORIGIN/lib", "\" \" at its beginning is a part of the path"),
        ("ORIGIN/lib", "the '$' before ORIGIN is missing"),
    ];
    for (at, (element, said)) in elements.into_iter().enumerate() {
        let script = format!(
            "mkdir lib; cc -fPIC -shared -Wl,-soname,libxq.so -o lib/libxq.so a.c
             echo 'int a(void); int f(void) {{ return a(); }}' > f.c; cc -fPIC -shared -o u.so f.c lib/libxq.so
             patchelf --set-rpath '{element}' u.so"
        );
        let case = Case::new(&format!("blanks-{at}"), &script);
        let value = case.cure("./u.so");
        let mistake = value["problems"][0]["mistakes"][0].as_str().unwrap();
        assert!(mistake.contains(said), "{mistake}");
        case.sh("readelf -dW u.so | grep -F '[$ORIGIN/lib]'");
    }
}

#[test]
fn a_cure_gives_no_reason_that_is_not_there() {
    let script = "
        mkdir lib 'a;b'; cc -fPIC -shared -o lib/libsl.so a.c; cc -fPIC -shared -Wl,-soname,libsemi.so -o 'a;b/libsemi.so' b.c
        cc -fPIC -shared -o slash.so f.c $PWD/lib/libsl.so
        echo 'int b(void); int f(void) { return b(); }' > f.c; cc -fPIC -shared -o semi.so f.c 'a;b/libsemi.so'
        rm lib/libsl.so";
    let case = Case::new("reasons", script);
    let cures = cures_of(&case.why("./slash.so"));
    assert!(cures.starts_with("Put the library back to /") && !cures.contains("Start the program"), "{cures}");
    let cures = cures_of(&case.why("./semi.so"));
    assert!(cures.contains("a ';' in the name of a folder") && !cures.contains("C library"), "{cures}");
    if library("libz.so.1").is_some() {
        let cures = cures_of(&case.why("libz.so.2"));
        assert!(cures.contains("or ask for libz.so.1, if that one will do") && !cures.contains("anew"), "{cures}");
    }
}

#[test]
fn a_dependency_that_is_only_for_building_is_to_be_taken_away() {
    let script = "
        mkdir s; cc -fPIC -shared -Wl,-soname,libxq.so -o s/libxq.so a.c
        cc -fPIC -shared -o s/u.so f.c s/libxq.so -Wl,-rpath,'$ORIGIN'";
    let case = Case::new("for-building", script);
    let contents: [(&[u8], &str, &str); 8] = [
        (b"INPUT(libreal.so.1)\n", "a linker script", "It names libreal.so.1."),
        (b"# x.la - a libtool library file\ndlname='libx.so.1'\n", "a libtool file", "It names libx.so.1."),
        (b"!<arch>\ndebian-binary   1 2 3 \n", "a Debian package", "dpkg-deb -x"),
        (b"\xed\xab\xee\xdb\x03\0", "an RPM package", "rpm2archive"),
        (b"<?xml version=\"1.0\"?>\n<!DOCTYPE html>\n<html/>", "an HTML page", "Download"),
        (b"\0asm\x01\0\0\0", "a WebAssembly module", "x86_64 Linux"),
        (b"7z\xbc\xaf\x27\x1c\0\0", "packed by 7z", "Unpack"),
        (&[0; 9000], "nothing but zeros", "once more"),
    ];
    for (bytes, said, cure) in contents {
        fs::write(case.folder.join("s/libxq.so"), bytes).unwrap();
        let value = case.why("s/u.so");
        assert!(value["summary"].as_str().unwrap().contains(said), "{said}: {value:#}");
        assert!(cures_of(&value).contains(cure) && !cures_of(&value).contains("Open the library"), "{value:#}");
    }
}

#[test]
fn a_removed_dt_needed_is_added_again_with_a_path_to_it_if_there_is_none() {
    if !patchelf() {
        return;
    }
    for (name, place, rpath) in [("removed", ".", "$ORIGIN"), ("removed-far", "deep", "/opt/kept")] {
        let script = format!(
            "mkdir -p deep; echo 'V1 {{ global: a; }};' > map
             cc -fPIC -shared -Wl,-soname,libxq.so -Wl,--version-script=map -o {place}/libxq.so a.c
             echo 'int a(void); int f(void) {{ return a(); }}' > f.c
             cc -fPIC -shared -o u.so f.c {place}/libxq.so -Wl,-rpath,'{rpath}'
             patchelf --remove-needed libxq.so u.so"
        );
        let value = Case::new(name, &script).cure("./u.so");
        assert!(cures_of(&value).contains("patchelf --add-needed 'libxq.so' ./u.so"), "{value:#}");
    }
    // The same without versions: only the symbol is undefined.
    let script = "
        mkdir deep; cc -fPIC -shared -Wl,-soname,libxq.so -o deep/libxq.so a.c
        cc -fPIC -shared -o u.so f.c";
    Case::new("never-needed", script).cure("./u.so");
}

#[test]
fn no_other_libc_comes_into_the_process_by_ld_library_path() {
    let script =
        format!("{BOTH} cc -fPIC -shared -o app/f.so user.c -Lone -laq -Ltwo -lbq; cp two/libbq.so two/libc.so.6");
    let value = Case::new("other-libc", &script).why("app/f.so");
    assert_eq!(value["environment"].as_array().unwrap().len(), 0, "{value:#}");
    assert!(!cures_of(&value).contains("LD_LIBRARY_PATH="), "{value:#}");
}

#[test]
fn static_tls_that_only_the_systems_loader_lacks_is_told_in_its_words_with_the_variables_and_a_tunable() {
    let script = "
        echo '__thread char big[4000] = {1}; __thread int little; int f(void) { return big[0] + little; }' > p.c
        cc -fPIC -shared -ftls-model=initial-exec -o p.so p.c";
    let case = Case::new("static-tls", script);
    let value = case.cure("./p.so");
    let summary = value["summary"].as_str().unwrap();
    assert!(summary.contains("cannot allocate memory in static TLS block"), "{value:#}");
    let variables = value["problems"][0]["cause"]["variables"].as_array().unwrap();
    assert_eq!(variables[0], serde_json::json!(["big", 4000]), "{value:#}");
    assert!(cures_of(&value).contains("GLIBC_TUNABLES=glibc.rtld.optional_static_tls="), "{value:#}");
}

// ── the system's loader ──────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_systems_loader_is_asked_without_running_a_constructor() {
    let script = r#"
        cat > c.c <<'C'
#include <fcntl.h>
static void made(const char *name) { open(name, O_CREAT | O_WRONLY, 0600); }
__attribute__((constructor)) static void by_array(void) { made("by-array"); }
void by_init(void) { made("by-init"); }
__attribute__((destructor)) static void by_fini(void) { made("by-fini"); }
C
        cc -fPIC -shared -Wl,-init,by_init -o c.so c.c"#;
    let case = Case::new("constructor", script);
    let value = case.why("./c.so");
    assert_eq!((&value["loads"], &value["system"]["loads"]), (&true.into(), &true.into()), "{value:#}");
    for name in ["by-array", "by-init", "by-fini"] {
        assert!(!case.folder.join(name).exists(), "{name}: a function of the library ran");
    }
    assert_eq!(case.opened("./c.so", None), "loads\n");
    assert!(case.folder.join("by-array").exists() && case.folder.join("by-init").exists());
    let offline = json(&["--offline", case.folder.join("c.so").to_str().unwrap()]);
    assert_eq!((&offline["loads"], &offline["system"]), (&true.into(), &Value::Null));
}

#[test]
fn a_refusal_that_the_system_does_not_share_is_called_dlscopes() {
    let case = Case::new("exec-stack", "cc -fPIC -shared -z execstack -o p.so a.c");
    let system = case.opened("./p.so", None);
    let value = case.why("./p.so");
    let summary = value["summary"].as_str().unwrap();
    // glibc refuses executable stacks since 2.41.
    match system.as_str() {
        "loads\n" => {
            assert!(summary.starts_with("p.so is loaded by the system's dlopen, and not by dlscope: "), "{summary}")
        }
        _ => assert!(summary.starts_with("p.so cannot be loaded: "), "{summary}"),
    }
    assert_eq!(value["loads"], false);
}

#[test]
fn a_version_of_a_library_without_any_is_told_where_glibc_ends_the_process() {
    let script = r#"
        printf '.text
.globl foo
.type foo,@function
foo: ret
.section .note.GNU-stack,"",@progbits
' > p.s
        echo 'V1 { global: foo; };' > map
        cc -shared -nostdlib -Wl,-soname,libpq.so -Wl,--version-script=map -o libpq.so p.s
        echo 'int foo(void); int f(void) { return foo(); }' > u.c
        cc -shared -fPIC -nostdlib -o u.so u.c -L. -lpq -Wl,-rpath,'$ORIGIN'
        cc -shared -nostdlib -Wl,-soname,libpq.so -o libpq.so p.s"#;
    let case = Case::new("no-versions", script);
    let value = case.why("./u.so");
    if case.opened("./u.so", None).contains("Assertion") {
        let summary = value["summary"].as_str().unwrap();
        assert!(summary.contains("it needs version V1 of libpq.so, the one found has no versions at all"), "{summary}");
    }
}

// ── dependencies that are no libraries ───────────────────────────────────────────────────────────────────

#[test]
fn a_dependency_that_is_no_library_is_the_culprit_and_called_by_its_name() {
    let script = "
        mkdir s; cc -fPIC -shared -Wl,-soname,libxq.so -o s/libxq.so a.c
        cc -fPIC -shared -o s/u.so f.c s/libxq.so -Wl,-rpath,'$ORIGIN'; cc -c -fPIC -o a.o a.c";
    let case = Case::new("contents", script);
    let file = case.folder.join("s/libxq.so");
    let whole = fs::read(&file).unwrap();
    let object = fs::read(case.folder.join("a.o")).unwrap();
    let mut arm = whole.clone();
    arm[18..20].copy_from_slice(&183_u16.to_le_bytes()); // e_machine: EM_AARCH64
    let contents: [(&[u8], &str); 17] = [
        (b"", "an empty file"),
        (b"INPUT(libreal.so.1)\n", "a linker script"),
        (b"!<arch>\nfoo", "a static library"),
        (b"# x.la - a libtool library file\ndlname='libx.so.1'\n", "a libtool file"),
        (b"BC\xc0\xde1234", "LLVM bitcode"),
        (b"\x1f\x8b\x08\x00", "packed by gzip"),
        (b"\xfd7zXZ\0", "packed by xz"),
        (b"<!DOCTYPE html><html>404</html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
        (b"\xcf\xfa\xed\xfe\x07\0\0\x01", "a Mach-O file"),
        (b"MZ\x90\0", "a PE file"),
        (b"libxq.so.1.2", "it was a symbolic link once"),
        (b"#!/bin/sh\n", "a script for /bin/sh"),
        (b"words\n", "a text file"),
        (&object, "is an object file"),
        (&whole[..100], "is cut off or damaged"),
        (&arm, "was built for another processor"),
    ];
    for (bytes, said) in contents {
        fs::write(&file, bytes).unwrap();
        let value = case.why("s/u.so");
        let summary = value["summary"].as_str().unwrap();
        assert!(
            summary.starts_with("u.so cannot be loaded: libxq.so, which it needs, ") && summary.contains(said),
            "{said}: {summary}"
        );
        assert_eq!(value["system"]["loads"], false);
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let value = case.why("s/u.so");
    assert_eq!(value["summary"], "u.so cannot be loaded: libxq.so, which it needs, is a folder.", "{value:#}");
}

#[test]
fn a_link_that_became_text_is_made_a_link_again() {
    let script = "
        mkdir s; cc -fPIC -shared -Wl,-soname,libxq.so.1 -o s/libxq.so.1 a.c
        cc -fPIC -shared -o s/u.so f.c s/libxq.so.1 -Wl,-rpath,'$ORIGIN'
        mv s/libxq.so.1 s/libxq.so.1.2; printf libxq.so.1.2 > s/libxq.so.1";
    Case::new("former-link", script).cure("s/u.so");
}

#[test]
fn a_library_for_musl_is_called_that() {
    if !patchelf() {
        return;
    }
    for name in ["libc.so", "libc.musl-x86_64.so.1"] {
        let script = format!(
            "echo 'int puts(const char *); int f(void) {{ return puts(\"x\"); }}' > f.c; cc -fPIC -shared -o u.so f.c
             patchelf --replace-needed libc.so.6 {name} --clear-symbol-version puts u.so"
        );
        let value = Case::new(&format!("musl-{name}"), &script).why("./u.so");
        let summary = value["summary"].as_str().unwrap();
        assert!(
            summary.starts_with("u.so cannot be loaded: it was built for musl, and this process has glibc"),
            "{summary}"
        );
        let cures = cures_of(&value);
        assert!(cures.starts_with("Build u.so for glibc") && !cures.contains("LD_LIBRARY_PATH"), "{cures}");
    }
}

#[test]
fn relocations_that_only_android_reads_are_told() {
    let case = Case::new("android", "echo 'static int v; int *p = &v;' > p.c; cc -fPIC -shared -o p.so p.c");
    let path = case.folder.join("p.so");
    let mut bytes = fs::read(&path).unwrap();
    let count = 0x6fff_fff9_u64.to_le_bytes(); // DT_RELACOUNT
    let at = bytes.windows(8).position(|window| window == count).expect("it has a DT_RELACOUNT");
    bytes[at..at + 8].copy_from_slice(&0x6000_0011_u64.to_le_bytes()); // DT_ANDROID_RELA
    fs::write(&path, bytes).unwrap();
    let value = case.why("./p.so");
    assert_eq!(value["loads"], false, "{value:#}");
    assert!(flat(&cures_of(&value)).contains("ndroid"), "{value:#}");
}

// ── symbols ──────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_symbol_that_its_library_hides_is_called_hidden() {
    let script = r#"
        echo 'int secret(void) { return 1; } __attribute__((visibility("default"))) int open_one(void) { return 2; }' > h.c
        cc -fPIC -shared -fvisibility=hidden -Wl,-soname,libhid.so -o libhid.so h.c
        echo '{ global: open_one; local: *; };' > map
        cc -fPIC -shared -Wl,--version-script=map -Wl,-soname,libscript.so -o libscript.so h.c -DX
        echo 'int secret(void); int open_one(void); int f(void) { return secret() + open_one(); }' > u.c
        cc -fPIC -shared -o by-visibility.so u.c -Wl,--no-as-needed -L. -lhid -Wl,-rpath,'$ORIGIN'
        cc -fPIC -shared -o by-script.so u.c -Wl,--no-as-needed -L. -lscript -Wl,-rpath,'$ORIGIN'"#;
    let case = Case::new("hidden", script);
    for (file, said) in [
        ("by-visibility.so", "libhid.so has secret, but hidden: compiled with -fvisibility=hidden"),
        ("by-script.so", "libscript.so has secret, but hidden"),
    ] {
        let value = case.why(&format!("./{file}"));
        assert!(cures_of(&value).contains(said), "{value:#}");
    }
}

#[test]
fn a_class_without_its_key_function_and_runtimes_of_compilers_are_explained() {
    let script = r#"
        echo 'struct A { virtual ~A(); virtual int g(); }; struct B : A { int g() override { return 1; } }; A *mk() { return new B; }' > p.cc
        c++ -fPIC -shared -o p.so p.cc
        echo 'struct Shape { Shape(); int x; }; Shape *mk() { return new Shape; }' > q.cc
        echo 'struct Shape { ~Shape(); int x; }; Shape::~Shape() {}' > r.cc
        c++ -fPIC -shared -Wl,-soname,libshape.so -o libshape.so r.cc
        c++ -fPIC -shared -o q.so q.cc -Wl,--no-as-needed -L. -lshape -Wl,-rpath,'$ORIGIN'
        echo 'struct S { virtual ~S(); }; S::~S() {}' > s.cc; c++ -fno-rtti -fPIC -shared -Wl,-soname,libs.so -o libs.so s.cc
        echo 'struct S { virtual ~S(); }; struct T : S {}; S *mk() { return new T; }' > t.cc
        c++ -fPIC -shared -o t.so t.cc -L. -ls -Wl,-rpath,'$ORIGIN'
        for s in __asan_init __tsan_func_entry __isoc23_no_such __muloti4 __gcov_init; do
            echo "int $s(void); int f(void) { return $s(); }" > s.c; cc -fPIC -shared -nostdlib -o $s.so s.c
        done"#;
    let case = Case::new("families", script);
    let cures = cures_of(&case.why("./p.so"));
    assert!(
        cures.contains("first virtual function of A that is neither inline nor pure (its key function)"),
        "{cures}"
    );
    assert!(!cures.contains("misspelt"), "{cures}");
    let cures = cures_of(&case.why("./t.so"));
    assert!(cures.contains("Compile libs.so without -fno-rtti"), "{cures}");
    let cures = cures_of(&case.why("./q.so"));
    assert!(!cures.contains('~') && !cures.contains("misspelt") && !cures.contains("other parameters"), "{cures}");
    for (symbol, said) in [
        ("__asan_init", "LD_PRELOAD=$(gcc -print-file-name=libasan.so)"),
        ("__tsan_func_entry", "-fsanitize=thread"),
        ("__isoc23_no_such", "headers of glibc 2.38"),
        ("__muloti4", "--rtlib=compiler-rt"),
        ("__gcov_init", "--coverage"),
    ] {
        let cures = cures_of(&case.why(&format!("./{symbol}.so")));
        assert!(cures.contains(said), "{symbol}: {cures}");
        assert!(!cures.contains("-lasan") && !cures.contains("-ltsan"), "{symbol}: {cures}");
    }
}

#[test]
fn the_runtime_of_a_sanitizer_that_would_come_too_late_is_told() {
    let case = Case::new("late-asan", "cc -fPIC -shared -fsanitize=address -o p.so a.c");
    let text = case.opened("./p.so", None);
    assert!(text.contains("runtime does not come first"), "{text}");
    let value = case.why("./p.so");
    let summary = value["summary"].as_str().unwrap();
    assert!(summary.contains("which must be in the program from its start"), "{summary}");
    assert!(cures_of(&value).contains("LD_PRELOAD=$(gcc -print-file-name=libasan.so)"), "{value:#}");
}

// ── other programs and other systems ─────────────────────────────────────────────────────────────────────

#[test]
fn what_the_host_program_defines_is_not_missing() {
    let script = "
        echo 'int offered(void) { return 1; } int main(void) { return 0; }' > h.c; cc -rdynamic -o host h.c -lm
        echo 'int offered(void); int f(void) { return offered(); }' > p.c; cc -fPIC -shared -o p.so p.c
        echo 'int offered(void); int absent(void); int f(void) { return offered() + absent(); }' > q.c; cc -fPIC -shared -o q.so q.c
        echo 'int Py_IsInitialized(void); int f(void) { return Py_IsInitialized(); }' > e.c; cc -fPIC -shared -o ext.so e.c";
    let case = Case::new("host", script);
    assert_eq!(case.why("./p.so")["loads"], false);
    let with_host =
        |file: &str, host: &Path| json(&["--host", host.to_str().unwrap(), case.folder.join(file).to_str().unwrap()]);
    let host = case.folder.join("host");
    assert_eq!(with_host("p.so", &host)["loads"], true);
    let value = with_host("q.so", &host);
    let symbols = value["problems"][0]["symbols"].as_array().unwrap();
    assert_eq!((symbols.len(), &symbols[0]["name"]), (1, &"absent".into()), "{value:#}");
    // A plugin of Python is told to be one, and not to be linked with libpython.
    let cures = cures_of(&case.why("./ext.so"));
    assert!(cures.contains("--host python3") && !cures.contains("-lpython"), "{cures}");
    let python = Path::new("/usr/bin/python3");
    if python.exists() {
        assert_eq!(with_host("ext.so", python)["loads"], true);
    }
}

#[test]
fn an_older_glibc_is_held_against_what_a_file_needs() {
    // `stat` is a function of its own since glibc 2.33.
    let script = "printf '#include <sys/stat.h>\\nint f(struct stat *s) { return stat(\"/\", s); }\\n' > p.c; cc -fPIC -shared -o p.so p.c";
    let case = Case::new("glibc", script);
    let path = case.folder.join("p.so");
    let path = path.to_str().unwrap();
    let old = json(&["--glibc", "2.28", path]);
    assert_eq!(old["loads"], false);
    let summary = old["summary"].as_str().unwrap();
    assert_eq!(summary, "p.so cannot be loaded: it needs GLIBC_2.33 (stat), and glibc 2.28 does not have that.");
    assert_eq!(old["needed_glibc"][0]["version"], "GLIBC_2.33");
    let new = json(&["--glibc", "2.33", path]);
    assert_eq!(new["loads"], true);
    assert_eq!(dlscope(&["--glibc", "old", path], |_| {}).status.code(), Some(2));
}

/// Compiles a library of this test, once more each time.
fn compile(name: &str, source: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    let path = folder("compiled").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let soname = path.file_name().unwrap().display();
    let language = if compiler == "c++" { "c++" } else { "c" };
    let file = path.with_extension("source");
    fs::write(&file, source).unwrap();
    let output = Command::new(compiler)
        .args(["-shared", "-fPIC", "-O1", "-x", language])
        .arg(&file)
        .args(["-x", "none", "-o"])
        .arg(&path)
        .args(flags)
        .args([format!("-Wl,-soname,{soname}"), "-Wl,-rpath,$ORIGIN".into()])
        .output()
        .unwrap_or_else(|e| panic!("{compiler}: {e}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// A C statement that puts a note with these entries into a library.
fn dlopen_note(json: &str) -> String {
    let json = json.replace('"', "\\\\\\\"");
    format!(
        "__asm__(\".pushsection .note.dlopen,\\\"a\\\",@note\\n.p2align 2\\n.long 4, 2f-1f, 0x407c0c0a\\n.asciz \\\"FDO\\\"\\n\
         1: .asciz \\\"{json}\\\"\\n2: .p2align 2\\n.popsection\");\n"
    )
}

#[test]
fn what_a_library_opens_when_needed_is_listed_with_whether_it_is_there() {
    let case = Case::new(
        "optional",
        "mkdir plugins; cc -fPIC -shared -o plugins/libplugged.so.2 a.c; : > plugins/libempty.so.1",
    );
    let source = [
        dlopen_note(
            r#"[{"feature":"zip","description":"Reads archives","priority":"recommended","soname":["libnosuchzip.so.9","libplugged.so.2"]}]"#,
        ),
        dlopen_note(
            r#"[{"soname":["libnobodyhas.so.1"],"priority":"suggested","unknown":{"key":1}},{"soname":["libempty.so.1"]}]"#,
        ),
        "int f(void) { return 1; }".into(),
    ];
    fs::write(case.folder.join("noted.c"), source.concat()).unwrap();
    case.sh("cc -fPIC -shared -o noted.so noted.c -Wl,-rpath,'$ORIGIN/plugins'");
    let value = case.why("./noted.so");
    assert_eq!(value["loads"], true, "{value:#}");
    let optional = value["optional"].as_array().unwrap();
    assert_eq!(optional.len(), 3, "{value:#}");
    assert_eq!(optional[0]["feature"], "zip");
    assert_eq!(optional[0]["libraries"][0]["path"], Value::Null);
    let path = optional[0]["libraries"][1]["path"].as_str().unwrap();
    assert!(
        path.ends_with("plugins/libplugged.so.2"),
        "the DT_RUNPATH of the library that calls dlopen counts: {path}"
    );
    assert_eq!((&optional[1]["priority"], &optional[1]["libraries"][0]["path"]), (&"suggested".into(), &Value::Null));
    let (text, status) = why(&case.folder.join("noted.so"));
    let words = flat(&text);
    assert_eq!(status, 0, "what is optional may be missing: {text}");
    for part in [
        "libnosuchzip.so.9 or libplugged.so.2 (zip: Reads archives), for noted.so, recommended: ✓ /",
        "libnobodyhas.so.1, for noted.so, suggested: ✗ not found",
        "libempty.so.1, for noted.so: ✗",
    ] {
        assert!(words.contains(part), "{part:?} is not in:\n{text}");
    }
    let (text, _) = why(Path::new("libz.so.1"));
    assert!(!text.contains(".note.dlopen"), "{text}");
}

/// A folder that is the root of another system: a libc of its own that has no version but GLIBC_2.2.5, libraries in the
/// cache, behind a DT_RUNPATH, and behind a symbolic link that is absolute.
fn other_system() -> Case {
    let script = r#"
        mkdir -p r/lib/x86_64-linux-gnu r/usr/lib/x86_64-linux-gnu r/opt/cached r/opt/run r/opt/real r/etc r/app
        echo 'GLIBC_2.2.5 { global: puts; local: *; };' > libc.map
        echo 'int puts(const char *s) { return s != 0; }' > libc.c
        cc -nostdlib -fPIC -shared -Wl,-soname,libc.so.6 -Wl,--version-script,libc.map -o r/lib/x86_64-linux-gnu/libc.so.6 libc.c
        for name in cached run linked; do
            echo "int $name(void) { return 1; }" > $name.c
            cc -nostdlib -fPIC -shared -Wl,-soname,lib$name.so.1 -o lib$name.so.1 $name.c
        done
        mv libcached.so.1 r/opt/cached; mv librun.so.1 r/opt/run; mv liblinked.so.1 r/opt/real/
        ln -s /opt/real/liblinked.so.1 r/usr/lib/x86_64-linux-gnu/liblinked.so.1
        echo /opt/cached > r/etc/ld.so.conf
        PATH=$PATH:/sbin:/usr/sbin ldconfig -r r
        echo '#include <stdio.h>
              int cached(void), run(void), linked(void); int f(void) { puts("x"); return cached() + run() + linked(); }' > app.c
        cc -fPIC -shared -nostdlib -o r/app/app.so app.c r/opt/cached/libcached.so.1 r/opt/run/librun.so.1 \
            r/opt/real/liblinked.so.1 r/lib/x86_64-linux-gnu/libc.so.6 -Wl,-rpath,/opt/run"#;
    Case::new("root", script)
}

#[test]
fn with_root_everything_is_looked_up_in_the_other_system() {
    let case = other_system();
    let inside = |library: &str, change: &dyn Fn(&mut Command)| -> (String, i32) {
        let change = |command: &mut Command| {
            change(command.current_dir(&case.folder));
        };
        why_with(&["--root", "r", library], change)
    };
    let plain = |_: &mut Command| {};
    let first = dlscope(&["--root", "r", "/app/app.so"], |command| _ = command.current_dir(&case.folder));
    if String::from_utf8_lossy(&first.stderr).contains("chroot(") {
        assert!(env::var_os("CI").is_none(), "no process can change its root directory here: {first:?}");
        eprintln!("skipped: no process can change its root directory here");
        return;
    }
    let (text, status) = inside("/app/app.so", &plain);
    assert_eq!(status, 0, "{text}");
    for part in [
        "/opt/cached/libcached.so.1",
        "/opt/run/librun.so.1",
        "/x86_64-linux-gnu/liblinked.so.1",
        "/x86_64-linux-gnu/libc.so.6",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(text.contains("it would have to be asked in r"), "{text}");
    // The path outside leads to the same file, and the environment of this system does not count there.
    let with_variable = |command: &mut Command| {
        command.env("LD_LIBRARY_PATH", "/app");
    };
    for path in ["r/app/app.so", case.folder.join("r/app/app.so").to_str().unwrap()] {
        let (text, status) = inside(path, &with_variable);
        assert_eq!(status, 0, "{path}: {text}");
        assert!(!text.contains("LD_LIBRARY_PATH"), "{text}");
    }
    // Outside, none of it is found.
    let (text, status) = why(&case.folder.join("r/app/app.so"));
    assert_eq!(status, 1, "{text}");

    // What is missing inside is missing, although this system has it, and a libc without a version lacks it.
    case.sh("echo 'const char *zlibVersion(void); const char *f(void) { return zlibVersion(); }' > z.c");
    if let Some(zlib) = library("libz.so.1") {
        case.sh(&format!("cc -fPIC -shared -nostdlib -o r/app/z.so z.c {zlib}"));
        let (text, status) = inside("/app/z.so", &plain);
        assert_eq!(status, 1, "{text}");
        assert!(flat(&text).starts_with("z.so cannot be loaded: it needs libz.so.1, which cannot be found"), "{text}");
    }
    case.sh("echo '#include <stdlib.h>\n__asm__(\".symver getauxval,getauxval@GLIBC_2.16\"); unsigned long getauxval(unsigned long); unsigned long f(void) { return getauxval(1); }' > new.c; cc -fPIC -shared -o r/app/new.so new.c");
    let (text, status) = inside("/app/new.so", &plain);
    assert_eq!(status, 1, "{text}");
    assert!(flat(&text).contains("version GLIBC_2.16 of libc.so.6"), "{text}");
    let (text, status) = inside("/there/is/none.so", &plain);
    assert_eq!(status, 1, "{text}");
}

// ── which library is meant ───────────────────────────────────────────────────────────────────────────────

#[test]
fn the_usual_library_is_named_for_a_symbol_and_no_sanitizer_or_other_libc() {
    if !patchelf() {
        return;
    }
    for (symbol, soname) in [("_Znwm", "libstdc++.so.6"), ("lgamma", "libm.so.6"), ("crypt", "libcrypt.so.1")] {
        if library(soname).is_none() {
            continue;
        }
        let script = format!(
            "echo 'int {symbol}(); int f(void) {{ return {symbol}(); }}' > u.c; cc -w -fno-builtin -fPIC -shared -o u.so u.c"
        );
        let value = Case::new(&format!("usual-{symbol}"), &script).cure("./u.so");
        assert_eq!(value["problems"][0]["symbols"][0]["nearest"][0]["soname"], soname, "{value:#}");
    }
    // A sanitizer's runtime and a library for musl lie beside the library, and both define the symbol.
    let script = "
        echo 'int never_meant(void) { return 1; }' > n.c; echo 'int of_musl(void) { return 1; }' > m.c
        cc -fPIC -shared -Wl,-soname,libasan.so.8 -o libasan.so.8 n.c
        cc -fPIC -shared -nostdlib -Wl,-soname,libc.musl-x86_64.so.1 -o libc.musl-x86_64.so.1 m.c
        cc -fPIC -shared -nostdlib -Wl,--no-as-needed -Wl,-soname,libformusl.so.1 -o libformusl.so.1 n.c ./libc.musl-x86_64.so.1
        cc -fPIC -shared -Wl,-soname,libzlast.so.1 -o libzlast.so.1 n.c
        echo 'int never_meant(void); int f(void) { return never_meant(); }' > f.c; cc -fPIC -shared -o f.so f.c
        echo 'int of_musl(void); int f(void) { return of_musl(); }' > g.c; cc -fPIC -shared -o g.so g.c";
    let case = Case::new("never-meant", script);
    let nearest = case.why("./g.so")["problems"][0]["symbols"][0]["nearest"].clone();
    assert_eq!(nearest.as_array().unwrap().len(), 0, "{nearest:#}");
    let value = case.cure("./f.so");
    let nearest = value["problems"][0]["symbols"][0]["nearest"].as_array().unwrap();
    assert_eq!((nearest.len(), &nearest[0]["soname"]), (1, &"libzlast.so.1".into()), "{value:#}");
}

#[test]
fn commands_for_another_system_change_files_of_that_system() {
    let script = r#"
        mkdir -p r/lib/x86_64-linux-gnu r/opt/whyroot r/app; ln -s /opt/whyroot r/app/link
        cc -nostdlib -fPIC -shared -Wl,-soname,librooted.so.1 -o r/opt/whyroot/librooted.so.1.0 a.c
        cc -nostdlib -fPIC -shared -o r/opt/whyroot/f.so f.c r/opt/whyroot/librooted.so.1.0 -Wl,-rpath,'$ORIGIN'
        cc -nostdlib -fPIC -shared -o r/app/g.so f.c r/opt/whyroot/librooted.so.1.0"#;
    let case = Case::new("root-commands", script);
    let root = case.folder.join("r").canonicalize().unwrap();
    let root = root.to_str().unwrap();
    let first = dlscope(&["--root", root, "/opt/whyroot/f.so"], |_| {});
    if String::from_utf8_lossy(&first.stderr).contains("chroot(") {
        eprintln!("skipped: no process can change its root directory here");
        return;
    }
    for (file, made) in [("/app/link/f.so", "opt/whyroot/librooted.so.1"), ("/app/g.so", "app/g.so")] {
        let before = json(&["--root", root, file]);
        assert_eq!((&before["loads"], &before["environment"]), (&false.into(), &Value::Array(vec![])), "{before:#}");
        let commands = before["commands"].as_array().unwrap();
        assert!(commands.iter().any(|c| c.as_str().unwrap().ends_with(&format!(" {root}/{made}"))), "{before:#}");
        assert!(cures_of(&before).contains(commands[0].as_str().unwrap()), "{before:#}");
        if file.ends_with("g.so") && !patchelf() {
            return;
        }
        commands.iter().for_each(|command| case.sh(command.as_str().unwrap()));
        assert_eq!(json(&["--root", root, file])["loads"], true, "{before:#}");
    }
    let (text, _) = why_with(&["--root", root, "/there/is/none.so"], |_| {});
    assert!(!text.contains("The commands are for"), "{text}");
}

#[test]
fn the_libraries_of_the_host_program_and_its_rpath_count() {
    let script = "
        mkdir lib; echo 'int of_host(void) { return 1; }' > o.c
        cc -fPIC -shared -Wl,-soname,libofhost.so.1 -o lib/libofhost.so.1 o.c
        echo 'int of_host(void); int f(void) { return of_host(); }' > f.c; cc -fPIC -shared -o f.so f.c lib/libofhost.so.1
        cc -fPIC -shared -o g.so f.c lib/libofhost.so.1 -Wl,--enable-new-dtags,-rpath,/opt/nowhere
        cat > h.c <<'C'
#include <dlfcn.h>
#include <stdio.h>
int of_host(void);
int main(int count, char **arguments) { puts(dlopen(arguments[1], RTLD_NOW) ? \"loads\" : dlerror()); return CALL; }
C
        cc -DCALL='!of_host()' -o by-soname h.c lib/libofhost.so.1 -Wl,--enable-new-dtags,-rpath,'$ORIGIN/lib'
        cc -DCALL=0 -o by-rpath h.c -Wl,--disable-new-dtags,-rpath,'$ORIGIN/lib'
        cc -DCALL=0 -o by-runpath h.c -Wl,--enable-new-dtags,-rpath,'$ORIGIN/lib'";
    let case = Case::new("host-libraries", script);
    for (host, file, loads) in [
        ("by-soname", "f.so", true),
        ("by-soname", "g.so", true),
        ("by-rpath", "f.so", true),
        ("by-rpath", "g.so", false),
        ("by-runpath", "f.so", false),
    ] {
        let output = Command::new(case.folder.join(host)).arg(format!("./{file}")).current_dir(&case.folder).output();
        let says = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(says == "loads\n", loads, "{host} {file}: {says}");
        let (host, file) = (case.folder.join(host), case.folder.join(file));
        let (text, status) = why_with(&["--host", host.to_str().unwrap(), file.to_str().unwrap()], |_| {});
        assert_eq!(status == 0, loads, "{text}");
        assert_eq!(text.contains('✗'), !loads, "{text}");
        if loads {
            let said = if host.ends_with("by-rpath") { "(RPATH of by-rpath)" } else { "(already in by-soname)" };
            assert!(text.contains(said), "{text}");
        }
    }
}

#[test]
fn a_packed_format_and_private_symbols_of_glibc_are_held_against_its_version() {
    let script = "
        echo 'int x; int *p[] = {&x, &x, &x}; int puts(const char *); void g(void) { puts(\"\"); }' > r.c
        cc -fPIC -shared -o r.so r.c -Wl,-z,pack-relative-relocs 2>/dev/null || cc -fPIC -shared -o r.so r.c
        cc -fPIC -shared -nostdlib -o bare.so r.c -Wl,-z,pack-relative-relocs 2>/dev/null || cc -fPIC -shared -o bare.so r.c
        echo '__asm__(\".symver __libc_early_init,__libc_early_init@GLIBC_PRIVATE\"); void __libc_early_init(int);
              void f(void) { __libc_early_init(0); }' > p.c; cc -fPIC -shared -o p.so p.c
        cc -fPIC -shared -o m.so a.c -Wl,--no-as-needed -lm";
    let case = Case::new("glibc-formats", script);
    let with = |glibc: &str, file: &str| json(&["--glibc", glibc, case.folder.join(file).to_str().unwrap()]);
    for (file, version) in [("r.so", "GLIBC_ABI_DT_RELR"), ("bare.so", "DT_RELR")] {
        let output = Command::new("readelf").args(["-dW", file]).current_dir(&case.folder).output().unwrap();
        if !String::from_utf8_lossy(&output.stdout).contains("(RELR)") {
            continue;
        }
        let old = with("2.30", file);
        let problem = &old["problems"][0];
        assert_eq!((&problem["problem"], &problem["version"]), (&"too_old_glibc".into(), &version.into()), "{old:#}");
        assert_eq!(old["needed_glibc"][0]["number"], "2.36", "{old:#}");
    }
    let old = with("2.30", "p.so");
    assert_eq!((&old["loads"], &old["problems"][0]["problem"]), (&false.into(), &"private_glibc".into()), "{old:#}");
    assert!(old["summary"].as_str().unwrap().contains("__libc_early_init in version GLIBC_PRIVATE"), "{old:#}");
    assert_eq!(with("2.17", "m.so")["loads"], true, "libm.so.6 is a part of glibc, not something that needs it");
}

#[test]
fn the_system_of_another_c_library_or_processor_is_refused_by_its_name() {
    let script = "
        mkdir -p al/lib arm/lib both/lib/x86_64-linux-gnu
        cc -nostdlib -fPIC -shared -o al/lib/m.so a.c; cp al/lib/m.so arm/lib; cp al/lib/m.so both/lib
        cp al/lib/m.so al/lib/ld-musl-x86_64.so.1; cp al/lib/m.so arm/lib/ld-linux-aarch64.so.1
        cp al/lib/m.so both/lib/ld-musl-x86_64.so.1; cp al/lib/m.so both/lib/x86_64-linux-gnu/libc.so.6";
    let case = Case::new("other-rules", script);
    let inside = |root: &str| dlscope(&["--root", case.folder.join(root).to_str().unwrap(), "/lib/m.so"], |_| {});
    let both = inside("both");
    if String::from_utf8_lossy(&both.stderr).contains("chroot(") {
        eprintln!("skipped: no process can change its root directory here");
        return;
    }
    assert_eq!(both.status.code(), Some(0), "{both:?}");
    for (root, said) in
        [("al", "is musl's: it has the loader /lib/ld-musl-x86_64.so.1"), ("arm", "is one of another processor")]
    {
        let output = inside(root);
        let words = flat(&String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(words.contains(said) && words.contains("not known here"), "{words}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

#[test]
fn the_abi_tag_of_a_function_is_no_other_name() {
    let script = "
        printf '#include <string>\\nnamespace geo { std::string tagged(int) { return \"\"; } }\\n' > p.cc
        printf '#include <string>\\nnamespace geo { std::string tagged(int); }\\nint g() { return geo::tagged(1).size(); }\\n' > f.cc
        for new in 0 1; do
            c++ -D_GLIBCXX_USE_CXX11_ABI=$((1 - new)) -fPIC -shared -Wl,-soname,libtagged$new.so -o libtagged$new.so p.cc
            c++ -D_GLIBCXX_USE_CXX11_ABI=$new -fPIC -shared -o f$new.so f.cc -Wl,--no-as-needed libtagged$new.so -Wl,-rpath,'$ORIGIN'
        done";
    let case = Case::new("abi-tag", script);
    for file in ["./f0.so", "./f1.so"] {
        let value = case.why(file);
        assert_eq!(value["loads"], false, "{value:#}");
        let cures = cures_of(&value);
        assert!(cures.contains("std::string of libstdc++: compile both with the same"), "{cures}");
    }
}

#[test]
fn of_several_files_of_a_name_the_one_is_taken_that_has_what_is_wanted() {
    if !patchelf() {
        return;
    }
    let script = "
        mkdir aa lib
        echo 'V1 { global: a; };' > v1; echo 'V2 { global: a; };' > v2";
    let build = "cc -fPIC -shared -Wl,-soname,libchosen.so.1";
    for (name, good, bad) in
        [("by-version", "a.c -Wl,--version-script=v2", "a.c -Wl,--version-script=v1"), ("by-symbol", "a.c", "b.c")]
    {
        let script = format!(
            "{script}\n{build} -o lib/libchosen.so.1 {good}\ncc -fPIC -shared -o f.so f.c lib/libchosen.so.1
             {build} -o aa/libchosen.so.1 {bad}"
        );
        Case::new(name, &script).cure("./f.so");
        // The same with files that have another name.
        let script =
            format!("{script}\nmv lib/libchosen.so.1 lib/libchosen.so.1.1; mv aa/libchosen.so.1 aa/libchosen.so.1.2");
        Case::new(&format!("{name}-link"), &script).cure("./f.so");
    }
}

#[test]
fn a_file_of_the_name_that_cannot_be_used_is_told_and_no_command_leads_to_it() {
    let script = "
        mkdir lib
        cc -fPIC -shared -Wl,-soname,librejected.so.1 -o lib/librejected.so.1 a.c; cp lib/librejected.so.1 keep
        cc -fPIC -shared -o f.so f.c lib/librejected.so.1
        cc -fPIC -shared -nostdlib -Wl,-soname,libc.musl-x86_64.so.1 -o libc.musl-x86_64.so.1 b.c
        echo 'int main(void) { return 0; }' > m.c";
    for (name, change, said, cure) in [
        (
            "machine",
            "printf '\\267' | dd of=lib/librejected.so.1 bs=1 seek=18 conv=notrunc",
            "was built for another processor (AARCH64, not X86_64)",
            "Install the x86_64 build",
        ),
        (
            "class",
            "printf '\\001' | dd of=lib/librejected.so.1 bs=1 seek=4 conv=notrunc",
            "is a 32-bit library",
            "x86_64",
        ),
        (
            "lfs",
            "printf 'version https://git-lfs.github.com/spec/v1\\noid x\\n' > lib/librejected.so.1",
            "it is a Git LFS pointer",
            "git lfs pull",
        ),
        (
            "musl",
            "cc -fPIC -shared -nostdlib -Wl,--no-as-needed -o lib/librejected.so.1 a.c ./libc.musl-x86_64.so.1",
            "was built for musl",
            "for glibc",
        ),
        ("program", "cc -pie -fPIE -o lib/librejected.so.1 m.c", "is a program", "Install the package"),
    ] {
        let case = Case::new(&format!("rejected-{name}"), &format!("{script}\n{change}"));
        let path = case.folder.join("f.so");
        let value = json(&[path.to_str().unwrap()]);
        let none = Value::Array(vec![]);
        assert_eq!((&value["commands"], &value["environment"]), (&none, &none), "{value:#}");
        let (text, _) = why(&path);
        let words = flat(&text);
        let there = format!("rejected-{name}/lib/librejected.so.1 is called so, but it");
        assert!(words.contains(&there) && words.contains(said), "{text}");
        assert!(cures_of(&value).contains(cure), "{value:#}");
    }
}

#[test]
fn the_newest_of_several_builds_is_linked() {
    let script = "
        mkdir s; cc -fPIC -shared -Wl,-soname,libnewest.so.1 -o s/libnewest.so.1.11 a.c; cp s/libnewest.so.1.11 s/libnewest.so.1.10
        cc -fPIC -shared -Wl,-soname,libnewest.so.1 -o s/libnewest.so.1.9 a.c
        cc -fPIC -shared -o s/f.so f.c s/libnewest.so.1.11 -Wl,-rpath,'$ORIGIN'";
    let case = Case::new("newest", script);
    let value = case.cure("s/f.so");
    assert_eq!(
        fs::read_link(case.folder.join("s/libnewest.so.1")).unwrap(),
        Path::new("libnewest.so.1.11"),
        "{value:#}"
    );
}

#[test]
fn a_library_whose_soname_no_file_has_gets_a_link_when_it_is_to_be_needed() {
    if !patchelf() {
        return;
    }
    let script = "
        mkdir lib; echo 'int only_linked(void) { return 1; }' > l.c
        cc -fPIC -shared -Wl,-soname,libonlylinked.so.4 -o lib/libonlylinked.so l.c
        echo 'int only_linked(void); int f(void) { return only_linked(); }' > f.c; cc -fPIC -shared -o f.so f.c";
    let case = Case::new("provider-link", script);
    case.cure("./f.so");
    assert_eq!(fs::read_link(case.folder.join("lib/libonlylinked.so.4")).unwrap(), Path::new("libonlylinked.so"));
}
