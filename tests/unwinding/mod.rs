//! The same tests for a program with `dlscope::interpose!()` and for one without: C++ exceptions inside, across
//! and out of loaded libraries, Rust panics through them, and backtraces.

use std::env;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::common::in_own_process;
use dlscope::{Library, Loader, Recorder};

const INNER: &str = r#"
#include <stdexcept>
#include <string>
struct Guard { int *count; ~Guard() { ++*count; } };
extern "C" int throws(int n, int *unwound) { Guard g{unwound}; if (n == 0) throw std::runtime_error("zero"); return throws(n - 1, unwound); }
extern "C" int throws_and_catches() { int u = 0; try { return throws(3, &u); } catch (const std::exception &e) { return std::string(e.what()) == "zero" ? u : -1; } }
extern "C" void calls_back(void (*f)(void *), void *a) { f(a); }
static int in_constructor = [] { try { throw 7; } catch (int n) { return n; } return 0; }();
extern "C" int caught_in_constructor() { return in_constructor; }
"#;

const OUTER: &str = r#"
#include <exception>
extern "C" int throws(int, int *);
extern "C" int across() { int u = 0; try { throws(2, &u); return -1; } catch (std::exception &e) { return e.what()[0] == 'z' ? u : -2; } }
"#;

fn compile(name: &str, source: &str, flags: &[String]) -> Option<PathBuf> {
    if Command::new("g++").arg("--version").output().is_err() {
        assert!(env::var_os("CI").is_none(), "g++ is not installed");
        eprintln!("skipped: g++ is not installed");
        return None;
    }
    // Each test program in a folder of its own: they run at the same time.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("unwinding-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (file, library) = (folder.join(format!("{name}.cc")), folder.join(format!("lib{name}.so")));
    std::fs::write(&file, source).unwrap();
    let mut command = Command::new("g++");
    command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&file).args(flags);
    assert!(command.status().unwrap().success(), "{name}");
    Some(library)
}

fn libraries() -> Option<(PathBuf, PathBuf)> {
    let inner = compile("inner", INNER, &[])?;
    let folder = inner.parent().unwrap().display().to_string();
    let outer = compile("outer", OUTER, &[format!("-L{folder}"), "-linner".into(), format!("-Wl,-rpath,{folder}")])?;
    Some((inner, outer))
}

fn open(path: &Path) -> Library {
    // SAFETY: the libraries above.
    unsafe { Library::open(path) }.unwrap_or_else(|e| panic!("{e}"))
}

pub fn exceptions_are_thrown_and_caught(name: &str) {
    in_own_process(name, || {
        let Some((inner, outer)) = libraries() else { return };
        for _ in 0..3 {
            let (inner, outer) = (open(&inner), open(&outer));
            // SAFETY: the types of the sources above.
            unsafe {
                let int =
                    |library: &Library, name: &str| library.get::<unsafe extern "C" fn() -> c_int>(name).unwrap()();
                assert_eq!(int(&inner, "caught_in_constructor"), 7, "inside a constructor");
                assert_eq!(int(&inner, "throws_and_catches"), 4, "inside one library, destructors run on the way");
                assert_eq!(int(&outer, "across"), 3, "from one library to another");
            }
            // Unloaded and loaded again, often at the same address.
        }
    });
}

pub fn panics_cross_a_library(name: &str) {
    in_own_process(name, || {
        unsafe extern "C-unwind" fn panics(_: *mut c_void) {
            panic!("from the host");
        }
        let Some((inner, _)) = libraries() else { return };
        let inner = open(&inner);
        type CallsBack = unsafe extern "C-unwind" fn(unsafe extern "C-unwind" fn(*mut c_void), *mut c_void);
        // SAFETY: the types of the sources above.
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| unsafe {
            inner.get::<CallsBack>("calls_back").unwrap()(panics, std::ptr::null_mut());
        }));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"from the host"));
    });
}

pub fn a_backtrace_passes_through_a_library(name: &str) {
    in_own_process(name, || {
        unsafe extern "C" {
            fn backtrace(buffer: *mut *mut c_void, size: c_int) -> c_int;
        }
        unsafe extern "C-unwind" fn looks(addresses: *mut c_void) {
            let mut buffer = [std::ptr::null_mut(); 64];
            // SAFETY: execinfo.h: room for 64 addresses.
            let count = unsafe { backtrace(buffer.as_mut_ptr(), 64) };
            // SAFETY: the vector below.
            unsafe { (*addresses.cast::<Vec<usize>>()).extend(buffer[..count as usize].iter().map(|&a| a as usize)) };
        }
        let Some((inner, _)) = libraries() else { return };
        let inner = open(&inner);
        type CallsBack = unsafe extern "C-unwind" fn(unsafe extern "C-unwind" fn(*mut c_void), *mut c_void);
        let mut addresses: Vec<usize> = Vec::new();
        // SAFETY: the types of the sources above.
        unsafe { inner.get::<CallsBack>("calls_back").unwrap()(looks, (&raw mut addresses).cast()) };
        let base = inner.load_bias().0 as usize;
        let at = addresses.iter().position(|&a| a > base && a - base < 0x10000);
        assert!(at.is_some_and(|at| addresses.len() > at + 5), "{addresses:x?} passes {base:x} and goes on to main");
    });
}

pub fn libstdcxx_and_its_streams_work(name: &str) {
    in_own_process(name, || {
        let source = r#"
            #include <iostream>
            #include <sstream>
            #include <cstring>
            extern "C" const char *words() {
                static std::string kept;
                std::ostringstream out;
                out << "pi is about " << 3.14 << " and " << std::hex << 255;
                std::cout << "" << std::flush;
                try { std::stoi("no number"); } catch (const std::invalid_argument &e) { out << ", " << e.what(); }
                kept = out.str();
                return kept.c_str();
            }
        "#;
        let Some(path) = compile("streams", source, &[]) else { return };
        let recorder = Arc::new(Recorder::with_capacity(1 << 16));
        // SAFETY: the library above.
        let library = unsafe { Loader::new().probe(recorder.clone()).open(&path) }.unwrap_or_else(|e| panic!("{e}"));
        // SAFETY: the type of the source above.
        let words =
            unsafe { CStr::from_ptr(library.get::<unsafe extern "C" fn() -> *const c_char>("words").unwrap()()) };
        assert_eq!(words.to_str().unwrap(), "pi is about 3.14 and ff, stoi");
        let registered = recorder.take().iter().any(|e| e.kind.name() == "register_frames");
        assert_eq!(registered, !crate::INTERPOSED, "tables are registered exactly where nobody answers the unwinder");
    });
}
