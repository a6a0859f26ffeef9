//! The whole idea in one file: what `dlopen`, `dlsym` and `dlclose` do, on x86_64 Linux with glibc.
//!
//! A shared library is a file that can run at any address. To load it means to put its parts into memory, to fill in
//! the pointers that depend on where that is, and to run its constructors. [`dlopen`] lists the steps; the functions
//! after it follow in the same order. Each also says which files of dlscope grow out of it, and why they had to grow.
//! All other names are those of the specifications: the System V gABI for the file, the psABI for x86_64.
//!
//! Two kinds of number look alike. A *vaddr* is an address as the file counts it, from about 0. An *address* is where
//! that byte lies in this process: load bias + vaddr. `src/elf/addr.rs` makes types of them.
#![no_main] // C's `main`, at the end, is called with what constructors need

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::{self, File};
use std::{env, error::Error, fmt::Display, hint, mem, num::NonZeroUsize, ptr, ptr::NonNull, slice};

use goblin::elf64::{dynamic::*, header::*, program_header::*, reloc::*, section_header::SHN_UNDEF, sym::*};
use memmap2::{Mmap, MmapOptions, MmapRaw};
use nix::libc::{dl_iterate_phdr, dl_phdr_info};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mprotect};
use plain::Plain; // the promise that any bytes make a valid value

const PAGE: u64 = 4096;
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// An error names the field that is wrong, what was found there, and what this loader wants.
fn wrong<T>(field: impl Display, found: impl Display, wanted: impl Display) -> Result<T> {
    Err(format!("{field}: found {found}, wanted {wanted}").into())
}

fn ensure(is_right: bool, field: &str, found: impl Into<u64>, wanted: &str) -> Result<()> {
    if is_right { Ok(()) } else { wrong(field, format_args!("{:#x}", found.into()), wanted) }
}

/// **Open** a library, as `dlopen(path, RTLD_NOW | RTLD_LOCAL)` does. If a step fails, dropping `memory` unmaps all.
/// → `src/load/find.rs` grew because a name without `/` is looked for in many places, by the rules of ld.so(8).
/// # Safety
/// Code of the library runs: IFUNC resolvers, constructors, and destructors when the object is dropped.
unsafe fn dlopen(path: &str, arguments: Arguments) -> Result<Object> {
    let file = File::open(path)?;
    // SAFETY: a loader has to trust that nobody changes the file while it is in use.
    let bytes = unsafe { Mmap::map(&file)? };
    let headers = read_headers(&bytes)?;
    let (bias, memory) = map(&file, bytes.len() as u64, &headers)?;
    let mut object = Object::new(bias, headers, Some(memory))?;
    let host = host_objects()?;
    check_needed(&object, &host)?;
    relocate(&object, &host)?;
    seal(&object)?;
    initialise(&mut object, arguments)?;
    Ok(object)
}

/// **Read.** The file header says what the file is for, and where its program headers are. They say which parts of the
/// file go where in memory (PT_LOAD), and where other tables will be. Section headers are for linkers and debuggers.
/// → `src/load/read.rs` grew because it reads only the first bytes of the file, says why it refuses one, and recognises
/// a file that is loaded already.
fn read_headers(file: &[u8]) -> Result<Vec<ProgramHeader>> {
    let header = file.first_chunk::<SIZEOF_EHDR>().filter(|header| header.starts_with(b"\x7fELF\x02\x01"));
    let Some(header) = header.map(Header::from_bytes) else {
        return wrong("e_ident", file[..file.len().min(6)].escape_ascii(), r"\x7fELF\x02\x01: 64 bits, little-endian");
    };
    ensure(header.e_type == ET_DYN, "e_type", header.e_type, "ET_DYN (3)")?;
    ensure(header.e_machine == EM_X86_64, "e_machine", header.e_machine, "EM_X86_64 (0x3e)")?;
    ensure(usize::from(header.e_phentsize) == SIZEOF_PHDR, "e_phentsize", header.e_phentsize, "0x38")?;
    let (start, length) = (header.e_phoff as usize, usize::from(header.e_phnum) * SIZEOF_PHDR);
    let end = start.saturating_add(length);
    ensure(end <= file.len(), "e_phoff and e_phnum: end", end as u64, "at most the length of the file")?;
    Ok(ProgramHeader::from_bytes(&file[start..end], header.e_phnum.into()))
}

