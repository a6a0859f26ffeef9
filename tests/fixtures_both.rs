//! Every fixture through both loaders, each in a process of its own: the same results, or the same
//! refusal. Every call gives what the fixture says; what says `refuse:` is refused by the system in
//! the words that stand there, and by dlscope too. What says `crash:` may crash the system's loader.
//!
//! The table in `docs/fixtures.md` is made by this run: with `DLSCOPE_BLESS=1` in the environment it
//! is written, otherwise it must be what the run finds.
//!
//! This is a program, not a set of `#[test]`s: what a fixture prints is compared too, and the
//! usual test runner would write its own lines between. `cargo test --test fixtures_both NAME`
//! runs the fixtures that have NAME in their name.

mod fixtures;

use fixtures::{FIXTURES, Fixture, unpack};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::{env, fs};

/// Exit status of a child whose loader said no.
const REFUSED: i32 = 3;

/// The two loaders.
#[derive(Clone, Copy, PartialEq)]
enum Loader {
    System,
    Dlscope,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).filter(|a| !a.starts_with("--test")).collect();
    if let [word, name] = &arguments[..]
        && let Some(loader) = [("system", Loader::System), ("dlscope", Loader::Dlscope)].iter().find(|(w, _)| w == word)
    {
        child(loader.1, FIXTURES.iter().find(|fixture| fixture.name == name).expect("a fixture's name"));
    }
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen = FIXTURES.iter().filter(|f| names.is_empty() || names.iter().any(|name| f.name.contains(*name)));
    let (mut passed, mut failed, mut rows) = (0, 0, Vec::new());
    for fixture in chosen {
        match run(fixture) {
            Ok(row) => {
                passed += 1;
                rows.push(format!("| `{}` | {} | {} | {} |", fixture.name, fixture.teaches, row.system, row.dlscope));
            }
            Err(why) => {
                failed += 1;
                println!("{:24} FAILED\n{why}", fixture.name);
            }
        }
    }
    if failed == 0
        && names.is_empty()
        && let Err(why) = table_is(&rows)
    {
        failed += 1;
        println!("{why}");
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the table says of a fixture.
struct Row {
    system: String,
    dlscope: String,
}

/// Writes `docs/fixtures.md`, or says that it is not what this run found.
fn table_is(rows: &[String]) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fixtures.md");
    let text = format!(
        "# The fixtures, through both loaders\n\n\
         Small C libraries, each of which shows one thing (`c-fixtures/`, one folder a case). This table is made \
         by `DLSCOPE_BLESS=1 cargo test --test fixtures_both`, which opens each with the system's `dlopen` and with \
         dlscope, each in a process of its own, makes the calls that the fixture states, and compares the results \
         and everything printed. Look at one with `dlscope trace --fixture NAME`.\n\n\
         The system here is glibc 2.36. Older ones do not know the DT_RELR of `relr`; those since 2.41 refuse \
         `executable-stack`, too.\n\n\
         | fixture | what it teaches | the system's dlopen | dlscope |\n|---|---|---|---|\n{}\n",
        rows.join("\n")
    );
    if env::var_os("DLSCOPE_BLESS").is_some() {
        return fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()));
    }
    // glibc's refusals differ a little between its versions: everything but the system's column must be equal.
    let without_system = |text: &str| {
        text.lines()
            .map(|line| line.split('|').enumerate().filter(|(n, _)| *n != 3).map(|(_, c)| c).collect::<String>())
            .collect::<Vec<_>>()
    };
    let found = fs::read_to_string(&path).unwrap_or_default();
    if without_system(&found) == without_system(&text) {
        return Ok(());
    }
    let differs = without_system(&text).into_iter().zip(without_system(&found)).find(|(new, old)| new != old);
    Err(format!(
        "docs/fixtures.md is not what this run found; DLSCOPE_BLESS=1 writes it. First difference: {differs:?}"
    ))
}

