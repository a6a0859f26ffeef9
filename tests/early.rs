//! Programs that ask the loader early, or from where it hurts: constructors that run before all others, allocators,
//! sanitizers, signal handlers. Each does the same as on glibc. The C files are in `tests/early/`.

mod preloading;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use preloading::{library, plain, preloaded, text};

/// A folder with what the compiler made of a C file.
struct Built {
    source: PathBuf,
    folder: tempfile::TempDir,
}

impl Built {
    /// `None`: there is no compiler.
    fn of(file: &str) -> Option<Built> {
        if Command::new("cc").arg("--version").output().is_err() {
            assert!(env::var_os("CI").is_none(), "cc is not installed");
            eprintln!("skipped: cc is not installed");
            return None;
        }
        let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/early")).join(file);
        Some(Built { source, folder: tempfile::tempdir().unwrap() })
    }

    fn compiles(&self, flags: &str) -> Result<(), String> {
        let mut cc = Command::new("cc");
        cc.args(["-w", "-O1", "-fPIC"]).arg(&self.source).args(flags.split(' ')).current_dir(self.folder.path());
        let output = cc.output().unwrap();
        if output.status.success() { Ok(()) } else { Err(format!("{cc:?}: {}", text(&output))) }
    }

    fn cc(&self, flags: &str) -> &Built {
        self.compiles(flags).unwrap_or_else(|error| panic!("{error}"));
        self
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join(file).to_str().unwrap().into()
    }

    /// Runs `./program` as it is, with this environment.
    fn alone(&self, environment: &[(&str, &str)]) -> Output {
        plain(&["./program"], |command| self.set(command, environment))
    }

    /// Runs it on dlscope.
    fn ours(&self, environment: &[(&str, &str)]) -> Output {
        preloaded(&["./program"], |command| self.set(command, environment))
    }

    fn set(&self, command: &mut Command, environment: &[(&str, &str)]) {
        command.current_dir(self.folder.path()).env_remove("LD_LIBRARY_PATH").envs(environment.iter().copied());
    }

    /// Runs it both ways: same output, same status. Returns them.
    fn same(&self, environment: &[(&str, &str)]) -> String {
        let expected = text(&self.alone(environment));
        assert!(expected.starts_with("exit status: 0"), "{:?} fails by itself: {expected}", self.source);
        assert_eq!(text(&self.ours(environment)), expected, "{environment:?}");
        expected
    }
}

#[test]
fn a_constructor_that_runs_before_all_others_may_ask_for_everything() {
    let Some(built) = Built::of("constructor.c") else { return };
    let folder = built.path("plugins");
    fs::create_dir(&folder).unwrap();
    built.cc("-DPLUGIN -shared -o plugins/libplugin.so").cc("-DLIB -shared -o libearly.so");
    built.cc("-o program ./libearly.so -Wl,--no-as-needed -Wl,-rpath,$ORIGIN");
    let output = built.same(&[("LD_LIBRARY_PATH", &folder)]);
    assert!(output.contains("plugin: 7"), "{output}");

    // The command has its own `dl_iterate_phdr`, but no preload library.
    let mut dlscope = Command::new(env!("CARGO_BIN_EXE_dlscope"));
    dlscope.arg("--version").env("LD_PRELOAD", built.path("libearly.so")).env("LD_LIBRARY_PATH", &folder);
    let output = text(&dlscope.output().unwrap());
    assert!(output.starts_with("exit status: 0") && output.contains("objects: some"), "{output}");
}

#[test]
fn sanitizers_find_what_they_wrap() {
    for sanitizer in ["thread", "address", "undefined"] {
        let Some(built) = Built::of("sanitized.c") else { return };
        built.cc("-DPLUGIN -shared -o libplugin.so");
        if let Err(error) = built.compiles(&format!("-fsanitize={sanitizer} -o program")) {
            assert!(env::var_os("CI").is_none(), "{error}");
            eprintln!("skipped: {error}");
            continue;
        }
        // Its runtime must come first, or it does not start.
        let runtime = Command::new("cc").arg("-print-file-name=libasan.so").output().unwrap();
        let runtime = String::from_utf8(runtime.stdout).unwrap();
        let others = if sanitizer == "address" { runtime.trim() } else { "" };
        let run = |preload: &str| built.alone(&[("LD_PRELOAD", preload)]);
        let (without, with) = (run(others), run(&format!("{others}:{}", library().display())));
        if !without.status.success() {
            // Some kernels lay out memory as the sanitizer does not expect it.
            eprintln!("skipped: {}", text(&without));
            continue;
        }
        assert_eq!(text(&with), text(&without), "{sanitizer}");
    }
}

#[test]
fn a_wrapped_tls_get_addr_reaches_glibcs() {
    let Some(built) = Built::of("wrapped_tls.c") else { return };
    built.cc("-DPLUGIN -shared -o libplugin.so").cc("-DWRAPPER -shared -o libwrapper.so");
    built.cc("-pthread -o program ./libwrapper.so -Wl,-rpath,$ORIGIN");
    built.same(&[]);
    let expected = text(&built.alone(&[]));
    let both = format!("{}:{}", built.path("libwrapper.so"), library().display());
    assert_eq!(text(&built.alone(&[("LD_PRELOAD", &both)])), expected);
}

