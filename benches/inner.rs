//! Benchmarks of the inner parts, one at a time: `cargo bench --bench inner` runs all, a name behind it runs one.
//!
//! `benches/versus` measures whole loads, beside other loaders.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box_drop};
use dlscope::elf::gnu_hash;
use dlscope::elf::image::{Image, check_header};
use dlscope::elf::plan::Plan;
use dlscope::{Event, Library, Loader, Probe, bench};
use goblin::elf::Elf;
use goblin::elf64::reloc::{R_X86_64_RELATIVE, Rela};

fn main() {
    divan::main();
}

// ── DT_GNU_HASH's hash of a name ─────────────────────────────────────────────────────────────────────────

/// The lengths of typical names: in C, in a large C library, and in C++.
const LENGTHS: [usize; 4] = [7, 16, 30, 80];

#[divan::bench(args = LENGTHS)]
fn hash_eight_bytes_a_step(bencher: Bencher<'_, '_>, length: usize) {
    let name = vec![b'q'; length];
    bencher.bench_local(|| gnu_hash::hash(black_box(&name)));
}

#[divan::bench(args = LENGTHS)]
fn hash_byte_by_byte(bencher: Bencher<'_, '_>, length: usize) {
    let name = vec![b'q'; length];
    let hash = |name: &[u8]| name.iter().fold(5381, |h: u32, &c| h.wrapping_mul(33).wrapping_add(c.into()));
    bencher.bench_local(|| hash(black_box(&name)));
}

// ── a symbol by name ─────────────────────────────────────────────────────────────────────────────────────

/// A library, every name that it exports, and as many names that it does not export.
struct Named {
    library: Library,
    there: Vec<String>,
    missing: Vec<String>,
}

static SQLITE: LazyLock<Named> = LazyLock::new(|| {
    // SAFETY: SQLite's constructors do nothing surprising.
    let library = unsafe { Library::open("libsqlite3.so.0") }.unwrap_or_else(|e| panic!("{e}"));
    let there: Vec<String> = library.symbols().map(|export| export.name).collect();
    let missing = there.iter().map(|name| format!("{name}_is_absent")).collect();
    Named { library, there, missing }
});

/// Looks up all names, one after the other. The time is shown for one of them.
fn each_name(bencher: Bencher<'_, '_>, names: &'static [String], look: impl Fn(&Library, &str) -> bool) {
    let library = &SQLITE.library;
    bencher.counter(ItemsCount::new(names.len())).bench_local(|| {
        for name in names {
            black_box(look(library, black_box(name)));
        }
    });
}

/// Looks a name up in the library's index, which is made after the first few hundred lookups.
fn find(library: &Library, name: &str) -> bool {
    // SAFETY: the symbol is not used.
    unsafe { library.find::<*const ()>(name) }.is_some()
}

#[divan::bench]
fn lookup_hit_by_index(bencher: Bencher<'_, '_>) {
    each_name(bencher, &SQLITE.there, find);
}

#[divan::bench]
fn lookup_hit_object_by_object(bencher: Bencher<'_, '_>) {
    each_name(bencher, &SQLITE.there, |library, name| bench::is_there(library, name.as_bytes()));
}

#[divan::bench]
fn lookup_miss_by_index(bencher: Bencher<'_, '_>) {
    each_name(bencher, &SQLITE.missing, find);
}

#[divan::bench]
fn lookup_miss_object_by_object(bencher: Bencher<'_, '_>) {
    each_name(bencher, &SQLITE.missing, |library, name| bench::is_there(library, name.as_bytes()));
}

// ── probes are free when silent ──────────────────────────────────────────────────────────────────────────
//
// Pass 1 of the relocations of a library that has only `R_X86_64_RELATIVE`s. This is the tightest loop that tells
// events, one for each word. It is compared with a loop that has no code for events, and makes the same checks and the
// same stores. Without a probe, and with one that does not listen, there should be no difference. With one that
// listens, an event is built for each word.

const WORDS: usize = 100_000;

struct Relatives {
    library: dlscope::Prepared,
    entries: Vec<Rela>,
    /// The `p_vaddr`s at which the data segment begins and ends.
    data: std::ops::Range<u64>,
}

