//! Names of files are bytes: no part of a path has to be UTF-8.

mod common;

use std::ffi::{OsStr, OsString, c_char, c_int};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::in_own_process;
use dlscope::{Library, Loader, Recorder};

/// No UTF-8, and what looks like a byte's escape but is text.
const ODD: &[u8] = b"caf\xe9 \\x41";

/// A library with the function `name`, which returns `value`.
fn compile(path: &Path, name: &str, value: c_int, more: &[&OsStr]) {
    let source = path.with_extension("c");
    fs::write(&source, format!("int {name}(void) {{ return {value}; }}")).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wl,--no-as-needed", "-o"]).arg(path).arg(source).args(more);
    assert!(cc.status().expect("a C compiler").success());
}

/// `folder/ODD/libouter ODD.so`, which needs `libinner ODD.so`; that lies in `folder/ODD/ODD`, its DT_RUNPATH.
fn two_libraries(folder: &Path) -> PathBuf {
    let odd = OsStr::from_bytes(ODD);
    let named = |name: &str| OsString::from_iter([OsStr::new(name), odd, OsStr::new(".so")]);
    let outer_dir = folder.join(odd);
    let inner_dir = outer_dir.join(odd);
    fs::create_dir_all(&inner_dir).unwrap();
    let (outer, inner) = (outer_dir.join(named("libouter ")), inner_dir.join(named("libinner ")));
    let soname = OsString::from_iter([OsStr::new("-Wl,-soname,"), &named("libinner ")]);
    compile(&inner, "inner", 1, &[&soname]);
    let runpath = OsString::from_iter([OsStr::new("-Wl,--enable-new-dtags,-rpath,$ORIGIN/"), odd]);
    compile(&outer, "outer", 2, &[inner.as_os_str(), &runpath]);
    outer
}

fn call(library: &Library, name: &str) -> c_int {
    // SAFETY: `compile` gives each function this type.
    unsafe { library.get::<unsafe extern "C" fn() -> c_int>(name).unwrap()() }
}

#[test]
fn paths_and_sonames_and_runpaths_that_are_not_utf8_are_found() {
    in_own_process("paths_and_sonames_and_runpaths_that_are_not_utf8_are_found", || {
        let folder = tempfile::tempdir().unwrap();
        let path = two_libraries(folder.path());
        let recorder = std::sync::Arc::new(Recorder::default());
        let loader = Loader::new().probe(recorder.clone());
        // SAFETY: the libraries have no constructors.
        let library = unsafe { loader.open(&path).unwrap() };
        assert_eq!((call(&library, "outer"), call(&library, "inner")), (2, 1));
        assert_eq!(library.path(), path);
        let inner = &library.dependencies()[1];
        assert!(fs::exists(inner).unwrap(), "{inner:?}");
        let shown = format!("{:?}", recorder.events());
        assert!(shown.contains("libouter caf\\\\xe9 \\\\x5cx41.so"), "the path is shown escaped");
        assert!(!shown.contains('\u{fffd}'), "no byte is lost");

        std::env::set_current_dir(path.parent().unwrap()).unwrap();
        let relative = Path::new(".").join(path.file_name().unwrap());
        // SAFETY: as above.
        let (again, once_more) = unsafe { (Library::open(&path).unwrap(), Library::new(&relative).unwrap()) };
        assert_eq!(again.load_bias(), once_more.load_bias());
        // SAFETY: as above.
        let error = unsafe { Library::open(path.join("no such file")) }.unwrap_err();
        assert!(error.to_string().contains("caf\\xe9 \\x5cx41.so/no such file"), "{error}");
    });
}

#[test]
fn search_directories_can_have_any_name() {
    in_own_process("search_directories_can_have_any_name", || {
        let folder = tempfile::tempdir().unwrap();
        let path = two_libraries(folder.path());
        let loader = Loader::new().search_dir(path.parent().unwrap());
        // SAFETY: the libraries have no constructors.
        let library = unsafe { loader.open(path.file_name().unwrap()).unwrap() };
        assert_eq!(call(&library, "inner"), 1);
        assert_eq!(loader.prepare(&path).unwrap().path(), path);
        assert!(loader.inspect(&path).faults().is_empty());
    });
}

#[test]
fn the_c_functions_take_any_bytes() {
    in_own_process("the_c_functions_take_any_bytes", || {
        use dlscope::capi;
        let folder = tempfile::tempdir().unwrap();
        let path = two_libraries(folder.path());
        let c_path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the libraries have no constructors; `info` has room for what `dladdr` writes.
        unsafe {
            let handle = capi::dlopen(c_path.as_ptr(), nix::libc::RTLD_NOW);
            assert!(!handle.is_null());
            let mut info: nix::libc::Dl_info = std::mem::zeroed();
            assert_ne!(capi::dladdr(capi::dlsym(handle, c"outer".as_ptr()), &mut info), 0);
            let name: *const c_char = info.dli_fname;
            assert_eq!(std::ffi::CStr::from_ptr(name), c_path.as_c_str());
            assert_eq!(capi::dlclose(handle), 0);
        }
    });
}