/// **Map.** Code reaches data by the distance between them, so the PT_LOADs must keep theirs. All the address space is
/// reserved at once, without access, where the kernel has room: that place gives the load bias. Then each PT_LOAD is
/// mapped from the file over its part of the reservation; privately, so that the file does not change.
/// → `src/elf/plan.rs` grew because it decides all steps before the first is taken, to show and test them, and allows a
/// p_align above a page. `src/load/map.rs` takes the steps, with fewer system calls. `src/memory/` grew to be the only
/// place of the loader that touches the memory of objects.
fn map(file: &File, file_length: u64, headers: &[ProgramHeader]) -> Result<(u64, MmapRaw)> {
    let loads: Vec<_> = headers.iter().filter(|header| header.p_type == PT_LOAD).collect();
    let start = loads.first().map_or(0, |load| load.p_vaddr / PAGE * PAGE);
    let end = loads.iter().try_fold(start, |earliest, load| check_load(load, earliest, file_length))?;
    let memory = MmapRaw::from(MmapOptions::new().len((end - start) as usize).no_reserve_swap().map_anon()?);
    let bias = (memory.as_mut_ptr() as u64).wrapping_sub(start);
    // SAFETY: nobody uses these pages yet.
    unsafe { protect(bias, start, end, ProtFlags::PROT_NONE)? };
    for load in loads {
        let access = [(PF_R, ProtFlags::PROT_READ), (PF_W, ProtFlags::PROT_WRITE), (PF_X, ProtFlags::PROT_EXEC)];
        let access = access.iter().filter(|(flag, _)| load.p_flags & flag != 0).map(|(_, access)| *access).collect();
        let start = load.p_vaddr / PAGE * PAGE;
        // A segment without bytes in the file has no page there either.
        let file_end = if load.p_filesz == 0 { start } else { load.p_vaddr + load.p_filesz };
        if let Some(length) = NonZeroUsize::new((file_end - start) as usize) {
            let place = NonZeroUsize::new(bias.wrapping_add(start) as usize);
            let (flags, offset) = (MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED, (load.p_offset / PAGE * PAGE) as i64);
            // SAFETY: MAP_FIXED replaces what is there: by `check_load`, pages of our reservation.
            unsafe { mmap(place, length, access, flags, file, offset)? };
        }
        // **Zero the bss.** Variables that begin as 0 take no bytes in the file: they lie between p_filesz and p_memsz.
        // The last page from the file has other bytes of the file there, so its rest is zeroed by hand. The pages after
        // it are still those of the reservation, anonymous and therefore zero; they only need access.
        // → `src/elf/plan.rs` grew because a read-only segment may have a bss too: its last page is opened and shut.
        if load.p_memsz > load.p_filesz {
            let (pages, end) = (file_end.next_multiple_of(PAGE), load.p_vaddr + load.p_memsz);
            // SAFETY: these are pages of this segment, and by `check_load` it is writable.
            unsafe {
                ptr::write_bytes(bias.wrapping_add(file_end) as *mut u8, 0, (pages - file_end) as usize);
                protect(bias, pages, end, access)?;
            }
        }
    }
    Ok((bias, memory))
}

/// Checks a PT_LOAD, whose pages may begin at `earliest`, and returns where they end. A sum above 64 bits is saturated.
fn check_load(load: &ProgramHeader, earliest: u64, file_length: u64) -> Result<u64> {
    let (end, file_end) = (load.p_vaddr.saturating_add(load.p_memsz), load.p_offset.saturating_add(load.p_filesz));
    ensure(load.p_vaddr / PAGE * PAGE >= earliest, "p_vaddr", load.p_vaddr, "a page after the PT_LOAD before")?;
    ensure(end < 1 << 47, "p_vaddr + p_memsz", end, "less than 2^47")?;
    ensure(file_end <= file_length, "p_offset + p_filesz", file_end, "at most the length of the file")?;
    ensure(load.p_filesz <= load.p_memsz, "p_filesz", load.p_filesz, "at most p_memsz")?;
    ensure(load.p_offset % PAGE == load.p_vaddr % PAGE, "p_offset", load.p_offset, "p_vaddr modulo the page size")?;
    ensure(load.p_align <= PAGE, "p_align", load.p_align, "at most the page size")?;
    ensure(load.p_flags & (PF_W | PF_X) != PF_W | PF_X, "p_flags", load.p_flags, "not PF_W and PF_X at once")?;
    ensure(load.p_flags & PF_W != 0 || load.p_filesz == load.p_memsz, "p_flags", load.p_flags, "PF_W, for a bss")?;
    Ok(end.next_multiple_of(PAGE))
}

