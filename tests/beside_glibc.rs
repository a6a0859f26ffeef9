//! Living beside glibc: it loads libraries of its own behind our back (for `iconv`, for host names, for whoever
//! calls its `dlopen`), and walks its own lists while it does. After our loads and closes all that must work as
//! before, in the process itself and in its children, down to its normal end.

mod common;

use std::ffi::{CStr, c_char, c_double, c_int, c_uint, c_ulong, c_void};
use std::net::ToSocketAddrs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, ptr, thread};

use common::{in_own_process, library, maps};
use dlscope::{Library, Loader};
use nix::libc;

type Crc32 = unsafe extern "C" fn(c_ulong, *const u8, c_uint) -> c_ulong;

fn crc32_of(libz: &Library) -> Crc32 {
    // SAFETY: zlib.h.
    unsafe { *libz.get::<Crc32>("crc32").unwrap() }
}

/// Several libraries, in the process-wide namespace and in one of its own; some are closed again. With and without
/// thread-local storage, with constructors, with many dependencies.
fn load_and_close_some() -> Vec<Library> {
    let own = Loader::new();
    let mut kept = Vec::new();
    for (at, name) in ["libz.so.1", "libsqlite3.so.0", "libcrypto.so.3", "libstdc++.so.6", "libm.so.6", "libgomp.so.1"]
        .into_iter()
        .filter(|name| library(name).is_some())
        .enumerate()
    {
        // SAFETY: libraries of the system, whose constructors any program may run.
        let (one, two) = unsafe { (Library::open(name).unwrap(), own.open(name).unwrap()) };
        match at % 3 {
            0 => kept.extend([one, two]),
            1 => kept.push(one),
            _ => kept.push(two),
        }
    }
    kept
}

/// The loaded libraries still give right answers.
fn still_right(kept: &[Library]) {
    let libz = kept.iter().find(|l| l.path().ends_with("libz.so.1")).unwrap();
    let crc32 = crc32_of(libz);
    // SAFETY: zlib.h.
    assert_eq!(unsafe { crc32(0, b"123456789".as_ptr(), 9) }, 0xcbf4_3926);
}

unsafe extern "C" {
    fn iconv_open(to: *const c_char, from: *const c_char) -> *mut c_void;
    fn iconv(
        cd: *mut c_void,
        from: *mut *mut c_char,
        left: *mut usize,
        to: *mut *mut c_char,
        room: *mut usize,
    ) -> usize;
    fn iconv_close(cd: *mut c_void) -> c_int;
}

/// `bytes` in another encoding, by glibc.
fn convert(to: &CStr, from: &CStr, bytes: &[u8]) -> Vec<u8> {
    let mut room = [0_u8; 64];
    // SAFETY: iconv.h; pointers into two buffers and their lengths.
    unsafe {
        let cd = iconv_open(to.as_ptr(), from.as_ptr());
        assert_ne!(cd as isize, -1, "{from:?} to {to:?}: {}", std::io::Error::last_os_error());
        let (mut input, mut left) = (bytes.as_ptr().cast_mut().cast::<c_char>(), bytes.len());
        let (mut output, mut free) = (room.as_mut_ptr().cast::<c_char>(), room.len());
        let result = iconv(cd, &mut input, &mut left, &mut output, &mut free);
        assert_eq!(result, 0, "{from:?} to {to:?}: {}", std::io::Error::last_os_error());
        assert_eq!(iconv_close(cd), 0);
        room[..64 - free].to_vec()
    }
}

#[test]
fn iconv_loads_its_modules() {
    in_own_process("iconv_loads_its_modules", || {
        let kept = load_and_close_some();
        // EUC-JP has its own module, which needs a third, libJIS.so; CP1252 has one, too.
        assert_eq!(convert(c"CP1252", c"EUC-JP", b"plain \\ text"), b"plain \\ text");
        assert_eq!(convert(c"UTF-8", c"EUC-JP", &[0xc6, 0xfc, 0xcb, 0xdc, 0xb8, 0xec]), "日本語".as_bytes());
        assert_eq!(convert(c"CP1252", c"UTF-8", "naïve €".as_bytes()), b"na\xefve \x80");
        assert!(maps().iter().any(|line| line.contains("EUC-JP.so")), "a module was loaded behind our back");
        still_right(&kept);
        drop(kept);
        // glibc closes and opens its modules in other orders now.
        assert_eq!(convert(c"EUC-JP", c"UTF-8", "日".as_bytes()), [0xc6, 0xfc]);
        still_right(&load_and_close_some());
    });
}

