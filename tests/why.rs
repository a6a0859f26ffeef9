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
        ("/etc/passwd", "passwd cannot be loaded: it is not an ELF file.", "`file /etc/passwd`"),
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
