//! What only a library's `.symtab` tells: symbols that it has and does not export. `strip` removes that table.

use std::path::Path;

use goblin::elf::Elf;
use goblin::elf::dynamic::{DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME};
use goblin::elf::sym::{STB_LOCAL, STT_FUNC, STT_GNU_IFUNC, STT_OBJECT, STT_TLS, STV_HIDDEN, STV_INTERNAL};
use serde::Serialize;

/// Why a symbol that a library has is not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hidden {
    /// Its visibility is hidden or internal.
    ByVisibility,
    /// It is local: `static`, or a version script says `local:`.
    Local,
}

/// For each of `names`, whether the library at `path` has it and keeps it for itself.
pub fn hidden(path: &Path, names: &[&str]) -> Vec<Option<Hidden>> {
    let mut found = vec![None; names.len()];
    let Ok(bytes) = std::fs::read(path) else { return found };
    let Ok(elf) = Elf::parse(&bytes) else { return found };
    for symbol in elf.syms.iter() {
        let is_hidden = [STV_HIDDEN, STV_INTERNAL].contains(&symbol.st_visibility());
        let kinds = [STT_FUNC, STT_OBJECT, STT_TLS, STT_GNU_IFUNC];
        if symbol.st_shndx == 0 || !kinds.contains(&symbol.st_type()) || (symbol.st_bind() != STB_LOCAL && !is_hidden) {
            continue;
        }
        let name = elf.strtab.get_at(symbol.st_name).unwrap_or_default();
        if let Some(at) = names.iter().position(|known| *known == name) {
            found[at] = Some(if is_hidden { Hidden::ByVisibility } else { Hidden::Local });
        }
    }
    found
}

/// The thread-local variables of the library at `path` with their sizes, the largest first.
pub fn thread_locals(path: &Path) -> Vec<(String, u64)> {
    let Ok(bytes) = std::fs::read(path) else { return Vec::new() };
    let Ok(elf) = Elf::parse(&bytes) else { return Vec::new() };
    let of = |symbols: &goblin::elf::Symtab<'_>, strings: &goblin::strtab::Strtab<'_>| -> Vec<(String, u64)> {
        let own = symbols.iter().filter(|symbol| symbol.st_type() == STT_TLS && symbol.st_shndx != 0);
        own.map(|symbol| (strings.get_at(symbol.st_name).unwrap_or_default().into(), symbol.st_size)).collect()
    };
    let mut found = of(&elf.syms, &elf.strtab);
    if found.is_empty() {
        found = of(&elf.dynsyms, &elf.dynstrtab);
    }
    found.retain(|(name, size)| !name.is_empty() && *size > 0);
    found.sort_by_key(|(name, size)| (std::cmp::Reverse(*size), name.clone()));
    found.dedup();
    found
}

/// Whether the string of `DT_RPATH` or `DT_RUNPATH` in the library at `path` is a part of another string that is in use:
/// linkers store a string that another one ends with only once. patchelf before 0.18 overwrites the old path.
pub fn shares_its_path(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    let Ok(elf) = Elf::parse(&bytes) else { return false };
    let Some(dynamic) = &elf.dynamic else { return false };
    let end_of = |start: usize| {
        let length = elf.dynstrtab.get_at(start).map_or(0, str::len);
        (length > 0).then_some(start + length)
    };
    let of_tags = |tags: &[u64]| -> Vec<usize> {
        dynamic.dyns.iter().filter(|entry| tags.contains(&entry.d_tag)).map(|entry| entry.d_val as usize).collect()
    };
    let ends: Vec<usize> = of_tags(&[DT_RPATH, DT_RUNPATH]).into_iter().filter_map(end_of).collect();
    let symbols = elf.dynsyms.iter().map(|symbol| symbol.st_name);
    let mut names = of_tags(&[DT_NEEDED, DT_SONAME]);
    for need in elf.verneed.iter().flat_map(|table| table.iter()) {
        names.push(need.vn_file);
        names.extend(need.iter().map(|version| version.vna_name));
    }
    for version in elf.verdef.iter().flat_map(|table| table.iter()) {
        names.extend(version.iter().map(|name| name.vda_name));
    }
    let mut others = symbols.chain(names);
    !ends.is_empty() && others.any(|start| end_of(start).is_some_and(|end| ends.contains(&end)))
}

/// Whether the library at `path` says that it needs initial-exec room: `DF_STATIC_TLS` in `DT_FLAGS`.
pub fn wants_static_tls(path: &Path) -> bool {
    const DF_STATIC_TLS: u64 = 0x10;
    let Ok(bytes) = std::fs::read(path) else { return false };
    let flags = Elf::parse(&bytes).ok().and_then(|elf| Some(elf.dynamic?.info.flags));
    flags.is_some_and(|flags| flags & DF_STATIC_TLS != 0)
}
