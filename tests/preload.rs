//! Other people's programs on our C ABI, by `dlscope exec`: each does the same as without it.

mod preloading;

use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

use preloading::{plain, preloaded, text};

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
    if !there(command[0]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace.txt");
    let without = plain(command, |_| {});
    let with = preloaded(command, |exec| {
        exec.env("DLSCOPE_TRACE", &trace);
    });
    assert!(without.status.success(), "{command:?} fails by itself:\n{}", text(&without));
    assert_eq!(text(&with), text(&without), "{command:?}");
    let told = fs::read_to_string(&trace).unwrap_or_default();
    for library in loads {
        let loaded = told.lines().any(|line| line.contains(" publish ") && line.contains(library));
        assert!(loaded, "{command:?} does not load {library} by dlscope:\n{}", told.lines().count());
    }
}

#[test]
fn python_imports_and_uses_its_extension_modules() {
    let script = "import ssl, sqlite3, ctypes, decimal, zlib, lzma, readline\n\
        print(ssl.OPENSSL_VERSION, decimal.Decimal(1)/3, zlib.crc32(b'x'), len(lzma.compress(b'x' * 1000)))\n\
        print(sqlite3.connect(':memory:').execute('select sqlite_version()').fetchall())\n\
        print(ctypes.CDLL('libm.so.6').abs(-3), ctypes.pythonapi.Py_IsInitialized())";
    let loads = ["_ssl.", "_sqlite3.", "_ctypes.", "_decimal.", "_lzma.", "readline.", "libsqlite3.so.0"];
    same(&["/usr/bin/python3.11", "-c", script], &loads);
}

/// Python's own tests: the same ones fail, if any, and as many are run.
#[test]
fn python_passes_its_own_tests() {
    let python = "/usr/bin/python3.11";
    if !there(python) || !there("/usr/lib/python3.11/test/test_zlib.py") {
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
    let pcre = "/usr/lib/sqlite3/pcre.so";
    if there(pcre) {
        let load = format!(".load {pcre}");
        same(&["sqlite3", ":memory:", &load, "select 'abc' regexp 'b.'"], &["pcre.so", "libpcre"]);
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

#[test]
fn a_trace_is_text_or_json_and_names_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let pattern = dir.path().join("trace.%p.jsonl");
    let script = "import zlib, os; print(os.getpid())";
    if !there("/usr/bin/python3.11") {
        return;
    }
    let output = preloaded(&["/usr/bin/python3.11", "-c", &format!("import _ctypes; {script}")], |exec| {
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