static RELATIVES: LazyLock<Relatives> = LazyLock::new(|| {
    let path = relatives().unwrap_or_else(|why| panic!("{why}"));
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{e}"));
    let elf = Elf::parse(&bytes).unwrap_or_else(|e| panic!("{e}"));
    let entries: Vec<Rela> = elf.dynrelas.iter().map(Rela::from).collect();
    assert!(entries.len() >= WORDS && entries.iter().all(|e| e.r_info == R_X86_64_RELATIVE.into()));
    let data = elf.program_headers.iter().find(|p| p.p_type == 1 && p.is_write()).map(|p| p.vm_range());
    let data = data.map_or(0..0, |range| range.start as u64..range.end as u64);
    let library = Loader::new().prepare(path).unwrap_or_else(|e| panic!("{e}"));
    Relatives { library, entries, data }
});

/// Builds a library whose data is 100,000 words with addresses inside it.
fn relatives() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, library) = (folder.join("relatives.s"), folder.join("librelatives.so"));
    let text = format!(
        ".data\n.balign 8\nwords: .rept {WORDS}\n.quad words\n.endr\n.section .note.GNU-stack,\"\",@progbits\n"
    );
    fs::write(&source, text).map_err(|e| e.to_string())?;
    let mut command = Command::new("cc");
    command.args(["-shared", "-nostdlib", "-o"]).arg(&library).arg(&source);
    let done = command.status().map_err(|e| e.to_string())?.success();
    if done { Ok(library) } else { Err("cc failed".into()) }
}

#[divan::bench]
fn relative_without_any_probe_code(bencher: Bencher<'_, '_>) {
    let Relatives { library, entries, data } = &*RELATIVES;
    let bias = library.load_bias().0;
    bencher.counter(ItemsCount::new(WORDS)).bench_local(|| {
        for entry in black_box(entries) {
            let inside = entry.r_offset >= data.start && data.end.saturating_sub(entry.r_offset) >= 8;
            if entry.r_info as u32 != R_X86_64_RELATIVE || !inside {
                return Err(entry.r_offset);
            }
            let slot: *mut u64 = std::ptr::with_exposed_provenance_mut((bias + entry.r_offset) as usize);
            // SAFETY: the slot is a word in the data segment of a library that is not sealed yet, and nobody else uses
            // it.
            unsafe { slot.write_unaligned(bias.wrapping_add_signed(entry.r_addend)) };
        }
        Ok(())
    });
}

fn relative(bencher: Bencher<'_, '_>, probe: Option<&dyn Probe>) {
    let library = &RELATIVES.library;
    bencher.counter(ItemsCount::new(WORDS)).bench_local(|| bench::relocate(library, probe));
}

#[divan::bench]
fn relative_with_silent(bencher: Bencher<'_, '_>) {
    relative(bencher, None);
}

struct Stub(bool);

impl Probe for Stub {
    fn event(&self, event: &Event) {
        black_box(event);
    }
    fn listening(&self) -> bool {
        self.0
    }
}

#[divan::bench]
fn relative_with_a_probe_that_does_not_listen(bencher: Bencher<'_, '_>) {
    let probe: Box<dyn Probe> = black_box(Box::new(Stub(false)));
    relative(bencher, Some(&*probe));
}

#[divan::bench(sample_count = 10)]
fn relative_with_a_probe_that_listens(bencher: Bencher<'_, '_>) {
    let probe: Box<dyn Probe> = black_box(Box::new(Stub(true)));
    relative(bencher, Some(&*probe));
}

// ── PT_LOADs → steps ─────────────────────────────────────────────────────────────────────────────────────

#[divan::bench]
fn plan(bencher: Bencher<'_, '_>) {
    let path = SQLITE.library.path().to_owned();
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{e}"));
    let length = bytes.len() as u64;
    let (offset, size) = check_header(&bytes, length).unwrap_or_else(|e| panic!("{e}"));
    let table = &bytes[offset.0 as usize..][..size];
    let image = Image::new(table, offset, length).unwrap_or_else(|e| panic!("{e}"));
    bencher.bench_local(|| black_box_drop(Plan::new(black_box(&image))));
}