/// Has a child process of each loader open and call the fixture, in a folder of its own.
fn run(fixture: &Fixture) -> Result<Row, String> {
    let system = run_system(fixture)?;
    let dlscope = run_dlscope(fixture)?;
    if let Some(host) = fixture.host {
        unpack(fixture.name, "fixtures_both/host");
        let folder = folder(fixture, "host");
        let output = Command::new(folder.join("host")).current_dir("/").output().map_err(|e| e.to_string())?;
        if !output.status.success() {
            return Err(format!("  {host} host: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
        }
        compare_lines(&output, fixture.host_prints)?;
    }
    Ok(Row { system, dlscope })
}

fn run_system(fixture: &Fixture) -> Result<String, String> {
    let (output, complaint) = run_child(fixture, "system")?;
    // What glibc does here is its own affair, and differs between its versions.
    if fixture.crash.is_some() && output.status.signal().is_some() {
        return Ok("crashes".into());
    }
    if fixture.policy.is_some() && output.status.code() == Some(REFUSED) {
        return Ok("refuses".into());
    }
    match fixture.refuse {
        None if !output.status.success() => Err(format!("  system: {}: {complaint}", output.status)),
        Some(why) if output.status.code() != Some(REFUSED) || !complaint.contains(why) => {
            Err(format!("  system: should be refused with `{why}`, but {}: {complaint}", output.status))
        }
        Some(why) => Ok(format!("refuses: {why}")),
        None => {
            compare_lines(&output, fixture.prints)?;
            Ok(calls(fixture))
        }
    }
}

fn run_dlscope(fixture: &Fixture) -> Result<String, String> {
    let (output, complaint) = run_child(fixture, "dlscope")?;
    let first_line = complaint.lines().next().unwrap_or_default().to_string();
    // The reason only: the file's name is the temporary folder's.
    let reason = first_line.split_once(": ").map_or(&*first_line, |(_, reason)| reason);
    let reason = without_addresses(&reason.replace(&format!("{}/", folder(fixture, "dlscope").display()), ""));
    let must_refuse = match (fixture.refuse, fixture.policy, fixture.later) {
        (Some(_), ..) => Some(""),
        (_, Some(_), _) => Some(""),
        (_, _, Some(_)) => Some("not supported yet"),
        _ => None,
    };
    match must_refuse {
        Some(words) if output.status.code() != Some(REFUSED) || !complaint.contains(words) => {
            Err(format!("  dlscope: should refuse ({words}), but {}: {complaint}", output.status))
        }
        Some(_) if !output.stdout.is_empty() => {
            Err(format!("  dlscope: refused, and yet something ran: {}", String::from_utf8_lossy(&output.stdout)))
        }
        Some(_) => Ok(format!("refuses: {reason}")),
        None if !output.status.success() => Err(format!("  dlscope: {}: {complaint}", output.status)),
        None => {
            compare_lines(&output, fixture.prints)?;
            Ok(calls(fixture))
        }
    }
}

/// What differs from run to run is no part of the table.
fn without_addresses(text: &str) -> String {
    let is_address = |word: &str| word.len() > 10 && word.trim_start_matches('-').starts_with("0x");
    text.split(' ').map(|word| if is_address(word) { "0x…" } else { word }).collect::<Vec<_>>().join(" ")
}

fn calls(fixture: &Fixture) -> String {
    match fixture.calls.len() {
        0 => "loads".into(),
        1 => "loads, 1 call".into(),
        calls => format!("loads, {calls} calls"),
    }
}

fn folder(fixture: &Fixture, for_whom: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures_both").join(for_whom).join(fixture.name)
}

fn run_child(fixture: &Fixture, loader: &str) -> Result<(Output, String), String> {
    unpack(fixture.name, &format!("fixtures_both/{loader}"));
    let folder = folder(fixture, loader);
    let mut itself = Command::new(env::current_exe().map_err(|e| e.to_string())?);
    let output = itself.args([loader, fixture.name]).current_dir(&folder).output().map_err(|e| e.to_string())?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output, complaint))
}

fn compare_lines(output: &Output, expected: &[&str]) -> Result<(), String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = text.lines().collect();
    if lines == expected { Ok(()) } else { Err(format!("  printed  {lines:?}\n  expected {expected:?}")) }
}

// ---- the child: opens, calls, closes ------------------------------------------------------

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlvsym(handle: *mut c_void, name: *const c_char, version: *const c_char) -> *mut c_void;
    fn dlclose(handle: *mut c_void) -> c_int;
    fn dlerror() -> *const c_char;
}
const RTLD_NOW: c_int = 2;

/// A library opened by one of the two.
enum Opened {
    System(*mut c_void),
    Dlscope(dlscope::Library),
}

fn child(loader: Loader, fixture: &Fixture) -> ! {
    let mut opened = vec![(fixture.main, open(loader, fixture.main))];
    for call in fixture.calls {
        // `libtwin.so!bump()` calls into another file, which is opened at its first mention.
        let (file, signature) = call.split_once('!').unwrap_or((fixture.main, call));
        if !opened.iter().any(|(name, _)| *name == file) {
            opened.push((file, open(loader, file)));
        }
        let library = opened.iter().find(|(name, _)| *name == file).expect("just opened");
        if let Err(why) = call_and_compare(&library.1, signature) {
            fail(1, &format!("{call}: {why}"));
        }
    }
    for (_, library) in opened.into_iter().rev() {
        match library {
            // SAFETY: the handle is dlopen's, and nothing of the library is used from here on.
            Opened::System(handle) => unsafe {
                dlclose(handle);
            },
            Opened::Dlscope(library) => library.close().expect("closing a library"),
        }
    }
    std::process::exit(0)
}

fn fail(status: i32, why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(status)
}

fn open(loader: Loader, file: &str) -> Opened {
    let path = format!("./{file}");
    if loader == Loader::Dlscope {
        // SAFETY: the fixture's constructors are ours and do no harm.
        match unsafe { dlscope::Library::open(&path) } {
            Ok(library) => return Opened::Dlscope(library),
            Err(error) => fail(REFUSED, &error.to_string()),
        }
    }
    let path = CString::new(path).unwrap();
    // SAFETY: the path ends with NUL; the fixture's constructors are ours and do no harm.
    let handle = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
    if handle.is_null() { fail(REFUSED, &last_error()) } else { Opened::System(handle) }
}

