//! glibc's own functions, where `interpose!` gives their names to the program.
//!
//! Found by our own lookup, when they are first needed: from then on by whoever unwinds, in a signal handler maybe. So
//! this takes no lock and allocates nothing. It may walk the list without glibc's lock, because it ends at glibc's own
//! objects, which are among the first and never go away.

use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use goblin::elf64::dynamic::{DT_GNU_HASH, DT_STRSZ, DT_STRTAB, DT_SYMTAB, DT_VERSYM, Dyn};
use goblin::elf64::program_header::{PT_LOAD, ProgramHeader};
use nix::libc;

use super::start::list_head;
use crate::elf::addr::{Bias, Vaddr};
use crate::elf::dynamic::{Dynamic, DynamicEntry, host_pointer};
use crate::elf::symbol::{Bytes, Class, SymbolTable, Want, Wanted};
use crate::object::LinkMap;

/// A function of glibc.
pub(crate) struct Real {
    name: &'static [u8],
    found: AtomicPtr<()>,
}

static ITERATE: Real = Real::named(b"dl_iterate_phdr");
static FIND_OBJECT: Real = Real::named(b"_dl_find_object");

/// The callback of `dl_iterate_phdr`.
pub type Visit = unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int;
type Iterate = unsafe extern "C" fn(Option<Visit>, *mut c_void) -> c_int;
type FindObject = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;

/// glibc's own `dl_iterate_phdr`. The name alone could mean ours: then it would call itself.
pub(crate) fn iterate() -> Iterate {
    let real = ITERATE.get();
    if real.is_null() {
        return libc::dl_iterate_phdr;
    }
    // SAFETY: a function of this name and so of this type, found in glibc.
    unsafe { std::mem::transmute::<*mut (), Iterate>(real) }
}

/// glibc's own `_dl_find_object`; −1, as for an address that it does not know, where it has none.
///
/// # Safety
/// `result` has room for a `struct dl_find_object`.
pub(crate) unsafe fn find_object(pc: *mut c_void, result: *mut c_void) -> c_int {
    let real = FIND_OBJECT.get();
    if real.is_null() {
        return -1;
    }
    // SAFETY: glibc's function of this type, found by name; the caller's arguments.
    unsafe { std::mem::transmute::<*mut (), FindObject>(real)(pc, result) }
}

impl Real {
    pub(crate) const fn named(name: &'static [u8]) -> Real {
        Real { name, found: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Where it is; null if this glibc has none.
    pub(crate) fn get(&self) -> *mut () {
        let known = self.found.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        let found = self.find().unwrap_or(std::ptr::null_mut());
        self.found.store(found, Ordering::Relaxed);
        found
    }

    /// The same for a function without which nothing goes on.
    ///
    /// # Panics
    /// If this glibc has none.
    pub(crate) fn must_be_there(&self) -> *mut () {
        let found = self.get();
        assert!(!found.is_null(), "glibc has no {}", String::from_utf8_lossy(self.name));
        found
    }

    fn find(&self) -> Option<*mut ()> {
        // SAFETY: the part of the list that is walked never changes: see above.
        let mut at = unsafe { list_head() }?;
        while !at.is_null() {
            // SAFETY: an element of the list.
            let map = unsafe { &*at };
            // SAFETY: glibc keeps a C string there.
            let name = if map.l_name.is_null() { &[][..] } else { unsafe { CStr::from_ptr(map.l_name) }.to_bytes() };
            if name.ends_with(b"/libc.so.6") || name.ends_with(b"/ld-linux-x86-64.so.2") {
                // SAFETY: one of glibc's own objects.
                let found = unsafe { find_in(map, self.name) };
                if found.is_some() {
                    return found;
                }
            }
            at = map.l_next;
        }
        None
    }
}

/// The first segment of an object, where its tables for lookups lie.
struct FirstSegment(&'static [u8]);

impl Bytes<'static> for FirstSegment {
    fn tail(&self, at: Vaddr) -> Option<&'static [u8]> {
        self.0.get(usize::try_from(at.0).ok()?..)
    }
}

/// The default version of `name` in the object of `map`.
///
/// # Safety
/// One of glibc's own objects: it begins with its ELF header, which the program headers follow, and stays for good.
unsafe fn find_in(map: &LinkMap, name: &[u8]) -> Option<*mut ()> {
    // SAFETY: the first page of a mapped object: `e_phnum`, and the table behind the header.
    let headers = unsafe {
        let count = ((map.l_addr + 56) as *const u16).read();
        std::slice::from_raw_parts((map.l_addr + 64) as *const ProgramHeader, count.into())
    };
    let loads = || headers.iter().filter(|h| h.p_type == PT_LOAD);
    // SAFETY: its first segment, which is mapped and constant.
    let first = unsafe { std::slice::from_raw_parts(map.l_addr as *const u8, loads().next()?.p_filesz as usize) };
    let end = loads().next_back().map_or(0, |h| h.p_vaddr + h.p_memsz);
    let entry = |index| {
        // SAFETY: the dynamic section, which ends in a tag of 0; `take_while` stops there.
        let Dyn { d_tag, d_val } = unsafe { (map.l_ld as *const Dyn).add(index).read() };
        DynamicEntry { tag: d_tag, value: d_val }
    };
    let entries = (0..).map(entry).take_while(|e| e.tag != 0);
    let wanted = entries.filter(|e| matches!(e.tag, DT_SYMTAB | DT_STRTAB | DT_STRSZ | DT_GNU_HASH | DT_VERSYM));
    let bias = Bias(map.l_addr);
    let dynamic = Dynamic::new(wanted, Vaddr(0), &host_pointer(bias, Vaddr(0)..Vaddr(end))).ok()?;
    let symbols = SymbolTable::new(&dynamic, &FirstSegment(first)).ok()?;
    let (_, symbol) = symbols.find(&Wanted::new(name, Want::Newest, Class::Plt), &mut ())?;
    Some(std::ptr::with_exposed_provenance_mut(symbol.address(bias).0 as usize))
}