#[test]
fn iconv_loads_its_modules_between_our_loads() {
    in_own_process("iconv_loads_its_modules_between_our_loads", || {
        for round in 0..3 {
            let kept = load_and_close_some();
            assert_eq!(convert(c"UTF-8", c"EUC-JP", &[0xc6, 0xfc]), "日".as_bytes(), "round {round}");
            still_right(&kept);
            assert_eq!(convert(c"UTF-16LE", c"SJIS", &[0x93, 0xfa]), [0xe5, 0x65], "round {round}");
        }
    });
}

#[test]
fn names_of_hosts_are_found() {
    in_own_process("names_of_hosts_are_found", || {
        let kept = load_and_close_some();
        let found: Vec<_> = ("localhost", 80).to_socket_addrs().unwrap().collect();
        assert!(found.iter().any(|address| address.ip().is_loopback()), "{found:?}");
        // SAFETY: netdb.h and pwd.h; the answers are only looked at.
        unsafe {
            let service = libc::getservbyname(c"nonesuch-service".as_ptr(), c"tcp".as_ptr());
            assert!(service.is_null());
            let root = libc::getpwuid(0);
            assert!(!root.is_null() && CStr::from_ptr((*root).pw_name) == c"root");
        }
        still_right(&kept);
    });
}

#[test]
fn the_systems_dlopen_works() {
    in_own_process("the_systems_dlopen_works", || {
        let kept = load_and_close_some();
        let Some(lua) = library("liblua5.4.so.0") else { return };
        // SAFETY: a library of the system; lua.h.
        unsafe {
            let lua = libloading::Library::new(&lua).unwrap();
            let version = lua.get::<unsafe extern "C" fn(*mut c_void) -> c_double>(b"lua_version").unwrap();
            assert_eq!(version(ptr::null_mut()), 504.0);
            lua.close().unwrap();
            // The same file by both loaders at once: two copies, each with its own state.
            let ours = kept.iter().find(|l| l.path().ends_with("libz.so.1")).unwrap();
            let theirs = libloading::Library::new("libz.so.1").unwrap();
            let crc32 = theirs.get::<Crc32>(b"crc32").unwrap();
            assert_ne!(*crc32 as usize, crc32_of(ours) as usize);
            assert_eq!(crc32(0, b"123456789".as_ptr(), 9), 0xcbf4_3926);
        }
        still_right(&kept);
    });
}

/// What the system loads after us has thread-local storage, too: glibc's own, beside ours, in old and new threads.
#[test]
fn the_systems_dlopen_gives_thread_local_storage() {
    in_own_process("the_systems_dlopen_gives_thread_local_storage", || {
        let kept = load_and_close_some();
        let use_it = || {
            // SAFETY: a library of the system; `omp_get_num_threads` and its like read thread-local variables.
            unsafe {
                let Ok(gomp) = libloading::Library::new("libgomp.so.1") else { return };
                let set = gomp.get::<unsafe extern "C" fn(c_int)>(b"omp_set_num_threads").unwrap();
                let get = gomp.get::<unsafe extern "C" fn() -> c_int>(b"omp_get_max_threads").unwrap();
                set(3);
                assert_eq!(get(), 3);
                std::mem::forget(gomp);
            }
        };
        use_it();
        thread::spawn(use_it).join().unwrap();
        still_right(&kept);
    });
}

/// Forks, and checks that the child's part succeeds and its status arrives.
fn in_forked_child(status_wanted: c_int, body: impl FnOnce()) {
    // SAFETY: the child ends without running the test harness any further.
    unsafe {
        match libc::fork() {
            0 => {
                libc::alarm(120);
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
                libc::_exit(if result.is_ok() { status_wanted } else { 1 });
            }
            child => {
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &mut status, 0), child);
                let exited = libc::WIFEXITED(status).then_some(libc::WEXITSTATUS(status));
                assert_eq!(exited, Some(status_wanted), "or signal {}", libc::WTERMSIG(status));
            }
        }
    }
}

#[test]
fn a_forked_child_works_and_its_status_arrives() {
    in_own_process("a_forked_child_works_and_its_status_arrives", || {
        let mut kept = load_and_close_some();
        for round in 0..3 {
            in_forked_child(40 + round, || {
                still_right(&kept);
                let more = load_and_close_some();
                still_right(&more);
                drop(more);
                assert_eq!(convert(c"UTF-8", c"EUC-JP", &[0xc6, 0xfc]), "日".as_bytes());
                thread::spawn(|| still_right(&load_and_close_some())).join().unwrap();
            });
        }
        in_forked_child(50, || kept.clear());
        still_right(&kept);
        let output = Command::new("/bin/echo").arg("words").output().unwrap();
        assert_eq!(output.stdout, b"words\n", "another program starts");
    });
}