/// Unsafe because the pages from `start` to `end` must be the caller's, and nobody may need the access that they had.
unsafe fn protect(bias: u64, start: u64, end: u64, access: ProtFlags) -> Result<()> {
    let place = NonNull::new(bias.wrapping_add(start) as *mut c_void).ok_or("nothing is mapped at address 0")?;
    // SAFETY: the caller's.
    unsafe { mprotect(place, end.saturating_sub(start) as usize, access) }.map_err(Into::into)
}

/// **Dynamic.** A program or library in memory. PT_DYNAMIC, an array of (tag, value), says where the tables are that
/// link objects with each other: symbols, names, relocations. All are read from memory, not from the file, so the same
/// code reads the objects of the host process. Those stay, and have neither `_memory` nor `destructors`.
/// → `src/load/dynamic.rs` and `src/elf/dynamic.rs` grew because they check each table once, not at each access, and
/// give each tag a type: a number, an address, the length of a table.
struct Object {
    bias: u64,
    headers: Vec<ProgramHeader>,
    dynamic: Vec<Dyn>,
    destructors: Vec<u64>,
    _memory: Option<MmapRaw>,
}

impl Object {
    fn new(bias: u64, headers: Vec<ProgramHeader>, memory: Option<MmapRaw>) -> Result<Object> {
        let mut object = Object { bias, headers, dynamic: Vec::new(), destructors: Vec::new(), _memory: memory };
        let is_dynamic = |header: &&ProgramHeader| header.p_type == PT_DYNAMIC;
        let section = object.headers.iter().find(is_dynamic).ok_or("PT_DYNAMIC: found none, wanted one")?;
        let vaddrs = (section.p_vaddr..section.p_vaddr.saturating_add(section.p_memsz)).step_by(size_of::<Dyn>());
        let found = vaddrs.map(|vaddr| object.read("PT_DYNAMIC", vaddr));
        object.dynamic =
            found.take_while(|entry| !matches!(entry, Ok(Dyn { d_tag: DT_NULL, .. }))).collect::<Result<_>>()?;
        Ok(object)
    }

    /// The address of `length` bytes at `vaddr`, if they lie in one PT_LOAD that has `flag`.
    fn address(&self, field: impl Display, vaddr: u64, length: usize, flag: u32) -> Result<u64> {
        let mut loads = self.headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_flags & flag != 0);
        let end = vaddr.saturating_add(length as u64);
        if loads.any(|load| load.p_vaddr <= vaddr && end <= load.p_vaddr.saturating_add(load.p_memsz)) {
            return Ok(self.bias.wrapping_add(vaddr));
        }
        let access = ["", "executable", "writable", "", "readable"][flag as usize];
        wrong(field, format_args!("vaddr {vaddr:#x}"), format_args!("{length} bytes of one {access} PT_LOAD"))
    }

    fn read<T: Plain>(&self, field: impl Display, vaddr: u64) -> Result<T> {
        let address = self.address(field, vaddr, size_of::<T>(), PF_R)?;
        // SAFETY: `address` found these bytes in a PT_LOAD, which is mapped and readable while the object lives.
        Ok(unsafe { (address as *const T).read_unaligned() })
    }

    fn store(&self, vaddr: u64, value: u64) -> Result<()> {
        let address = self.address("r_offset", vaddr, size_of::<u64>(), PF_W);
        // SAFETY: the same, writable until `seal`. No reference points to these bytes: `read` makes copies.
        address.map(|address| unsafe { (address as *mut u64).write_unaligned(value) })
    }

    /// The value of the first entry with this tag; 0 if there is none.
    fn value(&self, tag: u64) -> u64 {
        self.dynamic.iter().find(|entry| entry.d_tag == tag).map_or(0, |entry| entry.d_val)
    }

    /// What lies `offset` bytes into the table of `tag`.
    fn at<T: Plain>(&self, tag: u64, offset: u64) -> Result<T> {
        let (name, table) = (tag_to_str(tag), self.value(tag));
        ensure(table != 0, name, table, "a table")?;
        // The file has a vaddr here. In the host's objects glibc has replaced it by the address, except where
        // PT_DYNAMIC is read-only. What is below the load bias is not an address in the object, so it is still a vaddr.
        let vaddr = table.checked_sub(self.bias).unwrap_or(table);
        self.read(format_args!("{name} + {offset:#x}"), vaddr.saturating_add(offset))
    }

    /// The name at `offset` of the string table, without the 0 that ends it.
    fn string(&self, offset: u64) -> Result<Vec<u8>> {
        (offset..u64::MAX).map(|at| self.at(DT_STRTAB, at)).take_while(|byte| !matches!(byte, Ok(0))).collect()
    }
}

