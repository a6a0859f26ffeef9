//! Tables in a writable segment, where `patchelf` moves them: they are read from the file and not copied.

mod common;

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use common::{in_own_process, maps};
use dlscope::elf::addr::FileOffset;
use dlscope::event::Kind;
use dlscope::{Library, Loader, Recorder};

/// How many functions the library has, each with a name of 120 bytes.
const FUNCTIONS: usize = 20_000;

fn name(index: usize) -> String {
    format!("{:x<110}_{index:09}", "a_long_name_")
}

/// A library with many long names, whose string table and hash table `patchelf` has moved. `None`: no `patchelf`.
fn patched(test: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("writable-tables-{test}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let source: String = (0..FUNCTIONS).map(|n| format!(".globl {0}\n{0}: mov ${n}, %eax\nret\n", name(n))).collect();
    let typed: String = (0..FUNCTIONS).map(|n| format!(".type {},@function\n", name(n))).collect();
    fs::write(folder.join("many.s"), format!(".text\n{source}{typed}.section .note.GNU-stack,\"\",@progbits\n"))
        .unwrap();
    let library = folder.join("many.so");
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-nostdlib", "-Wl,--hash-style=gnu", "-o"]).arg(&library).arg(folder.join("many.s"));
    assert!(gcc.status().unwrap().success());
    let patched = Command::new("patchelf").args(["--set-rpath", "/a/folder/that/is/not/there"]).arg(&library).status();
    let Ok(status) = patched else {
        assert!(env::var_os("CI").is_none(), "patchelf is not installed");
        eprintln!("skipped: patchelf is not installed");
        return None;
    };
    assert!(status.success());
    Some(library)
}

fn open(loader: &Loader, path: &Path) -> Library {
    // SAFETY: the library has no constructors.
    unsafe { loader.open(path) }.unwrap_or_else(|e| panic!("{e}"))
}

/// What the process has of anonymous memory, in KiB: every copy counts, pages of a file do not.
fn anonymous() -> usize {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn tables_in_a_writable_segment_are_not_copied() {
    in_own_process("tables_in_a_writable_segment_are_not_copied", || {
        let Some(path) = patched("copied") else { return };
        let tables = FUNCTIONS * 120 / 1024;
        let before = anonymous();
        let library = open(&Loader::new(), &path);
        for index in [0, 1, FUNCTIONS / 2, FUNCTIONS - 1] {
            // SAFETY: the function takes nothing and returns its number.
            let number = unsafe { library.get::<unsafe extern "C" fn() -> c_int>(name(index)).unwrap()() };
            assert_eq!(number, index as c_int);
        }
        let more = anonymous().saturating_sub(before);
        assert!(more < tables / 4, "{more} KiB more; the names alone have {tables} KiB");
    });
}

#[test]
fn the_second_mapping_is_told_and_goes_with_the_library() {
    in_own_process("the_second_mapping_is_told_and_goes_with_the_library", || {
        let Some(path) = patched("told") else { return };
        let recorder = Arc::new(Recorder::with_capacity(1 << 16));
        let library = open(&Loader::new().probe(recorder.clone()), &path);
        let views = |kind: &Kind| match *kind {
            Kind::View { address, length, offset, .. } if offset != FileOffset(0) => Some((address, length)),
            _ => None,
        };
        let views: Vec<_> = recorder.take().iter().filter_map(|event| views(&event.kind)).collect();
        let [(address, length)] = views[..] else { panic!("one writable segment has tables: {views:?}") };
        library.close().unwrap();
        let told =
            |kind: &Kind| matches!(kind, Kind::Unmap { address: a, length: l, .. } if (*a, *l) == (address, length));
        assert!(recorder.take().iter().any(|event| told(&event.kind)));
        let left: Vec<_> = maps().into_iter().filter(|line| line.contains("many.so")).collect();
        assert!(left.is_empty(), "still mapped: {left:#?}");
    });
}

#[test]
fn what_is_written_over_the_tables_in_memory_does_not_matter() {
    in_own_process("what_is_written_over_the_tables_in_memory_does_not_matter", || {
        let Some(path) = patched("written") else { return };
        let library = open(&Loader::new(), &path);
        let lines = maps();
        let writable = |line: &&String| line.contains("many.so") && line.contains(" rw-p ");
        let ranges = lines.iter().filter(writable).map(|line| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            usize::from_str_radix(start, 16).unwrap()..usize::from_str_radix(end, 16).unwrap()
        });
        let mut written = 0;
        for range in ranges {
            written += range.len();
            // SAFETY: the library's own data, none of which its functions use.
            unsafe { std::ptr::with_exposed_provenance_mut::<u8>(range.start).write_bytes(0xff, range.len()) };
        }
        assert!(written > FUNCTIONS * 120, "the tables are among what was written");
        let symbol = name(7);
        // SAFETY: the function takes nothing and returns its number.
        assert_eq!(unsafe { library.get::<unsafe extern "C" fn() -> c_int>(&*symbol).unwrap()() }, 7);
        library.close().unwrap();
    });
}
