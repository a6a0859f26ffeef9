//! examples/minimal.rs, run as its reader would run it: it calls real libraries, leaves nothing behind, refuses damaged
//! files, and stays what it promises to be.

mod common;
mod fixtures;

use std::ffi::{CStr, c_char};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The example of this build, which `cargo test` builds too.
fn example() -> PathBuf {
    let example = Path::new(env!("CARGO_BIN_EXE_dlscope")).parent().unwrap().join("examples/minimal");
    assert!(example.exists(), "{} is built by `cargo test`, or by `cargo build --example minimal`", example.display());
    example
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("minimal");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn run(library: &Path, function: &str) -> Output {
    Command::new(example()).arg(library).arg(function).output().unwrap()
}

/// What a run printed for `function`, after a look at the rest: the library was mapped, and nothing of it is left.
fn answer(library: &Path, function: &str) -> String {
    let output = run(library, function);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    let mapped: u32 = text.strip_prefix("loaded: ").and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    assert!(mapped >= 2, "a library has code and data: {text}");
    assert!(text.lines().any(|line| line == "unloaded: 0 mappings"), "{text}");
    let prefix = format!("{function}: ");
    text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn the_classic_first_call_returns_what_c_returns() {
    assert_eq!(answer(&fixtures::unpack("classic", "minimal"), "my_function"), "45.14");
}

#[test]
fn zlib_tells_the_version_that_it_tells_the_systems_loader() {
    let Some(path) = common::library("libz.so.1") else { return };
    // SAFETY: zlib.h declares this type, and that the result is a C string.
    let version = unsafe {
        let zlib = libloading::Library::new(&path).unwrap();
        let version = zlib.get::<unsafe extern "C" fn() -> *const c_char>(b"zlibVersion").unwrap();
        CStr::from_ptr(version()).to_str().unwrap().to_owned()
    };
    assert_eq!(answer(Path::new(&path), "zlibVersion"), version);
}

#[test]
fn sqlite_runs_a_query() {
    let Some(path) = common::library("libsqlite3.so.0") else { return };
    assert_eq!(answer(Path::new(&path), "sqlite3_step"), (1 + 20 + 300).to_string());
}

/// Each thing that the loader has to do right is one bit of the result.
const EVIDENCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <glob.h>
#include <regex.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int function(void);
extern char **environ;
extern int nowhere(void) __attribute__((weak));

static volatile char bss[3 * 4096 + 1];
static int data[4] = {1, 2, 3, 4};
static int *volatile pointers[4] = {&data[0], &data[1], &data[2], &data[3]};
static void *(*volatile copy)(void *, const void *, size_t) = memcpy;

static int right_answer(void) { return 1; }
static int wrong_answer(void) { return 0; }
static function *resolve(void) { return *pointers[3] == 4 ? right_answer : wrong_answer; }
int exported(void) __attribute__((ifunc("resolve")));
__attribute__((visibility("hidden"))) int hidden(void) __attribute__((ifunc("resolve")));
static function *volatile pointer = exported;

static int trail, arguments;
void first(int argc, char **argv, char **envp) { trail = 1; }
__attribute__((constructor(200))) static void second(void) { trail = trail == 1 ? 2 : -1; }
__attribute__((constructor(300))) static void third(int argc, char **argv, char **envp) {
    trail = trail == 2 ? 3 : -1;
    arguments = argc == 3 && !strcmp(argv[2], "evidence") && !argv[3] && envp == environ;
}
__attribute__((destructor(200))) static void stop_first(void) { puts("stop first"); }
__attribute__((destructor(300))) static void stop_second(void) { puts("stop second"); }
void last(void) { puts("fini"); fflush(stdout); }

// glibc has an older version of each of these beside the default one, which dlsym gives.
static const char *names[] = {"memcpy", "realpath", "posix_spawn", "glob", "fmemopen", "regexec"};
static void *volatile newest[] = {memcpy, realpath, posix_spawn, glob, fmemopen, regexec};
static int versions(void) {
    int right = 1;
    for (int i = 0; i < 6; i++) right &= newest[i] == dlsym(RTLD_DEFAULT, names[i]);
    return right;
}

// In .data.rel.ro, which RELRO covers.
int *const sealed = &data[0];
static int is_sealed(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long start, end;
    char access[5] = "", line[512];
    while (fgets(line, sizeof line, maps)) {
        sscanf(line, "%lx-%lx %4s", &start, &end, access);
        if (start <= (unsigned long)&sealed && (unsigned long)&sealed < end) break;
    }
    fclose(maps);
    return !strcmp(access, "r--p");
}

double evidence(int number, double fraction) {
    int zeros = 1, copied[4];
    for (unsigned i = 0; i < sizeof bss; i++) zeros &= bss[i] == 0;
    copy(copied, data, sizeof data);
    return (number == 42 && fraction == 3.14) << 0 | zeros << 1 | (nowhere == 0) << 2 | (*pointers[2] == 3) << 3
        | (copied[3] == 4) << 4 | exported() << 5 | hidden() << 6 | pointer() << 7 | (trail == 3) << 8 | arguments << 9
        | versions() << 10 | (is_sealed() && *sealed == 1) << 11;
}
"#;

#[test]
fn every_step_does_what_the_library_relies_on() {
    fs::write(folder().join("evidence.c"), EVIDENCE).unwrap();
    for (name, relative) in [("libplain.so", "nopack-relative-relocs"), ("libpacked.so", "pack-relative-relocs")] {
        let mut cc = Command::new("cc");
        cc.args(["-O0", "-fPIC", "-shared", "-nostartfiles", "-Wl,-init,first", "-Wl,-fini,last", "evidence.c"]);
        cc.args([&format!("-Wl,-z,{relative}"), "-o", name]).current_dir(folder());
        assert!(cc.status().unwrap().success(), "{cc:?}");
        let library = folder().join(name);
        assert_eq!(answer(&library, "evidence"), "4095", "{name}: each bit that is not set is a thing that failed");
        let text = String::from_utf8(run(&library, "evidence").stdout).unwrap();
        assert!(text.contains("stop second\nstop first\nfini\nunloaded"), "{name}: destructors in reverse: {text}");
    }
}

#[test]
fn no_page_is_ever_writable_and_executable_and_the_whole_reservation_goes_also_when_a_load_fails() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed");
        eprintln!("skipped: strace is not installed");
        return;
    }
    for (fixture, function, loads) in [("classic", "my_function", true), ("missing-symbol", "f", false)] {
        let library = fixtures::unpack(fixture, "minimal");
        let trace = folder().join(format!("{fixture}.strace"));
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-e", "trace=mmap,mprotect,munmap", "-o"]).arg(&trace);
        let output = strace.arg(example()).arg(&library).arg(function).output().unwrap();
        assert_eq!(output.status.success(), loads, "{fixture}: {}", String::from_utf8_lossy(&output.stderr));

        let calls = fs::read_to_string(&trace).unwrap();
        let both = calls.lines().find(|call| call.contains("PROT_WRITE") && call.contains("PROT_EXEC"));
        assert_eq!(both, None, "{fixture}");
        // The address space is reserved, made inaccessible, filled, and given back by one call.
        let reserve = calls.lines().find(|call| call.starts_with("mmap(NULL") && call.contains("MAP_NORESERVE"));
        let reserve = reserve.unwrap_or_else(|| panic!("{fixture} reserves nothing:\n{calls}"));
        let address = reserve.rsplit("= ").next().unwrap();
        let length = reserve.split(", ").nth(1).unwrap();
        let at = |call: &str| calls.lines().position(|line| line.starts_with(call));
        let shut = at(&format!("mprotect({address}, {length}, PROT_NONE)"));
        let gone = at(&format!("munmap({address}, {length})"));
        assert!(shut.is_some() && shut < gone, "{fixture}: {reserve}\n{calls}");
    }
}