fn last_error() -> String {
    // SAFETY: dlerror gives NULL or a string that lives until the next call of its family.
    let message = unsafe { dlerror() };
    if message.is_null() {
        return "no message".into();
    }
    // SAFETY: not NULL, so it is a string with NUL at its end.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
}

/// `name@version(type value, …) -> type = expected`; the version and the expectation may be left out.
fn call_and_compare(library: &Opened, signature: &str) -> Result<(), String> {
    let (name, rest) = signature.split_once('(').ok_or("no `(`")?;
    let (arguments, result) = rest.split_once(") -> ").ok_or("no `) -> `")?;
    let (result_type, expected) = match result.split_once(" = ") {
        Some((result_type, expected)) => (result_type, Some(expected)),
        None => (result, None),
    };
    let (name, version) = name.split_once('@').map_or((name, None), |(name, version)| (name, Some(version)));
    let function = find(library, name, version)?;

    // Integers and pointers travel in rdi, rsi, rdx, rcx, r8, r9; floating-point numbers in xmm0
    // to xmm7, each kind in its own order (psABI, "Parameter Passing"). So one shape of call,
    // which fills all of them, serves every signature that needs no stack.
    let (mut integers, mut floats, mut strings) = ([0u64; 6], [0f64; 8], Vec::new());
    let (mut next_integer, mut next_float) = (0, 0);
    for argument in arguments.split(", ").filter(|argument| !argument.is_empty()) {
        let (kind, value) = argument.split_once(' ').ok_or(format!("`{argument}` has no value"))?;
        match kind {
            "f32" | "f64" => {
                let number: f64 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
                // An f32 is the low half of its register.
                let low_half = f64::from_bits(u64::from((number as f32).to_bits()));
                floats[next_float] = if kind == "f32" { low_half } else { number };
                next_float += 1;
            }
            "str" => {
                strings.push(CString::new(value.trim_matches('"')).unwrap());
                integers[next_integer] = strings.last().unwrap().as_ptr() as u64;
                next_integer += 1;
            }
            _ => {
                let number: i128 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
                integers[next_integer] = number as u64;
                next_integer += 1;
            }
        }
    }
    let [i0, i1, i2, i3, i4, i5] = integers;
    let [f0, f1, f2, f3, f4, f5, f6, f7] = floats;
    macro_rules! call {
        ($result:ty) => {{
            type Shape =
                unsafe extern "C" fn(u64, u64, u64, u64, u64, u64, f64, f64, f64, f64, f64, f64, f64, f64) -> $result;
            // SAFETY: dlsym found a function of this name, and the fixture states its signature.
            let function: Shape = unsafe { std::mem::transmute(function) };
            // SAFETY: every argument register holds what the stated signature wants.
            unsafe { function(i0, i1, i2, i3, i4, i5, f0, f1, f2, f3, f4, f5, f6, f7) }
        }};
    }
    let found = match result_type {
        "f64" => call!(f64).to_string(),
        "f32" => call!(f32).to_string(),
        "void" => {
            call!(());
            return Ok(());
        }
        // The bits of rax above the type's own are undefined.
        "i8" => (call!(u64) as i8).to_string(),
        "i16" => (call!(u64) as i16).to_string(),
        "i32" => (call!(u64) as i32).to_string(),
        "i64" => (call!(u64) as i64).to_string(),
        "u8" => (call!(u64) as u8).to_string(),
        "u16" => (call!(u64) as u16).to_string(),
        "u32" => (call!(u64) as u32).to_string(),
        "u64" | "ptr" => call!(u64).to_string(),
        "str" => {
            let text = call!(*const c_char);
            // SAFETY: the fixture says that the function returns a string.
            format!("\"{}\"", unsafe { CStr::from_ptr(text) }.to_string_lossy())
        }
        _ => return Err(format!("unknown type `{result_type}`")),
    };
    match expected {
        Some(expected) if expected != found => Err(format!("got {found}")),
        _ => Ok(()),
    }
}

fn find(library: &Opened, name: &str, version: Option<&str>) -> Result<*mut c_void, String> {
    let handle = match library {
        Opened::System(handle) => *handle,
        Opened::Dlscope(library) => {
            // SAFETY: the address is only used as what the fixture states.
            let found = unsafe {
                match version {
                    Some(version) => library.get_version::<*mut c_void>(name, version),
                    None => library.get::<*mut c_void>(name),
                }
            };
            return found.map(|symbol| symbol.as_raw_ptr().cast()).map_err(|e| e.to_string());
        }
    };
    let name = CString::new(name).unwrap();
    let address = match version.map(|version| CString::new(version).unwrap()) {
        // SAFETY: the handle is open and the strings end with NUL.
        Some(version) => unsafe { dlvsym(handle, name.as_ptr(), version.as_ptr()) },
        // SAFETY: as above.
        None => unsafe { dlsym(handle, name.as_ptr()) },
    };
    if address.is_null() { Err(last_error()) } else { Ok(address) }
}