/// On a kernel without mseal(2) nothing is sealed, and it is the same without it.
#[test]
fn a_sealed_program_opens_initial_exec_libraries() {
    let Some(built) = Built::of("sealed.c") else { return };
    built.cc("-DPLUGIN -shared -o libplugin.so").cc("-pthread -Wl,-z,relro,-z,now -o program");
    built.same(&[]);
}

#[test]
fn allocators_find_the_real_one() {
    let (ours, trace) = (library().display().to_string(), ("DLSCOPE_TRACE", "trace.txt"));
    for kind in ["AT_FIRST_CALL", "IN_CONSTRUCTOR", "ALWAYS"] {
        let Some(built) = Built::of("allocator.c") else { return };
        built.cc("-DPLUGIN -shared -o libplugin.so");
        built.cc(&format!("-D{kind} -shared -o liballocator.so"));
        // With glibc alone, because there those crash that ask while a library is being opened.
        let expected = text(&built.cc("-DMAIN -o program").alone(&[]));
        assert!(expected.ends_with("ok\n"), "{expected}");
        let check = |with: Output, way: &str| assert_eq!(text(&with), expected, "{kind}, {way}");

        let allocator = built.path("liballocator.so");
        for order in [format!("{ours}:{allocator}"), format!("{allocator}:{ours}")] {
            check(built.alone(&[("LD_PRELOAD", &order)]), &order);
        }
        built.cc("-DMAIN -o program ./liballocator.so -Wl,--no-as-needed -Wl,-rpath,$ORIGIN");
        check(built.ours(&[]), "a library that the program needs");
        check(built.ours(&[trace]), "the same with a trace");
        let told = fs::read_to_string(built.path("trace.txt")).unwrap();
        assert!(told.lines().any(|line| line.contains(" publish ")), "{kind}: nothing was told\n{told}");
        // A program's own functions are called before its constructors.
        if kind != "IN_CONSTRUCTOR" {
            built.cc(&format!("-D{kind} -DMAIN -o program"));
            check(built.ours(&[]), "the program's own");
        }
    }
}

#[test]
fn what_allocators_and_signal_handlers_call_allocates_nothing() {
    let Some(built) = Built::of("silent.c") else { return };
    built.cc("-DPLUGIN -shared -o libplugin.so").cc("-rdynamic -o program");
    built.same(&[]);
}

#[test]
fn dl_iterate_phdr_shows_each_of_many_libraries_once() {
    let Some(built) = Built::of("many.c") else { return };
    // More than are copied at a time.
    for last in [31, 32, 40] {
        let parts: Vec<String> = (10..=last).map(|part| format!("libpart{part}.so")).collect();
        parts.iter().for_each(|part| {
            built.cc(&format!("-DPART={} -shared -nostdlib -o {part}", part.replace('.', "_")));
        });
        built.cc(&format!("-o program -Wl,--no-as-needed -Wl,-rpath,$ORIGIN ./{}", parts.join(" ./")));
        let output = built.same(&[]);
        assert!(output.contains("libpart31.so"), "{output}");
    }
}

#[test]
fn ld_library_path_counts_when_the_environment_was_overwritten() {
    let Some(built) = Built::of("title.c") else { return };
    let folder = built.path("plugins");
    fs::create_dir(&folder).unwrap();
    built.cc("-DPLUGIN -shared -o plugins/libplugin.so").cc("-o program");
    built.same(&[("LD_LIBRARY_PATH", &folder)]);
    let long = "/nonexistent/".repeat(100);
    let longest = format!("{}{folder}", format!("{long}:").repeat(100_000 / long.len()));
    built.same(&[("LD_LIBRARY_PATH", &longest)]);
}

#[test]
fn errors_of_threads_that_ended_take_no_memory() {
    let Some(built) = Built::of("threads.c") else { return };
    built.cc("-pthread -o program");
    built.same(&[]);
}

#[test]
fn signal_handlers_find_everything_while_libraries_come_and_go() {
    let Some(built) = Built::of("storm.c") else { return };
    for library in ["kept", "one", "two"] {
        built.cc(&format!("-DPLUGIN -shared -o lib{library}.so"));
    }
    // Not on glibc alone: its handlers now and then crash there.
    let output = text(&built.cc("-pthread -o program").ours(&[]));
    assert_eq!(output, "exit status: 0\nok\n");
}

#[test]
fn with_the_heap_exhausted_calls_fail_and_nothing_aborts() {
    let Some(built) = Built::of("exhausted.c") else { return };
    built.cc("-DPLUGIN -shared -o libplugin.so").cc("-DPLUGIN -shared -o libother.so").cc("-pthread -o program");
    let output = built.same(&[]);
    assert!(output.contains("dlopen: 0, an error, once") && !output.contains("signal"), "{output}");
}

