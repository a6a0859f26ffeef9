//! Forks of a program with threads in dlscope: every child goes on, also when it forks again, and no fork waits for ever.

mod common;

use std::ffi::{c_int, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{ptr, thread};

use common::{in_own_process, maps};
use dlscope::{Library, Loader};
use nix::libc;

dlscope::interpose!();

static STOP: AtomicBool = AtomicBool::new(false);

/// One walk over all objects, by the function of the name that every unwinder calls: the one of `interpose!`.
fn iterate() {
    unsafe extern "C" fn count(_: *mut libc::dl_phdr_info, _: usize, count: *mut c_void) -> c_int {
        // SAFETY: the counter below.
        unsafe { *count.cast::<u32>() += 1 };
        0
    }
    let mut objects = 0_u32;
    // SAFETY: link.h; the callback takes this argument.
    unsafe { libc::dl_iterate_phdr(Some(count), (&raw mut objects).cast()) };
    assert!(objects > 3, "only {objects} objects");
}

/// Runs `body` in a forked child, and returns how that ended: as the shell says it, above 128 for a signal.
fn in_child(body: impl FnOnce()) -> c_int {
    // SAFETY: unistd.h; the child ends without running the test harness any further.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "{}", std::io::Error::last_os_error());
        if child == 0 {
            // A child that hangs is ended, and its parent says so.
            libc::alarm(60);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            libc::_exit(if result.is_ok() { 0 } else { 101 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
    }
}

/// Runs `work` over and over in `threads` threads while `act` runs.
fn while_others(threads: usize, work: impl Fn() + Send + Sync, act: impl FnOnce()) {
    // SAFETY: unistd.h. A fork that waits for ever ends this process.
    unsafe { libc::alarm(300) };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !STOP.load(Ordering::Relaxed) {
                    work();
                }
            });
        }
        act();
        STOP.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_child_forks_again_though_its_parent_was_forked_while_another_thread_iterated() {
    in_own_process("a_child_forks_again_though_its_parent_was_forked_while_another_thread_iterated", || {
        while_others(1, iterate, || {
            for round in 0..2000 {
                let ended = in_child(|| {
                    let ended = in_child(iterate);
                    // SAFETY: unistd.h.
                    unsafe { libc::_exit(ended) };
                });
                assert_eq!(ended, 0, "round {round}");
            }
        });
    });
}

#[test]
fn forks_come_through_while_four_threads_iterate_open_and_look_up() {
    in_own_process("forks_come_through_while_four_threads_iterate_open_and_look_up", || {
        // SAFETY: a library of the system, whose constructors any program may run.
        let open = || unsafe { Loader::new().open("libz.so.1") }.unwrap_or_else(|e| panic!("{e}"));
        let look_up = |libz: &Library| {
            // SAFETY: zlib.h: a function without arguments that returns a string.
            let version = unsafe { *libz.get::<unsafe extern "C" fn() -> *const u8>("zlibVersion").unwrap() };
            // SAFETY: as above.
            assert_eq!(unsafe { ptr::read(version()) }, b'1');
        };
        let libz = open();
        let work = || {
            iterate();
            look_up(&libz);
            look_up(&open());
        };
        while_others(4, work, || {
            for round in 0..3000 {
                let ended = in_child(|| {
                    iterate();
                    look_up(&libz);
                    // Not closed: glibc's `__cxa_finalize` may wait for a lock that another thread had.
                    std::mem::forget(open());
                });
                assert_eq!(ended, 0, "round {round}");
            }
        });
    });
}

/// A library whose destructor calls `pause_here`.
fn with_a_slow_destructor() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fork");
    std::fs::create_dir_all(&folder).unwrap();
    let (source, library) = (folder.join("slow.c"), folder.join("libslow.so"));
    let text = "void pause_here(void); __attribute__((destructor)) static void end(void) { pause_here(); }";
    std::fs::write(&source, text).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(built.unwrap().success());
    library
}

#[test]
fn a_child_forked_while_another_thread_unloads_can_unload() {
    in_own_process("a_child_forked_while_another_thread_unloads_can_unload", || {
        static IN_DESTRUCTOR: AtomicBool = AtomicBool::new(false);
        static GO_ON: AtomicBool = AtomicBool::new(false);
        extern "C" fn pause_here() {
            IN_DESTRUCTOR.store(true, Ordering::SeqCst);
            while !GO_ON.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
        let is_mapped = |name: &str| maps().iter().any(|line| line.contains(name));
        let loader = Loader::new().define("pause_here", pause_here as *const ());
        // SAFETY: the library above.
        let slow = unsafe { loader.open(with_a_slow_destructor()) }.unwrap_or_else(|e| panic!("{e}"));
        // SAFETY: unistd.h. What waits for ever ends this process.
        unsafe { libc::alarm(120) };
        thread::scope(|scope| {
            scope.spawn(move || slow.close().unwrap());
            while !IN_DESTRUCTOR.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            let ended = in_child(|| {
                // SAFETY: a library of the system.
                let open = || unsafe { loader.open("libsqlite3.so.0") };
                let [one, other] = [open(), open()].map(|opened| opened.unwrap_or_else(|e| panic!("{e}")));
                drop(one);
                let with_one_open = is_mapped("libsqlite3");
                drop(other);
                // SAFETY: unistd.h.
                unsafe { libc::_exit(c_int::from(!with_one_open || is_mapped("libsqlite3"))) };
            });
            GO_ON.store(true, Ordering::SeqCst);
            assert_eq!(ended, 0, "1: it is still mapped");
        });
        assert!(!is_mapped("libslow"), "the parent goes on");
    });
}
