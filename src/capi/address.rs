//! `dladdr` and `dladdr1`: which object an address lies in, and the symbol nearest below it.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use goblin::elf64::sym::Sym;
use nix::libc;

use crate::elf::addr::{Addr, Bias};
use crate::elf::symbol::SymbolTable;
use crate::host;
use crate::host::startup;
use crate::lock::{Lock, is_borrowing};
use crate::namespace::find_object_now;
use crate::object::{LinkMap, Object};
use crate::runtime::present;

/// `RTLD_DL_SYMENT` and `RTLD_DL_LINKMAP` of `<dlfcn.h>`.
const SYMENT: c_int = 1;
pub(super) const LINKMAP: c_int = 2;

/// `dladdr`: 0 if no object has the address.
///
/// # Safety
/// `info` has room for a `Dl_info`.
pub unsafe extern "C" fn dladdr(address: *const c_void, info: *mut libc::Dl_info) -> c_int {
    // SAFETY: the caller has room for a `Dl_info`, and flags 0 ask for nothing more.
    unsafe { dladdr1(address, info, ptr::null_mut(), 0) }
}

/// `dladdr1`: as [`dladdr`], and as `flags` asks, `extra` gets the symbol table's entry or the object's `link_map`.
///
/// # Safety
/// `info` has room for a `Dl_info`, and `extra` for a pointer if `flags` asks for one.
pub unsafe extern "C" fn dladdr1(
    address: *const c_void,
    info: *mut libc::Dl_info,
    extra: *mut *mut c_void,
    flags: c_int,
) -> c_int {
    let address = Addr(address as u64);
    // An allocator that asks for its caller must not wait for anything, and allocates nothing.
    let now = present::now();
    let own = |object: &Arc<Object>| object.memory.extent().contains(&address).then(|| object.clone());
    let own = match &now {
        Some(now) => now.iter().find_map(|each| own(&each.object)),
        None if is_borrowing() => None,
        None => find_object_now(own),
    };
    if let Some(object) = own {
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { tell(Place::of(&object), object.symbols(), address, info, extra, flags) };
        return 1;
    }
    drop(now);
    if let Some(object) = startup::owner(address) {
        let is_program = startup::all().first().is_some_and(|program| ptr::eq(program, object));
        // SAFETY: captured at start-up, or null.
        let argv_0 = unsafe { host::arguments().argv.as_ref() }.filter(|_| is_program);
        let name = argv_0.copied().unwrap_or(object.map.l_name);
        let place = Place { map: object.map, name, start: object.start, bias: object.bias };
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { tell(place, &object.symbols, address, info, extra, flags) };
        return 1;
    }
    // Who asks may be a profiler, for an address in no object, in a signal handler: it waits for nothing.
    if is_borrowing() || !startup::is_of_host(address) {
        return 0;
    }
    // What glibc opened later.
    let lock = Lock::acquire();
    let has_it = |object: &Object| object.memory.extent().contains(&address);
    let Some(object) = host::look_silently(&lock).ok().and_then(|host| host.find(has_it, &lock)) else { return 0 };
    // SAFETY: the caller keeps what this function's `# Safety` section asks for.
    unsafe { tell(Place::of(&object), object.symbols(), address, info, extra, flags) };
    1
}

/// An object, as `dladdr` shows it.
struct Place {
    map: *const LinkMap,
    name: *const c_char,
    start: Addr,
    bias: Bias,
}

impl Place {
    fn of(object: &Object) -> Place {
        let (map, bias) = (object.handle(), object.bias());
        // SAFETY: the handle lives as long as the object.
        Place { map, name: unsafe { (*map).l_name }, start: bias + object.memory.span().start, bias }
    }
}

/// Writes the answer.
///
/// # Safety
/// As [`dladdr1`]. The strings live as long as the object: they are in its own memory, or `argv[0]`.
unsafe fn tell(
    place: Place,
    symbols: &SymbolTable<'_>,
    address: Addr,
    info: *mut libc::Dl_info,
    extra: *mut *mut c_void,
    flags: c_int,
) {
    let (name, value, entry) = nearest(symbols, place.bias, address).unwrap_or((ptr::null(), Addr(0), ptr::null()));
    // SAFETY: the caller passes the room.
    unsafe {
        info.write(libc::Dl_info {
            dli_fname: place.name,
            dli_fbase: ptr::with_exposed_provenance_mut(place.start.0 as usize),
            dli_sname: name,
            dli_saddr: ptr::with_exposed_provenance_mut(value.0 as usize),
        });
        match flags {
            SYMENT => extra.write(entry.cast_mut().cast()),
            LINKMAP => extra.write(place.map.cast_mut().cast()),
            _ => {}
        }
    }
}

/// The name, address and entry of the symbol nearest below `address`: one that reaches up to it, or one without a size
/// that is exactly there. Of symbols at the same address the first counts. glibc `determine_info`.
fn nearest(symbols: &SymbolTable<'_>, bias: Bias, address: Addr) -> Option<(*const c_char, Addr, *const Sym)> {
    let at = bias.vaddr(address);
    let holds = |value: u64, size: u64| value == at.0 || value < at.0 && at.0 - value < size;
    let mut best: Option<(u64, u32)> = None;
    for (index, symbol) in symbols.hashed().filter(|(_, symbol)| !symbol.is_tls() && !symbol.is_absolute()) {
        let value = symbol.value().0;
        // An undefined symbol has the address of the PLT entry by which a program at a fixed address knows a function.
        let size = if symbol.is_undefined() { 0 } else { symbol.size() };
        let stands = !symbol.is_undefined() || value != 0;
        if stands && holds(value, size) && best.is_none_or(|(highest, _)| highest < value) {
            best = Some((value, index));
        }
    }
    let (_, index) = best?;
    let symbol = symbols.get(index)?;
    let entry = symbols.place(index).map_or(ptr::null(), ptr::from_ref);
    // A damaged name is shown as none.
    let name = Some(symbols.name(&symbol)).filter(|name| !name.is_empty());
    Some((name.map_or(ptr::null(), |name| name.as_ptr().cast()), symbol.address(bias), entry))
}
