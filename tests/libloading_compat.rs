//! Code that was written for `libloading` works with dlscope after its `use` line was changed.

mod common;

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use common::in_own_process;

/// A library without the function `nowhere`, which it calls; its destructor stores 1 at `*place`.
const SOURCE: &str = r#"
int *place;
int three(void) { return 3; }
int nowhere(void);
int calls_nowhere(void) { return nowhere(); }
__attribute__((destructor)) static void destructor(void) { if (place) *place = 1; }
__asm__(".globl nothing\nnothing = 0");
"#;

fn compile(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("plugin.c"), folder.join("libplugin.so"));
    fs::write(&source, SOURCE).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-Wl,-z,lazy", "-o"]).args([&library, &source]);
    assert!(cc.status().expect("a C compiler").success());
    library
}

/// What a program sees that was written for libloading 0.9, in lines. Only the `use` line tells which crate it has.
macro_rules! program {
    ($name:ident, $($used:tt)+) => {
        fn $name(library: &Path) -> Vec<String> {
            use std::ffi::{CString, OsStr};
            use std::sync::atomic::{AtomicI32, Ordering};

            use $($used)+;
            use libloading::os::unix::{self, RTLD_GLOBAL, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW};
            use libloading::{Error, Library, Symbol};

            type Function = unsafe extern "C" fn() -> c_int;
            const RTLD_NOLOAD: c_int = nix::libc::RTLD_NOLOAD;
            const RTLD_NODELETE: c_int = nix::libc::RTLD_NODELETE;

            fn kind<T>(result: &Result<T, Error>) -> &'static str {
                match result {
                    Ok(_) => "fine",
                    Err(Error::DlOpen { .. }) => "DlOpen",
                    Err(Error::DlOpenUnknown) => "DlOpenUnknown",
                    Err(Error::DlSym { .. }) => "DlSym",
                    Err(Error::DlSymUnknown) => "DlSymUnknown",
                    Err(Error::DlClose { .. } | Error::DlCloseUnknown) => "DlClose",
                    Err(Error::IncompatibleSize) => "IncompatibleSize",
                    Err(Error::InteriorZeroElements) => "InteriorZeroElements",
                    Err(_) => "something else",
                }
            }

            let mut seen = Vec::new();
            macro_rules! see {
                ($what:expr) => { seen.push(format!("{}: {:?}", stringify!($what), $what)) };
            }
            let place = AtomicI32::new(0);
            // Whether closing ran the destructor.
            let closed = || place.swap(0, Ordering::SeqCst) == 1;

            // SAFETY: the library is ours (`SOURCE`), and each symbol is used as what it is there.
            unsafe {
                let watch = |library: &unix::Library| {
                    let variable = library.get::<*mut *mut c_int>(c"place").unwrap();
                    **variable = place.as_ptr();
                };

                see!(kind(&unix::Library::open(Some(library), RTLD_NOW)));
                see!(kind(&unix::Library::open(Some(library), RTLD_LAZY | RTLD_NOLOAD)));
                see!(kind(&unix::Library::open(Some(library), RTLD_LOCAL)));
                see!(kind(&unix::Library::open(Some(library), RTLD_LAZY | 0x10)));
                see!(kind(&unix::Library::open(None::<&OsStr>, RTLD_LAZY)));
                see!(kind(&unix::Library::open(None::<&OsStr>, 0)));
                see!(kind(&unix::Library::open(Some(""), RTLD_LAZY)));
                see!(kind(&Library::new("lib\0m.so.6")));
                see!(kind(&Library::new("libm.so.6\0")));
                see!(kind(&Library::new("/no/such/library.so")));
                see!(kind(&Library::new(libloading::library_filename("of no such name"))));

                let plugin = Library::new(library).expect("functions are bound when they are called");
                see!(kind(&unix::Library::open(Some(library), RTLD_LAZY | RTLD_NOLOAD)));
                see!(kind(&plugin.get::<Function>("three")));
                see!(kind(&plugin.get::<Function>(b"three\0")));
                see!(kind(&plugin.get::<Function>(CString::new("three").unwrap())));
                see!(kind(&plugin.get::<Function>("thr\0ee")));
                see!(kind(&plugin.get::<Function>("four")));
                see!(kind(&plugin.get::<u8>("three")));
                see!(kind(&plugin.get::<Function>("")));

                let three: Symbol<Function> = plugin.get(c"three").unwrap();
                let raw: unix::Symbol<Function> = three.clone().into_raw();
                let again: Symbol<Function> = Symbol::from_raw(raw.clone(), &plugin);
                see!([three(), raw(), again()]);
                see!(raw.clone().into_raw() == three.clone().try_as_raw_ptr().unwrap());
                see!(raw.into_raw() == again.into_raw().as_raw_ptr());
                let maybe: Symbol<Option<Function>> = plugin.get("three").unwrap();
                see!(maybe.lift_option().map(|three| three()));
                let nothing: Symbol<Option<Function>> = plugin.get("nothing").unwrap();
                see!(nothing.lift_option().is_none());

                let this = unix::Library::this();
                see!(kind(&this.get::<Function>("three")));
                see!(kind(&this.get::<Function>("freopen")));
                let global = unix::Library::open(Some(library), RTLD_LAZY | RTLD_GLOBAL).unwrap();
                see!(kind(&this.get::<Function>("three")));
                see!(kind(&this.close()));

                let global = unix::Library::from_raw(global.into_raw());
                watch(&global);
                see!(kind(&global.close()));
                see!(closed());
                let plugin: unix::Library = plugin.into();
                let handle = plugin.into_raw();
                see!(closed());
                let plugin: Library = unix::Library::from_raw(handle).into();
                see!(plugin.get::<Function>("three").map(|three| three()).unwrap());
                see!(kind(&plugin.close()));
                see!(closed());
                see!(kind(&unix::Library::this().get::<Function>("three")));

                let kept = unix::Library::open(Some(library.to_owned()), RTLD_LAZY | RTLD_NODELETE).unwrap();
                watch(&kept);
                drop(kept);
                see!(closed());
                let kept = unix::Library::open(Some(library), RTLD_LAZY | RTLD_NOLOAD).unwrap();
                // Else the destructor stores into this frame at the end of the process.
                **kept.get::<*mut *mut c_int>("place").unwrap() = std::ptr::null_mut();
            }
            seen
        }
    };
}

