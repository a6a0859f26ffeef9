//! Stage 5, dynamic: `PT_DYNAMIC`, read from memory, and every table that it names, checked once.
//!
//! gABI "Dynamic Section"; glibc `elf_get_dynamic_info`, musl `decode_dyn`.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use goblin::elf64::dynamic::{DT_GNU_HASH, DT_HASH, DT_JMPREL, DT_PLTGOT, DT_RELA, DT_STRTAB, DT_SYMTAB, DT_VERSYM};

use crate::elf::addr::{Vaddr, Word};
use crate::elf::dynamic::{DT_RELR, SIZEOF_DYN};
use crate::elf::image::Segment;
use crate::error::{ErrorKind, Result};
use crate::event::{Kind, Report, Stage, Tag};
use crate::load::find::note_search_paths;
use crate::load::needed::Brought;
use crate::load::read::Headers;
use crate::memory::{Memory, Source};
use crate::namespace::Kept;
use crate::object::{Object, Origin, dynamic_entries};
use crate::runtime::{gdb, tls};
use crate::text::escape;

/// Turns the mapped file `fd` into an object whose tables are checked. It comes with what the chapters of `runtime/` keep
/// for it: its TLS module, and what a debugger was told. `loaded_by` is the object whose search paths it inherits.
///
/// # Errors
/// [`ErrorKind::Malformed`] with the dynamic tag, or the field of `PT_TLS`, whose value no loader can work with.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn object(
    file: Headers,
    fd: &OwnedFd,
    tag: &Tag,
    memory: Memory,
    loaded_by: Option<&Object>,
    report: Report<'_>,
) -> Result<Brought> {
    let wrap = |kind: ErrorKind| kind.of(&*tag.name, Stage::Dynamic);
    let Headers { path, id, image } = file;
    let source = Source { fd: fd.as_fd(), report: report.at(Stage::Dynamic) };
    let origin = Origin { tag: tag.clone(), path, file: id, host: None, image, memory };
    let mut object = Object::new(origin, source).map_err(wrap)?;
    // Search paths that may change before they are needed are made now.
    let inherits = loaded_by.is_some_and(|by| by.dynamic.rpath.is_some() || by.paths.get().is_some());
    if inherits || !tag.name.starts_with('/') {
        note_search_paths(&object, loaded_by);
    }
    tell_tables(&object, report.at(Stage::Dynamic));
    make_addresses(&object, report.at(Stage::Dynamic));
    let mut kept = Kept::new();
    if let Some(segment) = object.image.tls() {
        check_thread_locals(segment, &object).map_err(wrap)?;
        let module = tls::register(segment, object.bias() + segment.vaddr);
        object.tls_module = Some(module.id());
        kept.push(Arc::new(module));
    }
    kept.push(Arc::new(gdb::tell(object.c_path(), object.bias())));
    Ok(Brought::New { object: Arc::new(object), kept })
}

/// The tags whose values glibc turns into addresses, in the order of its `ADJUST_DYN_INFO`s. Of two entries with the same
/// tag, glibc changes the last alone, and nobody reads the first.
const ADDRESSES: [u64; 9] =
    [DT_HASH, DT_PLTGOT, DT_STRTAB, DT_SYMTAB, DT_RELR, DT_JMPREL, DT_VERSYM, DT_GNU_HASH, DT_RELA];

/// Adds the load bias to pointers in a writable dynamic section, as glibc does (`elf_get_dynamic_info`). Programs that
/// read `link_map.l_ld`, or `PT_DYNAMIC` of `dl_iterate_phdr`, take them for addresses: D's run-time library does.
/// dlscope's own tables are made before, from the values in the file.
fn make_addresses(object: &Object, report: Report<'_>) {
    let Some(segment) = object.image.dynamic().filter(|segment| segment.flags.writable()) else { return };
    for (index, entry) in dynamic_entries(&object.image, &object.memory).into_iter().flatten().enumerate() {
        // Without a table of relocations, some linkers leave 0.
        if ADDRESSES.contains(&entry.tag) && entry.value != 0 {
            let d_un = Vaddr(segment.vaddr.0 + index as u64 * SIZEOF_DYN + SIZEOF_DYN / 2);
            let _ = object.memory.store(d_un, object.bias().0.wrapping_add(entry.value), report);
        }
    }
}

/// Checks `PT_TLS`: every thread's block will be allocated and filled by it.
fn check_thread_locals(segment: &Segment, object: &Object) -> Result<(), ErrorKind> {
    let rule = "ELF Handling For Thread-Local Storage, \"Program Header\"";
    let bad = |field: &str, found: String, expected: &str| {
        Err(ErrorKind::malformed(format!("PT_TLS: {field}"), segment.vaddr, found, expected, rule))
    };
    if segment.filesz > segment.memsz {
        return bad("p_filesz", format!("{:#x}", segment.filesz), "at most p_memsz");
    }
    if segment.align > 1 && !segment.align.is_power_of_two() || segment.align > 1 << 20 {
        return bad("p_align", format!("{:#x}", segment.align), "a power of two up to 1 MiB");
    }
    if segment.memsz > 1 << 30 {
        return bad("p_memsz", format!("{:#x}", segment.memsz), "at most 1 GiB in every thread");
    }
    let holds = |s: &Segment| {
        segment.vaddr >= s.vaddr
            && s.flags.readable()
            && s.memsz - (segment.vaddr.0 - s.vaddr.0).min(s.memsz) >= segment.filesz
    };
    if segment.filesz > 0 && !object.image.loads().any(holds) {
        return bad("p_vaddr", segment.vaddr.to_string(), "an image inside one readable PT_LOAD");
    }
    Ok(())
}

/// Tells probes of every entry of the dynamic section, and of the tables that the entries lead to.
#[track_caller]
fn tell_tables(object: &Object, report: Report<'_>) {
    if !report.closely() {
        return;
    }
    let symbols = object.symbols();
    let section = object.image.dynamic().map_or(Vaddr(0), |segment| segment.vaddr);
    for (index, entry) in dynamic_entries(&object.image, &object.memory).into_iter().flatten().enumerate() {
        report.tell_each(|| Kind::DynamicEntry {
            vaddr: Vaddr(section.0 + index as u64 * SIZEOF_DYN),
            tag: entry.tag_name(),
            value: Word(entry.value),
            text: entry.names_string().then(|| symbols.string(entry.value).map(escape)).flatten().map(Into::into),
        });
    }
    report.tell_each(|| Kind::Tables {
        hash: object.dynamic.hash_tables(),
        symbols: symbols.count().into(),
        versions: symbols.versions.defined.iter().map(|v| escape(v.text).into_owned()).collect(),
    });
}
