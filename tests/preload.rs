//! Other people's programs on our C ABI, by `dlscope exec`: each does the same as without it.

mod preloading;

use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

use preloading::{library, plain, preloaded, text};

fn there(program: &str) -> bool {
    let found = env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).exists()))
        || Path::new(program).is_file();
    assert!(found || env::var_os("CI").is_none(), "{program} is not installed");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Runs a program both ways: same output, same status; and by the trace, that dlscope loaded `loads` for it.
fn same(command: &[&str], loads: &[&str]) {
    same_in(command, loads, |_| {});
}

/// The same with a change to the command that starts the program.
fn same_in(command: &[&str], loads: &[&str], change: impl Fn(&mut Command)) {
    if !there(command[0]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace.txt");
    let without = plain(command, &change);
    let with = preloaded(command, |exec| {
        change(exec);
        if !loads.is_empty() {
            exec.env("DLSCOPE_TRACE", &trace);
        }
    });
    assert!(without.status.success(), "{command:?} fails by itself:\n{}", text(&without));
    assert_eq!(text(&with), text(&without), "{command:?}");
    let told = fs::read_to_string(&trace).unwrap_or_default();
    for library in loads {
        let loaded = told.lines().any(|line| line.contains(" publish ") && line.contains(library));
        assert!(loaded, "{command:?} does not load {library} by dlscope:\n{}", told.lines().count());
    }
}

/// The newest of the system's own Pythons, not one in `PATH`: `/usr/bin/python3.11`.
fn python() -> Option<&'static str> {
    let names = fs::read_dir("/usr/bin").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let minor = |name: String| name.strip_prefix("python3.")?.parse::<u32>().ok();
    let python = format!("/usr/bin/python3.{}", names.filter_map(minor).max().unwrap_or_default());
    there(&python).then(|| &*python.leak())
}

#[test]
fn python_imports_and_uses_its_extension_modules() {
    let script = "import ssl, sqlite3, ctypes, decimal, zlib, lzma, readline\n\
        print(ssl.OPENSSL_VERSION, decimal.Decimal(1)/3, zlib.crc32(b'x'), len(lzma.compress(b'x' * 1000)))\n\
        print(sqlite3.connect(':memory:').execute('select sqlite_version()').fetchall())\n\
        print(ctypes.CDLL('libm.so.6').abs(-3), ctypes.pythonapi.Py_IsInitialized())";
    let loads = ["_ssl.", "_sqlite3.", "_ctypes.", "_decimal.", "_lzma.", "readline.", "libsqlite3.so.0"];
    let Some(python) = python() else { return };
    same(&[python, "-c", script], &loads);
}

/// Python's own tests: the same ones fail, if any, and as many are run.
#[test]
fn python_passes_its_own_tests() {
    let Some(python) = python() else { return };
    if !there(&(python.replace("/bin/", "/lib/") + "/test/test_zlib.py")) {
        return;
    }
    // Which tests failed, and how many ran.
    let outcomes = |output: &Output| {
        let all = text(output);
        let failed = |line: &&str| line.starts_with("FAIL: ") || line.starts_with("ERROR: ");
        let mut failed: Vec<String> = all.lines().filter(failed).map(Into::into).collect();
        failed.sort();
        let ran = all.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<u32>().ok());
        (failed, ran.unwrap_or(0))
    };
    for test in ["test_ctypes", "test_hashlib", "test_zlib", "test_decimal", "test_threading"] {
        let dir = tempfile::tempdir().unwrap();
        let command = [python, "-m", "test", "-v", "--tempdir", dir.path().to_str().unwrap(), test];
        let (without, with) = (plain(&command, |_| {}), preloaded(&command, |_| {}));
        let (expected, got) = (outcomes(&without), outcomes(&with));
        assert!(expected.1 > 10, "{test} ran {} tests:\n{}", expected.1, text(&without));
        assert_eq!(got, expected, "{test}");
        assert_eq!(with.status.code(), without.status.code(), "{test}");
    }
}