program!(with_libloading, ::libloading);
program!(with_dlscope, ::dlscope as libloading);

#[test]
fn a_program_sees_the_same_after_its_use_line_was_changed() {
    in_own_process("a_program_sees_the_same_after_its_use_line_was_changed", || {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let ours = with_dlscope(&compile(folders[0].path()));
        let theirs = with_libloading(&compile(folders[1].path()));
        assert_eq!(ours, theirs);
        for line in ["DlOpenUnknown", "InteriorZeroElements", "IncompatibleSize", "closed(): true", "closed(): false"] {
            assert!(ours.iter().any(|seen| seen.contains(line)), "{line} is not among {ours:#?}");
        }
    });
}

#[test]
fn a_pinned_library_stays_after_it_was_closed() {
    in_own_process("a_pinned_library_stays_after_it_was_closed", || {
        use dlscope::os::unix::{Library, RTLD_LAZY, RTLD_NOLOAD};
        let folder = tempfile::tempdir().unwrap();
        let path = compile(folder.path());
        // SAFETY: the library is ours (`SOURCE`).
        unsafe {
            let is_loaded = || Library::open(Some(&path), RTLD_LAZY | RTLD_NOLOAD).is_ok();
            drop(dlscope::Library::new(&path).unwrap());
            assert!(!is_loaded());
            let library = dlscope::Library::new(&path).unwrap();
            library.pin().unwrap();
            library.close().unwrap();
            assert!(is_loaded());
        }
    });
}

#[test]
fn handles_are_those_of_the_c_functions() {
    in_own_process("handles_are_those_of_the_c_functions", || {
        use dlscope::capi::{dlclose, dlopen, dlsym};
        use dlscope::os::unix::{Library, RTLD_LAZY, RTLD_NOLOAD};
        let folder = tempfile::tempdir().unwrap();
        let path = compile(folder.path());
        let c_path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the library is ours (`SOURCE`), and every handle is closed once.
        unsafe {
            let handle = dlscope::os::unix::Library::new(&path).unwrap().into_raw();
            assert!(!dlsym(handle, c"three".as_ptr()).is_null());
            assert_eq!(dlclose(handle), 0);
            let library = Library::from_raw(dlopen(c_path.as_ptr(), RTLD_LAZY));
            assert!(library.get::<*const ()>("three").is_ok());
            library.close().unwrap();
            assert!(Library::open(Some(&path), RTLD_LAZY | RTLD_NOLOAD).is_err());
        }
    });
}

#[test]
fn an_error_says_what_went_wrong_whichever_variant_it_is() {
    use dlscope::{Error, ErrorKind, Library, Refusal};
    // SAFETY: none of these names leads to a library but libm's, whose constructors do nothing surprising.
    let (missing, zero, symbol) = unsafe {
        let libm = Library::new("libm.so.6").unwrap();
        let symbol = libm.get::<*const ()>("no_such_function").unwrap_err();
        (Library::new("libnowhere.so").unwrap_err(), Library::new("lib\0m").unwrap_err(), symbol)
    };
    assert_eq!(zero, Error::InteriorZeroElements);
    assert!(matches!(missing.kind, ErrorKind::NotFound { .. }));
    assert_eq!(missing.object, "libnowhere.so");
    assert!(matches!(symbol.kind, ErrorKind::NoSuchSymbol { .. }));
    let refusal: Refusal = symbol.clone().into();
    assert_eq!(refusal.to_string(), symbol.to_string());
    assert_eq!(Error::from(refusal), symbol);
}

