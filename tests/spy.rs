//! dlscope never calls libc's own loader: a preloaded spy ends the process if it does.

mod common;

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use common::{in_own_process_with, library};
use dlscope::Library;

/// Everything of `<dlfcn.h>` that loads, finds or unloads. Rust's std asks `dlsym` for one symbol by itself,
/// when it starts a thread; that one gets the answer "not there", which std is prepared for.
const SPY: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *caught(const char *what) {
    write(2, "spy: libc's ", 12); write(2, what, strlen(what)); write(2, " was called\n", 12);
    abort();
}
void *dlopen(const char *f, int m) { return caught("dlopen"); }
void *dlmopen(long n, const char *f, int m) { return caught("dlmopen"); }
int dlclose(void *h) { caught("dlclose"); return 0; }
void *dlsym(void *h, const char *n) { return strcmp(n, "__pthread_get_minstack") ? caught("dlsym") : 0; }
void *dlvsym(void *h, const char *n, const char *v) { return caught("dlvsym"); }
"#;

fn spy() -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("spy");
    fs::create_dir_all(&folder).unwrap();
    let library = folder.join(format!("libspy-{}.so", std::process::id()));
    fs::write(folder.join("spy.c"), SPY).unwrap();
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let status =
        Command::new(compiler).args(["-shared", "-fPIC", "-w", "-o"]).arg(&library).arg(folder.join("spy.c")).status();
    assert!(status.unwrap().success());
    library.to_str().unwrap().into()
}

#[test]
fn libcs_own_loader_is_never_called() {
    let preload = |command: &mut Command| {
        command.env("LD_PRELOAD", spy());
    };
    in_own_process_with("libcs_own_loader_is_never_called", preload, || {
        for name in ["libz.so.1", "libm.so.6", "libsqlite3.so.0", "libcrypto.so.3"] {
            assert!(library(name).is_some());
            // SAFETY: libraries of the system.
            let library = unsafe { Library::open(name) }.unwrap_or_else(|e| panic!("{e}"));
            assert!(library.symbols().count() > 50);
            // SAFETY: the address is not used.
            assert!(unsafe { library.get::<*const ()>("no_such_symbol") }.is_err());
        }
        std::thread::spawn(|| {
            // SAFETY: as above.
            unsafe { Library::open("libz.so.1") }.unwrap().close().unwrap();
        })
        .join()
        .unwrap();
    });
}

/// Otherwise the test above would prove nothing.
#[test]
fn the_spy_catches_the_system_loader() {
    let output = Command::new(env::current_exe().unwrap())
        .args(["call_the_system_loader", "--exact", "--nocapture"])
        .env("LD_PRELOAD", spy())
        .env("CALL_THE_SYSTEM_LOADER", "1")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("spy: libc's dlopen was called"));
}

#[test]
fn call_the_system_loader() {
    if env::var_os("CALL_THE_SYSTEM_LOADER").is_some() {
        // SAFETY: a library of the system.
        let _ = unsafe { libloading::Library::new("libz.so.1") };
    }
}