#[test]
fn perl_with_modules_in_c() {
    let script = "print sha256_hex('x'), POSIX::floor(2.5), thaw(freeze([3]))->[0], inet_ntoa(INADDR_LOOPBACK)";
    let modules = ["-MPOSIX", "-MSocket", "-MDigest::SHA=sha256_hex", "-MStorable=freeze,thaw"];
    let command: Vec<&str> = ["perl"].into_iter().chain(modules).chain(["-e", script]).collect();
    same(&command, &["POSIX.so", "Socket.so", "SHA.so", "Storable.so"]);
}

#[test]
fn lua_with_cjson() {
    same(&["lua5.4", "-e", "local c = require 'cjson'; print(c.encode({1, 2, {a = 3}}))"], &["cjson"]);
}

#[test]
fn sqlite_with_a_loadable_extension() {
    let extension = "libsqlite3_mod_xpath";
    if there(&format!("/usr/lib/x86_64-linux-gnu/{extension}.so")) {
        let load = format!(".load {extension}");
        same(
            &["sqlite3", ":memory:", &load, "select xpath_string('<a><b>7</b></a>', '/a/b')"],
            &[extension, "libxml2"],
        );
    }
}

#[test]
fn openssl_with_the_legacy_provider() {
    same(&["openssl", "dgst", "-provider", "legacy", "-provider", "default", "-md4", "/dev/null"], &["legacy.so"]);
}

#[test]
fn programs_that_open_little() {
    same(&["git", "--version"], &[]);
    same(&["curl", "--version"], &[]);
    same(&["xmllint", "--version"], &[]);
}

// ── programs whose libraries ask the loader in constructors, start threads there, or are large ───────────

/// OpenBLAS starts its threads in a constructor.
#[test]
fn r_fits_a_line_and_solves_equations() {
    let script =
        "print(coef(lm(mpg ~ wt, mtcars))); print(solve(matrix(c(2, 1, 1, 3), 2))); print(tools::md5sum('/dev/null'))";
    same(&["Rscript", "-e", script], &["methods.so", "stats.so", "lapack.so", "tools.so"]);
}

#[test]
fn octave_computes_eigenvalues_and_a_convex_hull() {
    let script = "disp(eig([2 1; 1 3])); disp(sort(convhulln([0 0; 1 0; 0 1; 1 1; .5 .5])(:))')";
    same(&["octave-cli", "--norc", "--no-history", "--eval", script], &["convhulln.oct"]);
}

/// Nearly two hundred libraries at its start.
#[test]
fn ffmpeg_encodes_and_decodes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("film.mkv");
    let quiet = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y"];
    let encode = ["-f", "lavfi", "-i", "testsrc=duration=1:size=64x64:rate=5", "-c:v", "ffv1", "-bitexact"];
    same(&[&quiet[..], &encode, &[file.to_str().unwrap()]].concat(), &[]);
    if file.exists() {
        same(&[&quiet[..], &["-i", file.to_str().unwrap(), "-f", "framemd5", "-"]].concat(), &[]);
    }
}

/// libGLdispatch asks the loader in a constructor; the driver, with LLVM behind it, is opened by name.
#[test]
fn glxinfo_draws_by_software() {
    if there("Xvfb") && there("glxinfo") {
        // Others tell the number of the display, and how much memory is free.
        let script = "glxinfo -B 2>&1 | grep -E '^OpenGL|Device:|direct rendering'";
        let command = ["xvfb-run", "-a", "sh", "-c", script];
        // Without a trace: it would have a million lines.
        same_in(&command, &[], |command| {
            command.env("LIBGL_ALWAYS_SOFTWARE", "1");
        });
    }
}

#[test]
fn a_qt_program_runs_a_scene_offscreen() {
    if !there("qmlscene") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let scene = dir.path().join("scene.qml");
    let text = "import QtQuick 2.0\nItem { Timer { interval: 1; running: true; onTriggered: { console.log(6 * 7); Qt.quit() } } }";
    fs::write(&scene, text).unwrap();
    same_in(&["qmlscene", scene.to_str().unwrap()], &["libqoffscreen.so", "libqtquick2plugin.so"], |command| {
        let environment = [("QT_QPA_PLATFORM", "offscreen"), ("QT_QUICK_BACKEND", "software"), ("QT_SELECT", "qt5")];
        command.envs(environment).env("XDG_RUNTIME_DIR", dir.path());
    });
}

