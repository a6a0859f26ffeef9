//! `dladdr` and `dladdr1`: which object an address lies in, and the symbol nearest below it.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use goblin::elf64::sym::Sym;
use nix::libc;

use crate::elf::addr::Addr;
use crate::host;
use crate::lock::Lock;
use crate::namespace::namespaces;
use crate::object::{LinkMap, Object};

/// `RTLD_DL_SYMENT` and `RTLD_DL_LINKMAP` of `<dlfcn.h>`.
const SYMENT: c_int = 1;
const LINKMAP: c_int = 2;

/// `dladdr`: 0 if no object has the address.
///
/// # Safety
/// `info` has room for a `Dl_info`.
pub unsafe extern "C" fn dladdr(address: *const c_void, info: *mut libc::Dl_info) -> c_int {
    // SAFETY: the caller's.
    unsafe { dladdr1(address, info, ptr::null_mut(), 0) }
}

/// `dladdr1`: the same, and by `flags` the symbol table's entry or the `link_map`.
///
/// # Safety
/// `info` has room for a `Dl_info`, and `extra` for a pointer if `flags` asks for one.
pub unsafe extern "C" fn dladdr1(
    address: *const c_void,
    info: *mut libc::Dl_info,
    extra: *mut *mut c_void,
    flags: c_int,
) -> c_int {
    let lock = Lock::acquire();
    let address = Addr(address as u64);
    let Some(object) = owner(address, &lock) else { return 0 };
    let nearest = nearest(&object, address);
    let (name, value, entry) = match nearest {
        Some((name, value, entry)) => (name, value, entry),
        None => (ptr::null(), Addr(0), ptr::null()),
    };
    let program =
        host::look_silently(&lock).is_ok_and(|h| h.startup().first().is_some_and(|p| Arc::ptr_eq(p, &object)));
    // SAFETY: the caller passes the room. The strings live as long as the object: its own memory, or argv.
    unsafe {
        info.write(libc::Dl_info {
            dli_fname: if program { *host::arguments().argv } else { (*object.handle()).l_name },
            dli_fbase: ptr::with_exposed_provenance_mut((object.bias() + object.memory.span().start).0 as usize),
            dli_sname: name,
            dli_saddr: ptr::with_exposed_provenance_mut(value.0 as usize),
        });
        match flags {
            SYMENT => extra.write(entry.cast_mut().cast()),
            LINKMAP => extra.write(object.handle().cast::<LinkMap>().cast_mut().cast()),
            _ => {}
        }
    }
    1
}

/// The object that an address belongs to, ours or the host's.
pub(super) fn owner(address: Addr, lock: &Lock) -> Option<Arc<Object>> {
    let own = namespaces(lock).into_iter().find_map(|n| n.members(lock).objects().find(|o| o.memory.contains(address)));
    own.or_else(|| host::look_silently(lock).ok()?.owner(address).cloned())
}

/// The symbol that holds `address`, or one without a size that is exactly there; the first of the highest. glibc
/// `determine_info`.
fn nearest(object: &Object, address: Addr) -> Option<(*const c_char, Addr, *const Sym)> {
    let at = object.bias().vaddr(address);
    let symbols = object.symbols();
    let holds = |value: u64, size: u64| value == at.0 || value < at.0 && at.0 - value < size;
    let mut best: Option<(u64, u32)> = None;
    for (index, symbol, _) in symbols.exports().filter(|(_, s, _)| !s.is_tls()) {
        let value = symbol.value().0;
        if holds(value, symbol.size()) && best.is_none_or(|(highest, _)| highest < value) {
            best = Some((value, index));
        }
    }
    let (_, index) = best?;
    let symbol = symbols.get(index)?;
    let entry = symbols.place(index).map_or(ptr::null(), ptr::from_ref);
    Some((symbols.name(&symbol).as_ptr().cast(), symbol.address(object.bias()), entry))
}