/// **Host.** The process has objects already: the program, libc, and what else started with it. There must not be a
/// second libc, so the new library is linked to these. glibc lists them with their program headers.
/// → `src/host/` grew because the host may change that list at any time, and keeps what it opened RTLD_LOCAL apart.
fn host_objects() -> Result<Vec<Object>> {
    unsafe extern "C" fn visit(info: *mut dl_phdr_info, _size: usize, found: *mut c_void) -> c_int {
        // SAFETY: glibc passes its description of an object, to which the other pointers belong, and our `found`.
        let (bias, name, headers, found) = unsafe {
            let dl_phdr_info { dlpi_addr, dlpi_name, dlpi_phdr, dlpi_phnum, .. } = *info;
            let headers = slice::from_raw_parts(dlpi_phdr.cast::<ProgramHeader>(), dlpi_phnum.into()).to_vec();
            (dlpi_addr, CStr::from_ptr(dlpi_name), headers, &mut *found.cast::<Vec<Result<Object>>>())
        };
        // The kernel's vDSO is in the list, but its functions are called through libc.
        if !name.to_bytes().starts_with(b"linux-vdso") {
            found.push(Object::new(bias, headers, None));
        }
        0
    }
    let mut found = Vec::<Result<Object>>::new();
    // SAFETY: `visit` gets what it expects.
    unsafe { dl_iterate_phdr(Some(visit), (&raw mut found).cast()) };
    found.into_iter().collect()
}

/// **Needed.** DT_NEEDED names the libraries that this one needs. Here they must be in the process already.
/// → `src/load/needed.rs` grew because it loads those that are missing, and what they need, each once.
/// `src/load/versions.rs` was added because a library of the right name may be too old for the symbols asked of it.
fn check_needed(object: &Object, host: &[Object]) -> Result<()> {
    for entry in object.dynamic.iter().filter(|entry| entry.d_tag == DT_NEEDED) {
        let name = object.string(entry.d_val)?;
        if !host.iter().any(|there| there.string(there.value(DT_SONAME)).is_ok_and(|soname| soname == name)) {
            return wrong("DT_NEEDED", name.escape_ascii(), "a library that is in the process already");
        }
    }
    Ok(())
}

/// The address of a symbol, or of the resolver of an IFUNC (`true`), which returns that of the best code for this CPU.
type Found = (u64, bool);