/// D's run-time library registers every library with itself, and reads `link_map` and program headers.
#[test]
fn a_d_program_throws_starts_threads_and_opens_a_library() {
    if !there("gdc") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
    let program = "import std.stdio, core.runtime, core.thread, std.parallelism, std.range;\n\
        extern (C) alias Version = const(char)* function();\n\
        extern (C) void* dlsym(void*, const(char)*);\n\
        void main(string[] arguments) {\n\
            writeln(taskPool.reduce!\"a + b\"(iota(1000)));\n\
            try { throw new Exception(\"thrown\"); } catch (Exception e) { writeln(e.msg); }\n\
            auto thread = new Thread({ writeln(\"in a thread\"); }); thread.start(); thread.join();\n\
            auto plugin = Runtime.loadLibrary(arguments[1]);\n\
            writeln((cast(int function(int)) dlsym(plugin, \"seven_times\"))(6));\n\
            writeln(Runtime.unloadLibrary(plugin));\n\
        }\n";
    let plugin = "int of_module; static this() { of_module = 7; }\n\
        extern (C) int seven_times(int n) { try { throw new Exception(\"\"); } catch (Exception) { return of_module * n; } }\n";
    for (name, text, flags) in [("program", program, &[][..]), ("libplugin.so", plugin, &["-shared", "-fPIC"])] {
        let source = at(&format!("{}.d", name.trim_end_matches(".so")));
        fs::write(&source, text).unwrap();
        let output = Command::new("gdc").args([&source, "-shared-libphobos", "-o", &at(name)]).args(flags).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", preloading::text(&output));
    }
    same(&[&at("program"), &at("libplugin.so")], &["libplugin.so"]);
}

/// Its server opens extensions, and refuses to run as root.
#[test]
fn postgresql_with_an_extension() {
    let Some(folder) = newest_postgresql() else { return };
    let dir = tempfile::tempdir().unwrap();
    // Another user must be able to read the library, and to write here.
    let place = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
    fs::copy(library(), place("preload.so")).unwrap();
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(dir.path(), open_to_all).unwrap();
    let run = |way: &str, program: &str, input: &str| {
        let mut command = Command::new("setpriv");
        if nix::unistd::Uid::current().is_root() {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.args(["timeout", "300", &format!("{folder}/{program}")]).current_dir(dir.path());
        let data = place(way);
        match program {
            "initdb" => command.args(["--no-sync", "--auth=trust", "--username=postgres", "-D", &data]),
            _ => command.args(["--single", "-F", "-D", &data, "postgres"]),
        };
        if way == "with" {
            command.env("LD_PRELOAD", place("preload.so")).env("DLSCOPE_TRACE", place("trace.%p"));
        }
        fs::write(place("input"), input).unwrap();
        let output = command.stdin(fs::File::open(place("input")).unwrap()).env("LC_ALL", "C").output().unwrap();
        // The log has times and process ids, and the folder's name.
        text(&Output { stderr: Vec::new(), ..output }).replace(&data, "DATA")
    };
    let queries = "create extension pgcrypto\n\
        select encode(digest('x', 'sha256'), 'hex')\n\
        create extension hstore\n\
        select 'a=>1,b=>2'::hstore -> 'b'\n\
        do $$ begin raise notice 'plpgsql'; end $$\n";
    let all = |way| (run(way, "initdb", ""), run(way, "postgres", queries));
    let expected = all("without");
    assert!(expected.1.contains("2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"), "{}", expected.1);
    assert_eq!(all("with"), expected);
    let traces = fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.path());
    let traces = traces.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("trace."));
    let told: String = traces.map(|path| fs::read_to_string(path).unwrap()).collect();
    for library in ["pgcrypto.so", "hstore.so", "plpgsql.so"] {
        assert!(told.lines().any(|line| line.contains(" publish ") && line.contains(library)), "{library}");
    }
}

