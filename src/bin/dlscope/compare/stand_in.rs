//! A library that stands for the program that will load a plugin (`--host`).
//!
//! A plugin has undefined symbols that its program defines. No loader opens a program as a library, so the children get
//! a library that defines the same names, by `LD_PRELOAD`: it is in the process from the start, as the program would be.
//! Each function in it returns 0, each variable is zero. That is enough to load a plugin, to relocate it and to look at
//! every word; a constructor that calls its program may go another way or die, under both loaders alike.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use dlscope::Loader;
use dlscope::elf::addr::PAGE;
use dlscope::elf::image::DF_1_PIE;
use goblin::elf::Elf;
use goblin::elf64::dynamic::{
    DT_HASH, DT_NEEDED, DT_NULL, DT_RUNPATH, DT_STRSZ, DT_STRTAB, DT_SYMENT, DT_SYMTAB, Dyn, SIZEOF_DYN,
};
use goblin::elf64::header::{ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_X86_64, ET_DYN, EV_CURRENT, Header, SIZEOF_EHDR};
use goblin::elf64::program_header::{PF_R, PF_W, PF_X, PT_DYNAMIC, PT_GNU_STACK, PT_LOAD, ProgramHeader, SIZEOF_PHDR};
use goblin::elf64::reloc::R_X86_64_COPY;
use goblin::elf64::section_header::SHN_ABS;
use goblin::elf64::sym::{
    SIZEOF_SYM, STB_GLOBAL, STB_LOCAL, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT, STT_TLS, Sym, st_bind, st_type,
};

use crate::Failure;
use crate::bytes::path_of;
use crate::host;

/// The library to preload for `program`, which is made in `folder` unless it is a library itself.
pub fn of(program: &OsStr, folder: &Path) -> Result<PathBuf, Failure> {
    let path = host::found(program)?;
    let bytes = fs::read(&path)?;
    let elf = host::parse(&path, &bytes)?;
    let is_library = elf.header.e_type == ET_DYN
        && elf.dynamic.as_ref().is_some_and(|dynamic| dynamic.info.flags_1 & DF_1_PIE == 0)
        && (elf.interpreter.is_none() || elf.soname.is_some());
    let place = folder.join(if is_library { "host.so" } else { "program.so" });
    if is_library {
        // ld.so takes ':' and ' ' in LD_PRELOAD for separators, so a link without them leads there.
        if path.as_os_str().as_bytes().iter().any(|byte| b": ".contains(byte)) {
            symlink(&path, &place)?;
            return Ok(place);
        }
        return Ok(path);
    }
    let others = defined_by_libraries(&path, &elf);
    let definitions: Vec<Definition<'_>> = definitions(&elf, &others).collect();
    fs::write(&place, library(&definitions, &elf.libraries, &host::search_path(&path, &elf)))?;
    Ok(place)
}

/// What the libraries of the program's start define: that is theirs also where the program has a copy (`R_X86_64_COPY`)
/// or an entry of its own.
fn defined_by_libraries(path: &Path, elf: &Elf<'_>) -> HashSet<String> {
    let loader = host::search_path(path, elf).iter().fold(Loader::new(), |loader, dir| loader.search_dir(path_of(dir)));
    let inspections = elf.libraries.iter().map(|library| loader.inspect(library));
    let mut names = HashSet::new();
    for inspection in inspections {
        names.extend(inspection.objects().flat_map(|o| o.symbols().map(|symbol| symbol.name).collect::<Vec<_>>()));
    }
    names
}

struct Definition<'e> {
    name: &'e str,
    is_function: bool,
    size: u64,
}

/// The symbols that the program defines itself, thread-local ones left out.
fn definitions<'e>(elf: &'e Elf<'_>, others: &'e HashSet<String>) -> impl Iterator<Item = Definition<'e>> {
    let copies: HashSet<usize> =
        elf.dynrelas.iter().filter(|entry| entry.r_type == R_X86_64_COPY).map(|entry| entry.r_sym).collect();
    elf.dynsyms.iter().enumerate().filter_map(move |(index, symbol)| {
        let kind = st_type(symbol.st_info);
        let defined = symbol.st_shndx != 0 && st_bind(symbol.st_info) != STB_LOCAL && !copies.contains(&index);
        let name = elf.dynstrtab.get_at(symbol.st_name)?;
        let usual = matches!(kind, STT_FUNC | STT_GNU_IFUNC | STT_OBJECT | STT_NOTYPE) && kind != STT_TLS;
        (defined && usual && !others.contains(name)).then_some(Definition {
            name,
            is_function: matches!(kind, STT_FUNC | STT_GNU_IFUNC),
            size: symbol.st_size,
        })
    })
}

/// `xor eax, eax; ret`, on 16 bytes.
const RETURN_0: [u8; 16] = *b"\x31\xc0\xc3\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc";

