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