fn newest_postgresql() -> Option<String> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    let folder = format!("/usr/lib/postgresql/{}/bin", version.unwrap_or_default());
    there(&format!("{folder}/initdb")).then_some(folder)
}

#[test]
fn node_with_an_addon() {
    let addon = r#"
        // Node-API, whose ABI is stable.
        typedef struct env *env; typedef struct value *value; typedef struct info *info;
        int napi_create_int32(env, int, value *); int napi_get_value_int32(env, value, int *);
        int napi_get_cb_info(env, info, unsigned long *, value *, value *, void **);
        int napi_create_function(env, const char *, unsigned long, value (*)(env, info), void *, value *);
        static __thread int seven = 7;
        static value seven_times(env env, info info) {
            value argument, result; unsigned long count = 1; int number;
            napi_get_cb_info(env, info, &count, &argument, 0, 0);
            napi_get_value_int32(env, argument, &number);
            napi_create_int32(env, number * seven, &result);
            return result;
        }
        value napi_register_module_v1(env env, value exports) {
            value function;
            napi_create_function(env, "seven_times", -1UL, seven_times, 0, &function);
            return function;
        }
        int node_api_module_get_api_version_v1(void) { return 8; }"#;
    let Some((dir, addon)) = compiled("addon.c", addon, "addon.node") else { return };
    let script = format!(
        "const f = require({addon:?}); console.log(f(6));\n\
         const {{ Worker }} = require('worker_threads');\n\
         new Worker('console.log(require({addon:?})(7))', {{ eval: true }}).on('exit', code => console.log(code));"
    );
    same(&["node", "-e", &script], &["addon.node"]);
    drop(dir);
}

#[test]
fn java_with_a_jni_library() {
    let native = r#"
        static __thread int seven = 7;
        int Main_seven(void) { return seven; }
        int Java_Main_sevenTimes(void *env, void *class, int number) { return number * Main_seven(); }"#;
    let Some((dir, native)) = compiled("native.c", native, "libnative.so") else { return };
    let main = dir.path().join("Main.java");
    let text = format!(
        "class Main {{\n\
            static native int sevenTimes(int number);\n\
            public static void main(String[] arguments) throws Exception {{\n\
                System.load({native:?});\n\
                System.out.println(sevenTimes(6));\n\
                Thread thread = new Thread(() -> System.out.println(sevenTimes(7)));\n\
                thread.start(); thread.join();\n\
                try {{ System.load(\"/nowhere/libx.so\"); }} catch (UnsatisfiedLinkError e) {{ System.out.println(e.getMessage()); }}\n\
            }}\n\
        }}"
    );
    fs::write(&main, text).unwrap();
    same(&["java", main.to_str().unwrap()], &["libnative.so"]);
}

/// A C file made into a library, in a folder of its own.
fn compiled(source: &str, text: &str, library: &str) -> Option<(tempfile::TempDir, String)> {
    if !there("cc") {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(source), text).unwrap();
    let mut cc = Command::new("cc");
    let output = cc.args(["-w", "-shared", "-fPIC", "-o", library, source]).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", preloading::text(&output));
    let library = dir.path().join(library).into_os_string().into_string().unwrap();
    Some((dir, library))
}

#[test]
fn a_trace_is_text_or_json_and_names_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let pattern = dir.path().join("trace.%p.jsonl");
    let script = "import zlib, os; print(os.getpid())";
    let Some(python) = python() else { return };
    let output = preloaded(&[python, "-c", &format!("import _ctypes; {script}")], |exec| {
        exec.env("DLSCOPE_TRACE", &pattern);
    });
    let process = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let told = fs::read_to_string(dir.path().join(format!("trace.{process}.jsonl"))).unwrap();
    let events: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for kind in ["begin", "map", "relocation", "publish", "end"] {
        assert!(events.iter().any(|event| event["event"] == kind), "no event {kind}");
    }
}

#[test]
fn exec_says_where_the_library_must_lie() {
    let missing = ["exec", "--preload", "/nonexistent/lib.so", "--", "true"];
    let output = Command::new(env!("CARGO_BIN_EXE_dlscope")).args(missing).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("cargo build --release --example dlscope_preload"), "{}", text(&output));
}