#[test]
fn a_library_from_bytes_can_have_any_name() {
    in_own_process("a_library_from_bytes_can_have_any_name", || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libplain.so");
        compile(&path, "plain", 3, &[]);
        let bytes = fs::read(&path).unwrap();
        let long = "ü".repeat(5000);
        for name in [OsStr::from_bytes(ODD), OsStr::new(""), OsStr::new("a\0b"), OsStr::new("a/b"), OsStr::new(&long)] {
            // SAFETY: the library has no constructors.
            let library = unsafe { Library::from_bytes(name, &bytes) }.unwrap_or_else(|e| panic!("{name:?}: {e}"));
            assert_eq!(call(&library, "plain"), 3);
            assert_eq!(library.path(), name);
        }
    });
}

#[test]
fn the_command_calls_a_function_of_such_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let outer = two_libraries(folder.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlscope"));
    let output = command.arg("call").arg(outer).arg("outer() -> i32").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2\n", "{output:?}");
}

/// Runs the command with `arguments`, which must succeed; what it prints.
fn dlscope(folder: &Path, arguments: &[&OsStr]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlscope"));
    let output = command.args(arguments).current_dir(folder).output().unwrap();
    let [out, err] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("what it prints is text"));
    assert!(output.status.success(), "dlscope {arguments:?}: {}\n{out}\n{err}", output.status);
    assert!(!out.contains('\u{fffd}'), "dlscope {arguments:?} loses a byte: {out}");
    out
}

#[test]
fn every_subcommand_takes_a_library_of_any_name_and_shows_it_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let path = two_libraries(folder.path());
    let shown = "libouter caf\\xe9 \\x5cx41.so";
    let path = path.as_os_str();
    let of = |arguments: &[&str]| {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).chain([path]).collect();
        dlscope(folder.path(), &arguments)
    };
    for subcommand in [&["trace"][..], &["trace", "--all"], &["why"], &["why", "--all"], &["compare"]] {
        let text = of(subcommand);
        assert!(text.contains(shown), "{subcommand:?}: {text}");
    }
    assert!(of(&["trace"]).contains("The system's dlopen agrees"));
    assert!(of(&["compare"]).contains("agree"));
    assert!(of(&["profile", "--runs", "3"]).contains("caf"));
    // In JSON the backslash of an escape is escaped itself.
    let in_json = "libouter caf\\\\xe9 \\\\x5cx41.so";
    for subcommand in [&["trace"][..], &["why"], &["compare"]] {
        let text = of(&[subcommand, &["--format", "json"]].concat());
        assert!(text.contains(in_json), "{subcommand:?}: {text}");
    }
    let corpus = dlscope(folder.path(), &["compare", "--corpus", "."].map(OsStr::new));
    assert!(corpus.contains("2 libraries") && corpus.contains("2  agree"), "{corpus}");
    let report = dlscope(folder.path(), &[OsStr::new("report"), path, OsStr::new("-o"), OsStr::new("-")]);
    assert!(report.contains("caf\\xe9"), "the title of the report");
    let called = dlscope(folder.path(), &[OsStr::new("call"), path, OsStr::new("outer() -> i32")]);
    assert_eq!(called, "2\n");
}

#[test]
fn what_a_library_of_any_name_lacks_is_explained_with_commands_that_a_shell_takes() {
    let folder = tempfile::tempdir().unwrap();
    let outer = two_libraries(folder.path());
    // The needed library lies elsewhere: in a folder whose name is no text either.
    let odd = OsStr::from_bytes(ODD);
    let inner_dir = outer.parent().unwrap().join(odd);
    let elsewhere = outer.parent().unwrap().join(OsStr::from_bytes(b"l\xe0"));
    fs::rename(inner_dir, &elsewhere).unwrap();
    let why = |format| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dlscope"));
        let output = command.args(["why", "--format", format]).arg(&outer).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stdout).expect("what it prints is text")
    };
    let text = why("text");
    assert!(text.contains("libinner caf\\xe9 \\x5cx41.so") && text.contains("l\\xe0"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&why("json")).unwrap();
    let commands = json["commands"].as_array().unwrap();
    assert!(!commands.is_empty(), "{json:#}");
    if Command::new("patchelf").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "patchelf is not installed");
        return;
    }
    for command in commands {
        let done = Command::new("bash").args(["-c", command.as_str().unwrap()]).output().unwrap();
        assert!(done.status.success(), "{command}: {done:?}");
    }
    dlscope(folder.path(), &[OsStr::new("why"), outer.as_os_str()]);
}

#[test]
fn symbols_of_any_name_are_shown_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join("odd.s"), folder.path().join("libodd.so"));
    let mut text = b".text\n.globl \"caf\xe9\"\n\"caf\xe9\": mov $7, %eax\nret\n".to_vec();
    text.extend_from_slice(b".data\n.globl pointer\npointer: .quad \"caf\xe9\"\n");
    text.extend_from_slice(b".section .note.GNU-stack,\"\",@progbits\n");
    fs::write(&source, text).unwrap();
    let mut cc = Command::new("cc");
    assert!(cc.args(["-shared", "-nostdlib", "-o"]).arg(&path).arg(&source).status().unwrap().success());
    let trace = dlscope(folder.path(), &["trace", "--all", "./libodd.so"].map(OsStr::new));
    assert!(trace.contains("caf\\xe9"), "{trace}");
    let compare = dlscope(folder.path(), &["compare", "./libodd.so"].map(OsStr::new));
    assert!(compare.contains("agree"), "{compare}");
}