/// **Look up** a symbol in one object. DT_GNU_HASH is a hash table over DT_SYMTAB. One read of its Bloom filter rules
/// out most names that are not here. The bucket of a hash holds the index of the first symbol to compare. The chain
/// holds the hashes of that symbol and of those after it; their lowest bit is replaced by a mark: 1 ends the bucket.
/// → `src/elf/gnu_hash.rs` grew for speed, and because a reference asks for a version. This takes the default version:
/// memcpy@@GLIBC_2.14, not the older memcpy@GLIBC_2.2.5, which bit 15 in DT_VERSYM hides.
fn lookup(object: &Object, name: &[u8]) -> Result<Option<Found>> {
    let hash = u64::from(name.iter().fold(5381_u32, |hash, &byte| hash.wrapping_mul(33).wrapping_add(byte.into())));
    let word = |offset| object.at::<u32>(DT_GNU_HASH, offset).map(u64::from);
    let (nbuckets, symoffset, bloom_size, bloom_shift) = (word(0)?, word(4)?, word(8)?, word(12)?);
    ensure(nbuckets != 0 && bloom_size != 0, "DT_GNU_HASH: nbuckets or bloom_size", 0_u8, "not 0")?;
    let (bloom, buckets, chain) = (16, 16 + 8 * bloom_size, 16 + 8 * bloom_size + 4 * nbuckets);
    let filter: u64 = object.at(DT_GNU_HASH, bloom + 8 * (hash / 64 % bloom_size))?;
    if filter >> (hash % 64) & filter >> ((hash >> (bloom_shift % 32)) % 64) & 1 == 0 {
        return Ok(None);
    }
    // An empty bucket has 0. No symbol below symoffset is in the table.
    let (mut index, mut entry) = (word(buckets + 4 * (hash % nbuckets))?, 0);
    while index >= symoffset && entry & 1 == 0 {
        entry = word(chain + 4 * (index - symoffset))?;
        if entry | 1 == hash | 1 {
            let symbol: Sym = object.at(DT_SYMTAB, index * size_of::<Sym>() as u64)?;
            let (kind, is_defined) = (st_type(symbol.st_info), u32::from(symbol.st_shndx) != SHN_UNDEF);
            let is_hidden = object.value(DT_VERSYM) != 0 && object.at::<u16>(DT_VERSYM, 2 * index)? & 1 << 15 != 0;
            if is_defined && !is_hidden && kind != STT_TLS && object.string(symbol.st_name.into())? == name {
                let flag = if kind == STT_GNU_IFUNC { PF_X } else { PF_R };
                let address = object.address("st_value", symbol.st_value, 1, flag)?;
                return Ok(Some((address, kind == STT_GNU_IFUNC)));
            }
        }
        index += 1;
    }
    Ok(None)
}

/// **Relocate.** A relocation names a word that depends on addresses, and a formula: B is the load bias, S the address
/// of a symbol, A the addend. Resolvers are called when all other words are right, for they may use them.
/// → `src/load/relocate.rs` and `src/elf/reloc.rs` grew by more formulas, `src/lookup/scope.rs` by the order in which
/// many libraries are asked for a symbol, `src/runtime/ifunc.rs` by a watch on what resolvers do. `src/runtime/lazy/`
/// binds a function at its first call. `src/runtime/tls/` has thread-local variables, which are refused here.
fn relocate(object: &Object, host: &[Object]) -> Result<()> {
    const DT_RELRSZ: u64 = 35; // goblin lacks these two
    const DT_RELR: u64 = 36;
    let mut values = Vec::new();
    // DT_RELR is a dense form of RELATIVE: an even entry is a vaddr, an odd one a bitmap of the 63 words that follow.
    let mut next = 0_u64;
    for offset in (0..object.value(DT_RELRSZ)).step_by(8) {
        let entry: u64 = object.at(DT_RELR, offset)?;
        let (first, bits, length) = if entry & 1 == 0 { (entry, 1, 1) } else { (next, entry >> 1, 63) };
        for slot in (0..length).filter(|bit| bits >> bit & 1 == 1).map(|bit| first.saturating_add(8 * bit)) {
            values.push((slot, (object.bias, false), object.read::<i64>("DT_RELR", slot)?));
        }
        next = first.saturating_add(8 * length);
    }
    for (table, size) in [(DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)] {
        for offset in (0..object.value(size)).step_by(size_of::<Rela>()) {
            let Rela { r_offset, r_info, r_addend } = object.at(table, offset)?;
            let s = || definition(object, host, r_sym(r_info).into());
            let (found, addend) = match r_type(r_info) {
                R_X86_64_NONE => continue,
                R_X86_64_RELATIVE => ((object.bias, false), r_addend), // B + A
                R_X86_64_64 => (s()?, r_addend),                       // S + A
                R_X86_64_GLOB_DAT | R_X86_64_JUMP_SLOT => (s()?, 0),   // S
                R_X86_64_IRELATIVE => ((object.address("r_addend", r_addend as u64, 1, PF_X)?, true), 0),
                kind => return wrong("r_info", r_to_str(kind, EM_X86_64), "RELATIVE|64|GLOB_DAT|JUMP_SLOT|IRELATIVE"),
            };
            values.push((r_offset, found, addend));
        }
    }
    values.sort_by_key(|(_, (_, is_ifunc), _)| *is_ifunc);
    // SAFETY: the caller of `dlopen` lets resolvers run, and the sort has put them last.
    let store = |(slot, found, addend)| object.store(slot, unsafe { resolve(found) }.wrapping_add_signed(addend));
    values.into_iter().try_for_each(store)
}