/// A shared object with these definitions: a segment with the tables, one with the code, one with the dynamic section
/// and the variables.
fn library(definitions: &[Definition<'_>], needed: &[&str], dirs: &[String]) -> Vec<u8> {
    let mut strings = vec![0];
    let mut string = |bytes: &[u8]| {
        let at = strings.len();
        strings.extend_from_slice(bytes);
        strings.push(0);
        at as u64
    };
    let names: Vec<u64> = definitions.iter().map(|definition| string(definition.name.as_bytes())).collect();
    let mut dynamic: Vec<(u64, u64)> = needed.iter().map(|name| (DT_NEEDED, string(name.as_bytes()))).collect();
    if !dirs.is_empty() {
        let list: Vec<OsString> = dirs.iter().map(|dir| path_of(dir).into()).collect();
        dynamic.push((DT_RUNPATH, string(list.join(OsStr::new(":")).as_bytes())));
    }

    let headers = (SIZEOF_EHDR + 5 * SIZEOF_PHDR) as u64;
    let symbols_at = headers.next_multiple_of(8);
    let hash_at = symbols_at + (definitions.len() as u64 + 1) * SIZEOF_SYM as u64;
    // One bucket for every two symbols, then the chain.
    let buckets = definitions.len() / 2 + 1;
    let strings_at = hash_at + (2 + buckets as u64 + definitions.len() as u64 + 1) * 4;
    let code_at = (strings_at + strings.len() as u64).next_multiple_of(PAGE);
    let functions = definitions.iter().filter(|definition| definition.is_function).count().max(1) as u64;
    let data_at = (code_at + functions * RETURN_0.len() as u64).next_multiple_of(PAGE);
    dynamic.extend([
        (DT_HASH, hash_at),
        (DT_SYMTAB, symbols_at),
        (DT_SYMENT, SIZEOF_SYM as u64),
        (DT_STRTAB, strings_at),
        (DT_STRSZ, strings.len() as u64),
        (DT_NULL, 0),
    ]);
    let section_length = (dynamic.len() * SIZEOF_DYN) as u64;

    let (mut next_function, mut next_variable) = (code_at, (data_at + section_length).next_multiple_of(64));
    let mut symbols = vec![Sym::default()];
    let mut hash = vec![0_u32; 2 + buckets + definitions.len() + 1];
    (hash[0], hash[1]) = (buckets as u32, definitions.len() as u32 + 1);
    for (index, (definition, name)) in (1..).zip(definitions.iter().zip(names)) {
        let (kind, next, length) = if definition.is_function {
            (STT_FUNC, &mut next_function, RETURN_0.len() as u64)
        } else {
            // Variables may be aligned to cache lines.
            (STT_OBJECT, &mut next_variable, definition.size.max(8).next_multiple_of(64))
        };
        let bucket = 2 + (dlscope::elf::sysv_hash::hash(definition.name.as_bytes()) as usize) % buckets;
        hash[2 + buckets + index] = std::mem::replace(&mut hash[bucket], index as u32);
        symbols.push(Sym {
            st_name: name as u32,
            st_info: STB_GLOBAL << 4 | kind,
            st_other: 0,
            // There are no sections. Only whether it is one of the special numbers counts.
            st_shndx: 1,
            st_value: *next,
            st_size: definition.size,
        });
        *next += length;
    }
    debug_assert!(symbols.iter().all(|symbol| u32::from(symbol.st_shndx) != SHN_ABS));

    let load = |flags, at, filesz, memsz| ProgramHeader {
        p_type: PT_LOAD,
        p_flags: flags,
        p_offset: at,
        p_vaddr: at,
        p_paddr: at,
        p_filesz: filesz,
        p_memsz: memsz,
        p_align: PAGE,
    };
    let tables = strings_at + strings.len() as u64;
    let code = functions * RETURN_0.len() as u64;
    let program_headers = [
        load(PF_R, 0, tables, tables),
        load(PF_R | PF_X, code_at, code, code),
        load(PF_R | PF_W, data_at, section_length, next_variable - data_at),
        ProgramHeader { p_type: PT_DYNAMIC, p_align: 8, ..load(PF_R | PF_W, data_at, section_length, section_length) },
        ProgramHeader { p_type: PT_GNU_STACK, p_align: 16, ..load(PF_R | PF_W, 0, 0, 0) },
    ];
    let mut header = Header {
        e_type: ET_DYN,
        e_machine: EM_X86_64,
        e_version: EV_CURRENT.into(),
        e_phoff: SIZEOF_EHDR as u64,
        e_ehsize: SIZEOF_EHDR as u16,
        e_phentsize: SIZEOF_PHDR as u16,
        e_phnum: program_headers.len() as u16,
        ..Header::default()
    };
    header.e_ident[..4].copy_from_slice(ELFMAG);
    header.e_ident[4..7].copy_from_slice(&[ELFCLASS64, ELFDATA2LSB, EV_CURRENT]);

    let dynamic: Vec<Dyn> = dynamic.iter().map(|&(d_tag, d_val)| Dyn { d_tag, d_val }).collect();
    let mut file = Vec::new();
    let mut put = |at: u64, bytes: &[u8]| {
        file.resize(at as usize, 0);
        file.extend_from_slice(bytes);
    };
    // SAFETY: these structs are plain numbers without padding.
    unsafe {
        put(0, plain::as_bytes(&header));
        put(SIZEOF_EHDR as u64, plain::as_bytes(&program_headers));
        put(symbols_at, plain::as_bytes(&symbols[..]));
    }
    let hash: Vec<u8> = hash.iter().flat_map(|word| word.to_le_bytes()).collect();
    put(hash_at, &hash);
    put(strings_at, &strings);
    put(code_at, &RETURN_0.repeat(functions as usize));
    // SAFETY: as above.
    put(data_at, unsafe { plain::as_bytes(&dynamic[..]) });
    file
}

/// `LD_PRELOAD` with this library in front of what is preloaded anyway.
pub fn preload(library: &Path) -> OsString {
    let mut list = library.as_os_str().to_owned();
    if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        list.push(":");
        list.push(others);
    }
    list
}
