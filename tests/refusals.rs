//! What cannot be loaded: a typed error that names file, field, found and expected, and nothing left behind.

mod common;
mod fixtures;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{descriptors, in_own_process, library, maps};
use dlscope::event::{Kind, Stage};
use dlscope::{Error, ErrorKind, Loader, Recorder};

/// Opens `path` three times, and checks that each failure is the same, that it leaves maps and descriptors as
/// they were, and that no code of any library ran.
fn refused(path: &Path) -> Error {
    let mut before: (Vec<String>, Vec<String>) = Default::default();
    let mut last = None;
    for round in 0..3 {
        let recorder = Arc::new(Recorder::with_capacity(1 << 14));
        // SAFETY: it will be refused; if not, its constructors are harmless.
        let error = unsafe { Loader::new().probe(recorder.clone()).open(path) }.map(drop).unwrap_err();
        let ran = recorder.take().into_iter().find(|e| e.stage == Stage::Init || matches!(&e.kind, Kind::Call { .. }));
        assert!(ran.is_none(), "something ran: {ran:?}");
        let now = (maps(), descriptors());
        // The first rounds fill caches: the host's objects, the allocator's pools.
        if round == 2 {
            let left: Vec<_> = now
                .0
                .iter()
                .chain(&now.1)
                .filter(|line| !before.0.contains(line) && !before.1.contains(line))
                .collect();
            assert!(left.is_empty() && before == now, "a failed load left something behind: {left:#?}");
        }
        before = now;
        last = Some(error);
    }
    let error = last.unwrap();
    assert!(!maps().iter().any(|line| line.ends_with(path.to_str().unwrap())), "{} is still mapped", path.display());
    error
}

fn temporary(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("refusals");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn fixture(name: &str) -> PathBuf {
    fixtures::unpack(name, "refusals")
}

/// libz with one byte changed.
fn patched_libz(name: &str, at: usize, value: u8) -> PathBuf {
    let mut bytes = fs::read(library("libz.so.1").unwrap()).unwrap();
    bytes[at] = value;
    temporary(name, &bytes)
}

/// Each test: a name, how to make the file, and what the error must be.
macro_rules! refusal {
    ($name:ident, $path:expr, $pattern:pat => $check:expr) => {
        #[test]
        fn $name() {
            in_own_process(stringify!($name), || {
                let path: PathBuf = $path;
                let error = refused(&path);
                match &error.kind {
                    $pattern => $check(&error),
                    other => panic!("{other:?}"),
                }
            });
        }
    };
}

fn says(words: &'static [&'static str]) -> impl Fn(&Error) {
    move |error| {
        let text = error.to_string();
        for word in words {
            assert!(text.contains(word), "{word:?} is not in:\n{text}");
        }
    }
}

refusal!(a_missing_file_is_named_with_the_path_that_was_tried, PathBuf::from("/nowhere/libnone.so"),
    ErrorKind::NotFound { tried, .. } => |e: &Error| { assert_eq!(tried.len(), 1); says(&["/nowhere/libnone.so", "No such file"])(e) });

refusal!(a_name_found_nowhere_lists_the_places_that_were_searched, PathBuf::from("libnonesuch.so.7"),
    ErrorKind::NotFound { tried, .. } => |e: &Error| { assert!(tried.len() >= 2); says(&["libnonesuch.so.7", "default directories", "LD_LIBRARY_PATH"])(e) });

refusal!(a_missing_dependency_is_named_with_who_needs_it, fixture("missing-library"),
    ErrorKind::NotFound { needed_by: Some(_), .. } => says(&["needs it"]));

refusal!(a_missing_version_is_named_with_what_is_offered, fixture("version-missing"),
    ErrorKind::MissingVersion { .. } => says(&["needs version", "offers"]));

refusal!(an_undefined_symbol_in_the_last_dependency_stops_everything, fixture("missing-symbol-deep"),
    ErrorKind::UndefinedSymbol { .. } => says(&["undefined symbol", "wanted by relocation", "looked in"]));

refusal!(a_truncated_file_is_recognised, temporary("libcut.so", &fs::read(library("libz.so.1").unwrap()).unwrap()[..60_000]),
    ErrorKind::Malformed { .. } => says(&["program header", "PT_LOAD", "damaged or cut", "at offset 0x"]));

refusal!(a_file_shorter_than_its_header_is_recognised, temporary("libstub.so", &fs::read(library("libz.so.1").unwrap()).unwrap()[..40]),
    ErrorKind::Malformed { .. } => says(&["ELF header", "0x28 bytes"]));

refusal!(a_text_file_is_not_an_elf_file, temporary("libtext.so", b"hello, this is no library\n"),
    ErrorKind::Unsuitable { .. } => says(&["e_ident magic", "7f, 45, 4c, 46", "not an ELF file"]));

refusal!(a_linker_script_is_recognised, temporary("libscript.so", b"/* GNU ld script */ GROUP ( libc.so.6 )\n"),
    ErrorKind::Unsuitable { .. } => says(&["linker script"]));