/// Who defines a symbol? The host is asked first, so that all use one `malloc`, whoever else defines it.
fn definition(object: &Object, host: &[Object], index: u64) -> Result<Found> {
    let symbol: Sym = object.at(DT_SYMTAB, index * size_of::<Sym>() as u64)?;
    let name = object.string(symbol.st_name.into())?;
    let found = host.iter().chain([object]).find_map(|definer| lookup(definer, &name).transpose());
    match found.transpose()? {
        Some(found) => Ok(found),
        None if st_bind(symbol.st_info) == STB_WEAK => Ok((0, false)),
        None => wrong("undefined symbol", name.escape_ascii(), "a definition in the process or the library"),
    }
}

/// Unsafe because a resolver runs: it must be one, and what it uses must be relocated.
unsafe fn resolve((address, is_ifunc): Found) -> u64 {
    // SAFETY: the caller's.
    if is_ifunc { unsafe { function::<unsafe extern "C" fn() -> u64>(address)() } } else { address }
}

/// Unsafe because `F` must be the type of the code at `address`: a function pointer.
unsafe fn function<F: Copy>(address: u64) -> F {
    const { assert!(size_of::<F>() == size_of::<u64>()) };
    // SAFETY: the caller's.
    unsafe { mem::transmute_copy(&(address as *const ())) }
}

/// **Seal.** PT_GNU_RELRO covers what only the loader had to write: the GOT, tables of functions. It becomes read-only,
/// so that an overrun buffer cannot redirect a call. As in glibc, a page that is not covered to its end stays writable.
/// → `src/load/seal.rs` grew because libraries that are loaded together are sealed together, after the last resolver.
fn seal(object: &Object) -> Result<()> {
    for relro in object.headers.iter().filter(|header| header.p_type == PT_GNU_RELRO) {
        let (start, end) = (relro.p_vaddr / PAGE * PAGE, relro.p_vaddr.saturating_add(relro.p_memsz) / PAGE * PAGE);
        // Linkers may round p_memsz up. So what must lie in the PT_LOAD is the beginning of the last page, not its end.
        let length = end.saturating_sub(PAGE - 1).saturating_sub(relro.p_vaddr) as usize;
        object.address("PT_GNU_RELRO", relro.p_vaddr, length, PF_W)?;
        // SAFETY: pages of a writable PT_LOAD, which nobody has to write any more.
        unsafe { protect(object.bias, start, end, ProtFlags::PROT_READ)? };
    }
    Ok(())
}

/// argc, argv and envp: glibc calls constructors with them, as it does C's `main`.
type Arguments = (c_int, *const *const c_char, *const *const c_char);

/// **Init.** The library's own code runs for the first time: DT_INIT, then DT_INIT_ARRAY from the first to the last.
/// → `src/load/init.rs` grew because dependencies come first. A constructor may open libraries itself, so before it
/// runs `src/load/publish.rs` makes the library known to later loads, and `src/runtime/unwind.rs` to the unwinder.
fn initialise(object: &mut Object, (argc, argv, envp): Arguments) -> Result<()> {
    let constructors = functions(object, DT_INIT, DT_INIT_ARRAY, DT_INIT_ARRAYSZ)?;
    object.destructors = functions(object, DT_FINI, DT_FINI_ARRAY, DT_FINI_ARRAYSZ)?;
    for constructor in constructors {
        // SAFETY: constructors have this type, and the caller of `dlopen` lets them run.
        unsafe { function::<unsafe extern "C" fn(c_int, _, _)>(constructor)(argc, argv, envp) };
    }
    Ok(())
}

/// The addresses of one function and an array of more.
fn functions(object: &Object, single: u64, array: u64, size: u64) -> Result<Vec<u64>> {
    let offsets = (0..object.value(size)).step_by(8);
    let array = offsets.map(|offset| object.at::<u64>(array, offset).map(|address| address.wrapping_sub(object.bias)));
    let single = Some(object.value(single)).filter(|vaddr| *vaddr != 0).map(Ok);
    single.into_iter().chain(array).map(|vaddr| object.address("constructor or destructor", vaddr?, 1, PF_X)).collect()
}