/// Somebody else loads and closes at the very moment of the fork: the child must not wait for them for ever, nor
/// find half of what they were changing. (glibc's own `dlopen` does: "Inconsistency detected by ld.so".)
#[test]
fn a_child_forked_while_another_thread_loads_can_load_too() {
    in_own_process("a_child_forked_while_another_thread_loads_can_load_too", || {
        if library("libgomp.so.1").is_none() {
            return;
        }
        let kept = load_and_close_some();
        static STOP: AtomicBool = AtomicBool::new(false);
        let loads = thread::spawn(|| {
            while !STOP.load(Ordering::Relaxed) {
                // SAFETY: libraries of the system, the second with thread-local storage.
                drop(unsafe {
                    [Loader::new().open("libz.so.1").unwrap(), Loader::new().open("libgomp.so.1").unwrap()]
                });
            }
        });
        for _ in 0..100 {
            // Nothing is closed in the child: glibc's own `__cxa_finalize` may wait for ever there, for a lock
            // that the other thread had.
            in_forked_child(42, || {
                still_right(&kept);
                // SAFETY: as above.
                let libz = unsafe { [Library::open("libz.so.1").unwrap(), Loader::new().open("libz.so.1").unwrap()] };
                libz.iter().for_each(|libz| still_right(std::slice::from_ref(libz)));
                // SAFETY: omp.h: reads a thread-local variable.
                unsafe {
                    let gomp = Loader::new().open("libgomp.so.1").unwrap();
                    assert_eq!(gomp.get::<unsafe extern "C" fn() -> c_int>("omp_get_num_threads").unwrap()(), 1);
                    std::mem::forget((libz, gomp));
                }
            });
        }
        STOP.store(true, Ordering::Relaxed);
        loads.join().unwrap();
        still_right(&kept);
    });
}

/// `RTLD_DI_TLS_DATA` of a library that the system's loader opened, whose block each thread makes when it is first used.
#[test]
fn the_block_of_a_library_that_glibc_opened_is_found() {
    in_own_process("the_block_of_a_library_that_glibc_opened_is_found", || {
        let folder = tempfile::tempdir().unwrap();
        let (source, path) = (folder.path().join("block.c"), folder.path().join("libblock.so"));
        let text = "__thread char block[9000]; char *touch(void) { block[0]++; return block; }";
        std::fs::write(&source, text).unwrap();
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&path, &source]).status();
        assert!(compiled.unwrap().success());
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the library above; dlfcn.h: request 10 writes a pointer.
        unsafe {
            let by_system = libloading::Library::new(&path).unwrap();
            let handle = dlscope::capi::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
            assert!(!handle.is_null(), "adopted");
            let handle = handle as usize;
            let block = move || {
                let mut block: *mut c_void = ptr::dangling_mut();
                assert_eq!(dlscope::capi::dlinfo(handle as *mut c_void, 10, (&raw mut block).cast()), 0);
                block
            };
            assert!(block().is_null(), "nobody used it yet");
            let touch = *by_system.get::<unsafe extern "C" fn() -> *mut c_void>(b"touch").unwrap();
            let here = touch();
            assert_eq!(block(), here);
            let there = thread::spawn(move || {
                assert!(block().is_null(), "nor this thread");
                let there = touch();
                assert_eq!(block(), there);
                there as usize
            });
            assert_ne!(there.join().unwrap(), here as usize);
        }
    });
}

/// A program that ends normally while libraries are open, and prints who ran.
#[test]
fn ends_normally() {
    if env::var_os("ENDS_NORMALLY").is_none() {
        return;
    }
    extern "C" fn before_all_loads() {
        println!("\nhandler registered before the loads");
    }
    extern "C" fn after_all_loads() {
        println!("\nhandler registered after the loads");
    }
    // SAFETY: stdlib.h.
    unsafe { libc::atexit(before_all_loads) };
    let kept = load_and_close_some();
    assert_eq!(convert(c"UTF-8", c"EUC-JP", &[0xc6, 0xfc]), "日".as_bytes());
    // SAFETY: stdlib.h; zlib, by the system's loader, is left open.
    unsafe {
        libc::atexit(after_all_loads);
        std::mem::forget(libloading::Library::new("libz.so.1").unwrap());
        std::mem::forget(kept);
        libc::exit(0);
    }
}

#[test]
fn the_process_ends_normally_and_runs_its_handlers() {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["ends_normally", "--exact", "--nocapture", "--test-threads=1"]).env("ENDS_NORMALLY", "1");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    let said: Vec<_> = text.lines().filter(|line| line.starts_with("handler")).collect();
    assert_eq!(said, ["handler registered after the loads", "handler registered before the loads"]);
}