refusal!(an_empty_file_is_not_an_elf_file, temporary("libempty.so", b""),
    ErrorKind::Unsuitable { .. } => says(&["the file is empty"]));

refusal!(a_directory_is_not_a_library, PathBuf::from("/usr/lib/"),
    ErrorKind::System { .. } => says(&["EISDIR"]));

refusal!(a_32_bit_library_is_recognised, patched_libz("lib32.so", 4, 1),
    ErrorKind::Unsuitable { .. } => says(&["EI_CLASS", "ELFCLASS32", "ELFCLASS64", "offset 0x4"]));

refusal!(a_library_for_another_processor_is_recognised, patched_libz("libarm.so", 18, 183),
    ErrorKind::Unsuitable { .. } => says(&["e_machine", "AARCH64", "EM_X86_64", "offset 0x12"]));

refusal!(a_program_for_a_fixed_address_is_recognised, patched_libz("program", 16, 2),
    ErrorKind::Unsuitable { .. } => says(&["e_type", "EXEC", "ET_DYN", "not position-independent"]));

refusal!(a_position_independent_program_is_recognised, PathBuf::from(env!("CARGO_BIN_EXE_dlscope")),
    ErrorKind::Unsuitable { .. } => says(&["DF_1_PIE"]));

refusal!(an_executable_stack_is_refused_by_policy, fixture("executable-stack"),
    ErrorKind::Policy { .. } => says(&["PT_GNU_STACK", "refused by policy", "noexecstack"]));

refusal!(code_that_is_writable_is_refused_by_policy, fixture("writable-code"),
    ErrorKind::Policy { .. } => says(&["PT_LOAD", "refused by policy"]));

refusal!(an_unknown_relocation_is_not_skipped, fixture("unknown-relocation"),
    ErrorKind::Relocation { .. } => says(&["type 99"]));

/// Every byte of the headers and the dynamic section, changed one at a time: never a crash, and never a trace.
#[test]
fn a_damaged_library_never_crashes_the_loader() {
    in_own_process("a_damaged_library_never_crashes_the_loader", || {
        let good = fs::read(fixture("add")).unwrap();
        let ends = [(0, 64 + 56 * 12)];
        let dynamic = dynamic_section(&good);
        let mut refused = 0;
        for (from, to) in ends.into_iter().chain([dynamic]) {
            for at in from..to {
                for value in [0, 1, 0x7f, 0xff, good[at] ^ 0x10] {
                    let mut bytes = good.clone();
                    bytes[at] = value;
                    let path = temporary("libhurt.so", &bytes);
                    // `prepare` runs nothing of it.
                    match Loader::new().prepare(&path) {
                        Ok(prepared) => drop(prepared.symbols().count()),
                        Err(error) => {
                            refused += 1;
                            assert!(error.to_string().len() > 20, "an error says something: {error}");
                        }
                    }
                }
            }
        }
        assert!(refused > 300, "only {refused} of the damages were noticed");
        assert!(!maps().iter().any(|line| line.contains("libhurt.so")), "nothing of them is left");
    });
}

/// Where `PT_DYNAMIC` lies in the file.
fn dynamic_section(bytes: &[u8]) -> (usize, usize) {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let header = (0..bytes[56] as usize).map(|n| word(32) + n * 56).find(|&at| bytes[at] == 2).unwrap();
    (word(header + 8), word(header + 8) + word(header + 32))
}

/// Which file ends the search in a list of folders, and after which one it goes on, is what glibc says.
#[test]
fn the_search_in_a_list_of_folders_goes_on_where_glibc_goes_on() {
    let name = "the_search_in_a_list_of_folders_goes_on_where_glibc_goes_on";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("refusals-lists");
    let file = |number: usize| format!("libdlscope-list-{number}.so");
    let change = |command: &mut Command| {
        let _ = fs::remove_dir_all(&folder);
        let [first, second, none] = ["first", "second", "none"].map(|part| folder.join(part));
        fs::create_dir_all(&first).unwrap();
        fs::create_dir_all(&second).unwrap();
        fs::write(&none, "a file and no folder").unwrap();
        for number in 0..4 {
            fs::copy(fixture("add"), second.join(file(number))).unwrap();
        }
        symlink(file(1), first.join(file(1))).unwrap();
        symlink("nowhere", first.join(file(2))).unwrap();
        fs::create_dir(first.join(file(3))).unwrap();
        command.env("LD_LIBRARY_PATH", std::env::join_paths([none, first, second]).unwrap());
    };
    common::in_own_process_with(name, change, || {
        // SAFETY: the fixture's constructor only counts.
        let by_us: Vec<bool> = (0..4).map(|n| unsafe { Loader::new().open(file(n)) }.is_ok()).collect();
        let c_name = |n| std::ffi::CString::new(file(n)).unwrap();
        // SAFETY: as above.
        let by_glibc = |n| unsafe { !nix::libc::dlopen(c_name(n).as_ptr(), nix::libc::RTLD_NOW).is_null() };
        assert_eq!(by_us, (0..4).map(by_glibc).collect::<Vec<_>>());
        assert_eq!(by_us, [true, false, true, false]);
    });
}