/// **Call.** To call a function takes its address, which is here, and its type, which only the caller knows.
/// → `src/library.rs` grew because a Rust lifetime keeps the library open while a symbol of it is in use.
/// # Safety
/// `F` is the type of the function pointer, and it is not called after the object is dropped.
unsafe fn dlsym<F: Copy>(object: &Object, name: &str) -> Result<F> {
    match lookup(object, name.as_bytes())? {
        // SAFETY: the caller's; and the caller of `dlopen` lets resolvers run.
        Some(found) => Ok(unsafe { function(resolve(found)) }),
        None => wrong("DT_SYMTAB", "no such symbol", name),
    }
}

/// **Close.** Destructors undo constructors, in the reverse order: DT_FINI_ARRAY from the last to the first, then
/// DT_FINI. Then the reservation goes, and with it all that was mapped over it: `_memory` is dropped after this.
/// → `src/load/close.rs` grew because a library stays while others are bound to it, or a thread has to clean up in it.
impl Drop for Object {
    fn drop(&mut self) {
        for destructor in self.destructors.drain(..).rev() {
            // SAFETY: the caller of `dlopen` lets destructors run.
            unsafe { function::<unsafe extern "C" fn()>(destructor)() };
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn main(argc: c_int, argv: *const *const c_char, envp: *const *const c_char) -> c_int {
    let result: Result<()> = match &env::args().collect::<Vec<_>>()[..] {
        [_, path, name] => demonstrate(path, name, (argc, argv, envp)).map_err(|e| format!("{path}: {e}").into()),
        _ => Err("usage: minimal PATH zlibVersion|sqlite3_step|NAME, where NAME is a double f(int, double)".into()),
    };
    result.inspect_err(|error| eprintln!("minimal: {error}")).is_err().into()
}

#[allow(clippy::approx_constant, reason = "3.14 is just a number here")]
fn demonstrate(path: &str, name: &str, arguments: Arguments) -> Result<()> {
    let path = fs::canonicalize(path)?.display().to_string();
    // SAFETY: whoever runs this trusts the library.
    let library = unsafe { dlopen(&path, arguments)? };
    let mappings = |maps: String| maps.lines().filter(|line| line.ends_with(&path)).count();
    println!("loaded: {} mappings of {path}", mappings(fs::read_to_string("/proc/self/maps")?));
    let answer = match name {
        // SAFETY: zlib.h declares this type, and that the result is a C string.
        "zlibVersion" => unsafe { CStr::from_ptr(dlsym::<extern "C" fn() -> _>(&library, name)?()) }.to_str()?.into(),
        "sqlite3_step" => sum(&library)?.to_string(),
        // SAFETY: whoever runs this says that the function has this type.
        _ => unsafe { dlsym::<unsafe extern "C" fn(c_int, f64) -> f64>(&library, name)?(42, 3.14) }.to_string(),
    };
    println!("{name}: {answer}");
    drop(library);
    println!("unloaded: {} mappings", mappings(fs::read_to_string("/proc/self/maps")?));
    Ok(())
}

fn sum(sqlite: &Object) -> Result<c_int> {
    // libsqlite3 needs libm. This call makes the linker name libm among the needs of this program, so it is here.
    hint::black_box(hint::black_box(1.0_f64).sin());
    let sql = c"select sum(column1) from (values (1), (20), (300))";
    let (mut database, mut statement) = (ptr::null_mut::<c_void>(), ptr::null_mut::<c_void>());
    // SAFETY: sqlite3.h declares these types.
    unsafe {
        dlsym::<unsafe extern "C" fn(_, _) -> c_int>(sqlite, "sqlite3_open")?(c":memory:".as_ptr(), &mut database);
        let prepare: unsafe extern "C" fn(_, _, c_int, _, _) -> c_int = dlsym(sqlite, "sqlite3_prepare_v2")?;
        prepare(database, sql.as_ptr(), -1, &mut statement, ptr::null_mut::<c_void>());
        let status = dlsym::<unsafe extern "C" fn(_) -> c_int>(sqlite, "sqlite3_step")?(statement);
        ensure(status == 100, "sqlite3_step", status as u32, "SQLITE_ROW (0x64)")?;
        let sum = dlsym::<unsafe extern "C" fn(_, c_int) -> c_int>(sqlite, "sqlite3_column_int")?(statement, 0);
        dlsym::<unsafe extern "C" fn(_) -> c_int>(sqlite, "sqlite3_finalize")?(statement);
        dlsym::<unsafe extern "C" fn(_) -> c_int>(sqlite, "sqlite3_close")?(database);
        Ok(sum)
    }
}