#[test]
fn a_program_that_brings_a_part_of_mallocs_family_gets_back_what_is_its_own() {
    let Some(built) = Built::of("family.c") else { return };
    built.cc("-DPLUGIN -shared -o libplugin.so");
    for kind in ["-DMINIMAL", "-DMEMALIGN", "-DASKS -rdynamic"] {
        built.cc(&format!("{kind} -pthread -o program"));
        assert_eq!(built.same(&[]), "exit status: 0\nblocks more: few\n", "{kind}");
    }
}

#[test]
fn a_program_that_ld_so_is_asked_to_run_finds_its_folder_and_its_libraries() {
    let Some(built) = Built::of("command.c") else { return };
    for folder in ["elsewhere", "run"] {
        fs::create_dir(built.path(folder)).unwrap();
    }
    built.cc("-DPLUGIN -shared -o elsewhere/libelsewhere.so").cc("-DPLUGIN -shared -o run/librunpath.so");
    // The interpreter by another name, which says nothing of what it is.
    let interpreter = fs::canonicalize("/lib64/ld-linux-x86-64.so.2").unwrap();
    std::os::unix::fs::symlink(&interpreter, built.path("loader")).unwrap();
    let named = format!("-o named -Wl,-rpath,$ORIGIN/run -Wl,--dynamic-linker={}", built.path("loader"));
    built.cc("-DPLUGIN -shared -o here.so").cc("-o program -Wl,-rpath,$ORIGIN/run").cc(&named);
    let elsewhere = built.path("elsewhere");
    let option = ["--library-path", &elsewhere];
    let interpreter = interpreter.to_str().unwrap();
    let commands: [&[&str]; 5] = [
        &[&[interpreter], &option[..], &["./program"]].concat(),
        &[&["./loader", "--inhibit-cache"], &option[..], &["./program"]].concat(),
        &["./loader", "./program"],
        &["./named"],
        &["./program"],
    ];
    for command in commands {
        let set = |command: &mut Command| built.set(command, &[("LD_LIBRARY_PATH", "/nowhere")]);
        let expected = text(&plain(command, set));
        let finds = |name: &str| expected.contains(&format!("{name}: 42"));
        assert!(finds("$ORIGIN/here.so") && finds("librunpath.so"), "{command:?}: {expected}");
        assert_eq!(text(&preloaded(command, set)), expected, "{command:?}");
    }
}

#[test]
fn it_starts_where_static_thread_local_storage_is_short() {
    let Some(built) = Built::of("audit.c") else { return };
    built.cc("-DPLUGIN -shared -o libplugin.so").cc("-DINITIAL_EXEC -shared -o libinitial.so");
    built.cc("-DAUDIT -shared -o libaudit.so").cc("-pthread -o program");
    let audit = built.path("libaudit.so");
    let preload = library().display().to_string();
    // `timeout` and `dlscope exec` need not be audited.
    let run = |environment: &[(&str, &str)]| {
        let mut program = Command::new(built.path("program"));
        text(&program.current_dir(built.folder.path()).envs(environment.iter().copied()).output().unwrap())
    };
    let expected = run(&[]);
    let with = run(&[("LD_PRELOAD", &preload)]);
    assert_eq!(with.replace("initial exec: opened\n", ""), expected.rsplit_once("cannot").unwrap().0);
    let refused = "cannot allocate memory in static TLS block: dlscope's arena found no room there, see docs/tls.md\n";
    let audited = run(&[("LD_PRELOAD", &preload), ("LD_AUDIT", &audit)]);
    assert_eq!(audited, format!("{}{refused}", expected.rsplit_once("cannot").unwrap().0));
    for tunable in ["glibc.rtld.optional_static_tls=0", "glibc.rtld.nns=1:glibc.rtld.optional_static_tls=0"] {
        let tunable = ("GLIBC_TUNABLES", tunable);
        assert_eq!(run(&[("LD_PRELOAD", &preload), tunable]), with);
        assert_eq!(run(&[("LD_PRELOAD", &preload), ("LD_AUDIT", &audit), tunable]), audited);
    }
}

#[test]
fn tools_that_wrap_malloc_run() {
    let Some(built) = Built::of("allocator.c") else { return };
    built.cc("-DPLUGIN -shared -o libplugin.so").cc("-DMAIN -o program");
    let ours = library().display().to_string();
    let run = |words: &[&str], preload: &str| {
        let tool = Command::new("sh").args(["-c", "command -v \"$0\"", words[0]]).output().unwrap();
        if !tool.status.success() {
            assert!(env::var_os("CI").is_none(), "{} is not installed", words[0]);
            eprintln!("skipped: {} is not installed", words[0]);
            return;
        }
        let output = text(&plain(&[words, &["./program"]].concat(), |command| {
            built.set(command, &[("LD_PRELOAD", preload)]);
        }));
        assert!(output.starts_with("exit status: 0") && output.contains("ok\n"), "{words:?}, {preload}: {output}");
    };
    // Of glibc itself. Its numbers come at the end.
    for preload in [format!("{ours}:libmemusage.so"), format!("libmemusage.so:{ours}")] {
        run(&["env"], &preload);
    }
    run(&["heaptrack", "-o", "trace"], &ours);
    run(&["gprofng", "collect", "app", "-H", "on", "-o", "heap.er"], &ours);
}
