//! The host closes libraries that it opened after start-up, and that dlscope has adopted: nothing of them is used any
//! more, and another library at the same place is another library.

mod common;

use std::ffi::{CString, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{in_own_process, maps};
use dlscope::{Export, Library, Loader};
use nix::libc;

/// A library with the one function `name`, which returns `value`.
fn compile(folder: &Path, file: &str, name: &str, value: i32) -> PathBuf {
    compile_source(folder, file, &format!("int {name}(void) {{ return {value}; }}"))
}

fn compile_source(folder: &Path, file: &str, text: &str) -> PathBuf {
    let (source, path) = (folder.join("source.c"), folder.join(file));
    std::fs::write(&source, text).unwrap();
    let mut cc = Command::new("cc");
    // As small as can be, so that nothing of the layout depends on names.
    cc.args(["-shared", "-fPIC", "-O1", "-nostdlib", "-Wl,--build-id"]).arg(format!("-Wl,-soname,{file}"));
    assert!(cc.arg("-o").args([&path, &source]).status().unwrap().success());
    path
}

fn host_open(path: &Path) -> *mut c_void {
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a library of this file.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null(), "{}", path.display());
    handle
}

fn host_close(handle: *mut c_void) {
    // SAFETY: from `host_open`, and used no more.
    assert_eq!(unsafe { libc::dlclose(handle) }, 0);
}

/// `l_addr`, the first word of a `link_map`.
fn bias(handle: *mut c_void) -> u64 {
    // SAFETY: glibc's handles are `link_map`s.
    unsafe { handle.cast::<u64>().read() }
}

/// The library of `path`, which the host has open.
fn adopted(path: &Path) -> Library {
    // SAFETY: a library of this file.
    let library = unsafe { Loader::new().open(path) }.unwrap_or_else(|e| panic!("{e}"));
    assert!(library.objects()[0].of_host, "mapped a second time: {:#?}", maps());
    library
}

/// The host opens `second` at the place where it had `first`, with the same handle. dlscope has seen `first`.
fn at_the_same_place(first: &Path, second: &Path, name: &str) -> *mut c_void {
    for _ in 0..1000 {
        let handle = host_open(first);
        let place = (handle, bias(handle));
        let library = adopted(first);
        // SAFETY: the address is not used.
        assert!(unsafe { library.find::<*const ()>(name) }.is_some());
        drop(library);
        host_close(handle);
        let handle = host_open(second);
        if (handle, bias(handle)) == place {
            return handle;
        }
        host_close(handle);
    }
    panic!("never at the same place");
}

/// dlscope sees what the host has there, and finds the function where the host finds it.
fn is_seen(handle: *mut c_void, path: &Path, name: &str, value: c_int) {
    let library = adopted(path);
    assert_eq!((library.path(), library.load_bias().0), (path, bias(handle)));
    let c_name = CString::new(name).unwrap();
    // SAFETY: a library of this file, whose functions are `int f(void)`.
    unsafe {
        let function = *library.get::<unsafe extern "C" fn() -> c_int>(name).unwrap();
        assert_eq!(function as usize, libc::dlsym(handle, c_name.as_ptr()) as usize);
        assert_eq!(function(), value);
    }
    let names: Vec<String> = library.symbols().map(|export| export.name).collect();
    assert_eq!(names, [name]);
}

#[test]
fn another_library_at_the_place_of_a_closed_one_is_another_library() {
    in_own_process("another_library_at_the_place_of_a_closed_one_is_another_library", || {
        let folder = tempfile::tempdir().unwrap();
        let first = compile(folder.path(), "libfirst_.so", "only_first_", 1);
        let second = compile(folder.path(), "libsecond.so", "only_second", 2);
        let handle = at_the_same_place(&first, &second, "only_first_");
        is_seen(handle, &second, "only_second", 2);
        host_close(handle);
    });
}

/// As when a plugin is built anew: the same name and the same program headers, with other tables.
#[test]
fn another_build_of_a_library_at_the_place_of_the_old_one_is_another_library() {
    in_own_process("another_build_of_a_library_at_the_place_of_the_old_one_is_another_library", || {
        let folder = tempfile::tempdir().unwrap();
        let set_aside = |path: PathBuf, name: &str| {
            let aside = folder.path().join(name);
            std::fs::rename(path, &aside).unwrap();
            aside
        };
        // Two names of one function; and one name, as much longer as the second entry of the symbol table took.
        let text = "int old(void) { return 1; } int new(void) __attribute__((alias(\"old\")));";
        let kept = set_aside(compile_source(folder.path(), "libplugin.so", text), "before");
        let path = folder.path().join("libplugin.so");
        let headers = |path: &Path| {
            let bytes = std::fs::read(path).unwrap();
            bytes[64..64 + 56 * usize::from(bytes[56])].to_vec()
        };
        let named = |length: usize| format!("behind{}", "_".repeat(length));
        let fits = |name: &String| headers(&compile(folder.path(), "libplugin.so", name, 2)) == headers(&kept);
        let name = (0..80).map(named).find(fits).expect("no length of the name gives the same program headers");
        let after = set_aside(path.clone(), "after");
        for _ in 0..1000 {
            std::fs::copy(&kept, &path).unwrap();
            let handle = host_open(&path);
            let place = (handle, bias(handle));
            drop(adopted(&path));
            host_close(handle);
            // A new file, not new bytes in the old one.
            std::fs::remove_file(&path).unwrap();
            std::fs::copy(&after, &path).unwrap();
            let handle = host_open(&path);
            let is_there = (handle, bias(handle)) == place;
            if is_there {
                is_seen(handle, &path, &name, 2);
            }
            host_close(handle);
            std::fs::remove_file(&path).unwrap();
            if is_there {
                return;
            }
        }
        panic!("never at the same place");
    });
}

#[test]
fn the_symbols_of_an_object_that_the_host_has_closed_are_none() {
    in_own_process("the_symbols_of_an_object_that_the_host_has_closed_are_none", || {
        let folder = tempfile::tempdir().unwrap();
        let path = compile(folder.path(), "libclosed.so", "once_here", 1);
        let handle = host_open(&path);
        let library = adopted(&path);
        let prepared = Loader::new().prepare(&path).unwrap();
        let inspection = Loader::new().inspect(&path);
        let ask = || -> [Vec<Export>; 3] {
            let inspected = inspection.objects().next().unwrap();
            [library.symbols().collect(), prepared.symbols().collect(), inspected.symbols().collect()]
        };
        for exports in ask() {
            let [export] = &exports[..] else { panic!("{exports:?}") };
            // SAFETY: a name of the library.
            let there = unsafe { libc::dlsym(handle, c"once_here".as_ptr()) };
            assert_eq!((&*export.name, export.address.0), ("once_here", there as u64));
        }
        // An iterator of before needs nothing of the library either.
        let mut begun = library.symbols();
        host_close(handle);
        assert!(!maps().iter().any(|line| line.contains("libclosed.so")), "it is unmapped");
        assert_eq!(begun.next().unwrap().name, "once_here");
        assert_eq!(ask(), [[], [], []]);
        // And again where the host opens it again, unless another one lies there.
        let again = host_open(&path);
        let same = bias(again) == library.load_bias().0;
        assert_eq!(library.symbols().count(), usize::from(same));
        host_close(again);
    });
}