/// A file whose fields can be changed. The linker has just made it, so its offsets are trusted.
struct Elf(Vec<u8>);

impl Elf {
    fn classic() -> Elf {
        Elf(fs::read(fixtures::unpack("classic", "minimal")).unwrap())
    }

    fn get(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    fn with(mut self, at: usize, value: u64) -> Elf {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn with_bytes(mut self, at: usize, bytes: &[u8]) -> Elf {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn cut(mut self, length: usize) -> Elf {
        self.0.truncate(length);
        self
    }

    /// Where the program headers are that have this type.
    fn headers(&self, p_type: u32) -> Vec<usize> {
        let headers = (0..usize::from(self.0[0x38])).map(|index| self.get(0x20) as usize + index * 56);
        headers.filter(|&at| self.get(at) as u32 == p_type).collect()
    }

    /// Where the value of a dynamic entry is.
    fn dynamic(&self, tag: u64) -> usize {
        let section = self.get(self.headers(PT_DYNAMIC)[0] + P_OFFSET) as usize;
        (section..).step_by(16).find(|&at| self.get(at) == tag).unwrap() + 8
    }
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const P_FLAGS: usize = 0x04;
const P_OFFSET: usize = 0x08;
const P_VADDR: usize = 0x10;
const P_FILESZ: usize = 0x20;
const P_MEMSZ: usize = 0x28;
const P_ALIGN: usize = 0x30;

#[test]
fn a_damaged_file_ends_in_an_error_that_names_the_field() {
    let classic = Elf::classic;
    let load = |index: usize| classic().headers(PT_LOAD)[index];
    let dynamic = classic().headers(PT_DYNAMIC)[0];
    let relro = classic().headers(PT_GNU_RELRO)[0];
    let tag = |tag| classic().dynamic(tag);
    let hash = classic().get(tag(0x6fff_fef5)) as usize;
    let cases = [
        ("e_ident", classic().cut(0)),
        ("e_ident", classic().cut(63)),
        ("e_ident", classic().with_bytes(4, &[1])),
        ("e_phoff", classic().cut(100)),
        ("p_offset + p_filesz", classic().cut(0x1080)),
        ("e_type", classic().with_bytes(0x10, &[2])),
        ("e_machine", classic().with_bytes(0x12, &[40])),
        ("e_phentsize", classic().with_bytes(0x36, &[32])),
        ("e_phoff", classic().with(0x20, u64::MAX)),
        ("p_offset + p_filesz", classic().with(load(0) + P_OFFSET, 1 << 40)),
        ("p_offset + p_filesz", classic().with(load(1) + P_OFFSET, u64::MAX - 0xfff)),
        ("p_offset", classic().with(load(1) + P_OFFSET, 1)),
        ("p_vaddr", classic().with(load(1) + P_VADDR, 0)),
        ("p_vaddr + p_memsz", classic().with(load(3) + P_VADDR, u64::MAX - 0xfff)),
        ("p_filesz", classic().with(load(3) + P_MEMSZ, 1)),
        ("p_align", classic().with(load(0) + P_ALIGN, 1 << 21)),
        ("p_flags", classic().with_bytes(load(1) + P_FLAGS, &[7])),
        ("p_flags", classic().with_bytes(load(3) + P_FLAGS, &[4])),
        ("PT_DYNAMIC", classic().with_bytes(dynamic, &[0])),
        ("PT_DYNAMIC", classic().with(dynamic + P_VADDR, 1 << 40)),
        ("PT_GNU_RELRO", classic().with(relro + P_MEMSZ, 1 << 40)),
        ("DT_STRTAB", classic().with(tag(5), u64::MAX)),
        ("DT_SYMTAB", classic().with(tag(6), 1 << 46)),
        ("DT_RELA ", classic().with(tag(8), u64::MAX)),
        ("constructor", classic().with(tag(12), 0x10)),
        ("DT_GNU_HASH", classic().with(tag(0x6fff_fef5), u64::MAX - 7)),
        ("DT_GNU_HASH: nbuckets", classic().with_bytes(hash, &[0; 4])),
        ("DT_GNU_HASH", classic().with_bytes(hash + 8, &[0xff; 4])),
    ];
    for (index, (field, damaged)) in cases.into_iter().enumerate() {
        let path = folder().join(format!("damaged-{index}.so"));
        fs::write(&path, damaged.0).unwrap();
        let output = run(&path, "my_function");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "damaged-{index}.so, {field}: {}: {error}", output.status);
        let says = error.starts_with(&format!("minimal: {}: {field}", path.display())) && error.contains("found ");
        assert!(says, "damaged-{index}.so, {field}: {error}");
    }
}

#[test]
fn no_value_in_a_header_or_the_dynamic_section_makes_it_crash() {
    let intact = Elf::classic();
    let path = folder().join("swept.so");
    let fields = [P_OFFSET, P_VADDR, P_FILESZ, P_MEMSZ, P_ALIGN];
    let headers = [PT_LOAD, PT_DYNAMIC, PT_GNU_RELRO].map(|p_type| intact.headers(p_type)).concat();
    let mut places: Vec<_> = headers.iter().flat_map(|header| fields.map(|field| header + field)).collect();
    let section = intact.dynamic(12) & !15;
    places.extend((section..).step_by(16).take_while(|&at| intact.get(at) != 0).map(|at| at + 8));
    assert!(places.len() > 40);
    for place in places {
        for value in [u64::MAX, u64::MAX - 0xfff, 1 << 63, 1 << 47, (1 << 47) - 1, 1 << 32] {
            fs::write(&path, Elf(intact.0.clone()).with(place, value).0).unwrap();
            let output = run(&path, "my_function");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code().is_some(), "{value:#x} at {place:#x} of the file: {}: {text}", output.status);
        }
    }
}

const SOURCE: &str = include_str!("../examples/minimal.rs");

#[test]
fn it_is_one_short_file_that_uses_no_other_part_of_dlscope() {
    let count = SOURCE.lines().count();
    assert!(count <= 450, "{count} lines");
    assert!(!SOURCE.contains("dlscope::"), "it shows the idea without the crate");
    let crates = ["std", "goblin", "memmap2", "nix", "plain"];
    for line in SOURCE.lines().filter_map(|line| line.trim_start().strip_prefix("use ")) {
        assert!(crates.iter().any(|name| line.starts_with(&format!("{name}::"))), "use {line}");
    }
}

#[test]
fn every_file_of_the_full_loader_that_it_names_is_there() {
    let named: Vec<_> = SOURCE.split('`').filter(|text| text.starts_with("src/")).collect();
    assert!(named.len() >= 20, "{named:?}");
    let missing: Vec<_> =
        named.iter().filter(|path| !Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