// ── libloading's own tests, and crates that use it ───────────────────────────────────────────────────────

/// Where the source of libloading is that this crate was built with.
fn source_of_libloading() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "metadata",
            "--format-version=1",
            "--offline",
            "--filter-platform=x86_64-unknown-linux-gnu",
            "--manifest-path",
        ])
        .arg(manifest("Cargo.toml"));
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == "libloading");
    Path::new(package.unwrap()["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

fn manifest(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn cargo(folder: &Path, target: &str, arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(folder).args(arguments);
    // What is built once serves later runs.
    cargo.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join(target));
    let output = cargo.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {}\n{text}", output.status);
    text
}

/// Its files are taken as they are. That `libloading` means dlscope in them is one line of the manifest, which does what
/// `use dlscope as libloading;` would do in each file.
#[test]
fn libloadings_own_tests_pass() {
    let source = source_of_libloading();
    let folder = tempfile::tempdir().unwrap();
    let to = |name: &str| folder.path().join(name);
    fs::create_dir_all(to("src")).unwrap();
    fs::create_dir_all(to("tests")).unwrap();
    for entry in fs::read_dir(source.join("tests")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to("tests").join(entry.file_name())).unwrap();
    }
    // The tests compile it into the library that they open.
    fs::copy(source.join("src/test_helpers.rs"), to("src/test_helpers.rs")).unwrap();
    fs::write(to("src/lib.rs"), "").unwrap();
    fs::copy(manifest("Cargo.lock"), to("Cargo.lock")).unwrap();
    let text = format!(
        r#"[package]
name = "libloadings-own-tests"
edition = "2021"
autotests = false

[features]
default = ["std"]
std = []

[dependencies]
libloading = {{ package = "dlscope", path = {:?}, default-features = false }}
libc = "0.2"

[[test]]
name = "integration-tests"
path = "tests/lib.rs"

[workspace]
"#,
        env!("CARGO_MANIFEST_DIR")
    );
    fs::write(to("Cargo.toml"), text).unwrap();
    let said = cargo(folder.path(), "libloading", &["test", "--offline", "--test", "integration-tests"]);
    let passed = said.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    assert!(passed >= 30, "only {passed} of libloading's tests ran:\n{said}");
}

/// The three crates are built twice: with libloading itself, and with a crate of its name that has the one line
/// `pub use dlscope::*;`.
#[test]
#[ignore = "downloads ash, clang-sys and khronos-egl; needs libclang, libEGL with a driver, and for ash libvulkan"]
fn crates_that_use_libloading_run_alike() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let package = |name: &str, version: &str, rest: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\n\n[dependencies]\n{rest}")
    };
    let dlscope = format!("dlscope = {{ path = {:?}, default-features = false }}\n", env!("CARGO_MANIFEST_DIR"));
    write("stand-in/Cargo.toml", &package("libloading", "0.8.9", &dlscope));
    write("stand-in/src/lib.rs", "pub use dlscope::*;\n");
    let crates = r#"ash = "0.38"
clang-sys = { version = "1", features = ["runtime", "clang_10_0"] }
khronos-egl = { version = "6", features = ["dynamic"] }

[workspace]
"#;
    let patch = "\n[patch.crates-io]\nlibloading = { path = \"../stand-in\" }\n";
    write("seen.c", "struct point { int x; double y; };\nint add(int a, int b) { return a + b; }\n");
    let run = |name: &str, patch: &str| {
        write(&format!("{name}/Cargo.toml"), &(package("users", "0.0.0", crates) + patch));
        write(&format!("{name}/src/main.rs"), include_str!("users_of_libloading/program.rs"));
        cargo(&folder.path().join(name), name, &["build"]);
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).join("debug/users");
        let mut program = Command::new(program);
        let output = program.arg(folder.path().join("seen.c")).env("EGL_PLATFORM", "surfaceless").output().unwrap();
        assert!(output.status.success(), "{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (ours, theirs) = (run("users-with-dlscope", patch), run("users-with-libloading", ""));
    assert_eq!(ours, theirs);
    for part in [r#"declares ["point", "x", "y", "add", "#, "a pixel is [255, 0, 255, 255]", "ash: "] {
        assert!(ours.contains(part), "{part} is not in:\n{ours}");
    }
    print!("{ours}");
}
