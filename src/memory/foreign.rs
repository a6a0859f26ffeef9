//! Calls of foreign code: constructors, destructors, resolvers. The changes that they make in the memory of objects are
//! told as events, too.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int};

use super::{Memory, pointer};
use crate::elf::addr::{Addr, PAGE, Vaddr};
use crate::event::{Hex, Kind, Purpose, Report};

/// The arguments that every constructor gets.
#[derive(Clone, Copy)]
pub(crate) struct Arguments {
    pub argc: c_int,
    pub argv: *const *const c_char,
    pub envp: *const *const c_char,
}

/// The objects whose memory foreign code may change. Only if somebody listens are they compared before and after a
/// call, because nothing else tells what the code wrote.
pub(crate) trait Around {
    /// Calls `see` with the memory of every object that is there at this moment.
    fn each(&self, see: &mut dyn FnMut(&Memory));
}

/// No objects at all: a resolver of the host writes to nothing of ours.
pub(crate) struct NothingAround;

impl Around for NothingAround {
    fn each(&self, _: &mut dyn FnMut(&Memory)) {}
}

/// Calls a constructor.
///
/// # Safety
/// `address` is a constructor of an object that is mapped and relocated, and the constructors of its dependencies ran.
/// No borrow of the loader's state is held: the code may open and close libraries.
#[track_caller]
pub(crate) unsafe fn call_init(
    address: Addr,
    purpose: Purpose,
    args: Arguments,
    around: &(impl Around + ?Sized),
    watch: &mut Watch,
    report: Report<'_>,
) {
    type Constructor = unsafe extern "C-unwind" fn(c_int, *const *const c_char, *const *const c_char);
    let call = || {
        // SAFETY: the caller vouches for the address; glibc passes these three arguments to constructors, too.
        unsafe {
            let constructor: Constructor = std::mem::transmute(pointer(address));
            constructor(args.argc, args.argv, args.envp);
        }
    };
    watched(address, purpose, around, watch, report, call, |()| None);
}

/// Calls a destructor.
///
/// # Safety
/// As [`call_init`]; also, the constructors of the object ran.
#[track_caller]
pub(crate) unsafe fn call_fini(
    address: Addr,
    purpose: Purpose,
    around: &(impl Around + ?Sized),
    watch: &mut Watch,
    report: Report<'_>,
) {
    let call = || {
        // SAFETY: the caller vouches for the address.
        unsafe {
            let destructor: unsafe extern "C-unwind" fn() = std::mem::transmute(pointer(address));
            destructor();
        }
    };
    watched(address, purpose, around, watch, report, call, |()| None);
}

/// Calls an IFUNC resolver, which returns the address of the implementation to use.
///
/// # Safety
/// `address` is a resolver of an object that is relocated as far as resolvers may expect.
#[track_caller]
pub(crate) unsafe fn call_resolver(
    address: Addr,
    around: &(impl Around + ?Sized),
    watch: &mut Watch,
    report: Report<'_>,
) -> Addr {
    let call = || {
        // SAFETY: the caller vouches for the address. On x86_64 glibc passes no arguments to resolvers.
        unsafe {
            let resolver: unsafe extern "C-unwind" fn() -> u64 = std::mem::transmute(pointer(address));
            Addr(resolver())
        }
    };
    watched(address, Purpose::Resolver, around, watch, report, call, |&answer| Some(answer))
}

/// Makes a call. Tells of the call, of what it returned, and of the bytes that differ after it.
#[track_caller]
#[inline(always)]
fn watched<R>(
    address: Addr,
    purpose: Purpose,
    around: &(impl Around + ?Sized),
    watch: &mut Watch,
    report: Report<'_>,
    call: impl FnOnce() -> R,
    answer: impl FnOnce(&R) -> Option<Addr>,
) -> R {
    // Each relocation against an IFUNC calls a resolver, so there may be many: only a probe that listens closely is
    // told.
    let told = if purpose == Purpose::Resolver { report.closely() } else { report.listening() };
    if !told {
        return call();
    }
    report.tell(|| Kind::Call { address, purpose });
    if report.closely() {
        watch.look(around);
    }
    let result = call();
    report.tell(|| Kind::Return { address, value: answer(&result) });
    if !report.closely() {
        return result;
    }
    for (address, before, after) in watch.changes(around) {
        report.tell(|| Kind::Changed { address, before: Hex(before), after: Hex(after) });
    }
    result
}

/// The writable memory of objects as it was last seen. It is kept from call to call, so that each call costs one
/// comparison and not two copies.
#[derive(Default)]
pub(crate) struct Watch {
    seen: BTreeMap<Addr, Vec<u8>>,
}

impl Watch {
    /// Copies the memory of objects that came since the last look, and forgets that of objects that went.
    fn look(&mut self, around: &(impl Around + ?Sized)) {
        let mut here = Vec::new();
        around.each(&mut |memory| {
            for (at, range) in memory.writable_ranges() {
                let length = range.end.0 - range.start.0;
                if self.seen.get(&at).is_none_or(|seen| seen.len() as u64 != length) {
                    self.seen.insert(at, memory.copy(range).unwrap_or_default());
                }
                here.push(at);
            }
        });
        self.seen.retain(|at, _| here.contains(at));
    }

    /// Notes a word that the loader itself stored at `place` since the last call. The loader told of it, so the next
    /// call must not be said to have changed it.
    pub(crate) fn stored(&mut self, memory: &Memory, place: Vaddr) {
        let address = memory.bias() + place;
        let Some((start, seen)) = self.seen.range_mut(..=address).next_back() else { return };
        let from = (address.0 - start.0) as usize;
        let Some(word) = seen.get_mut(from..).map(|rest| rest.iter_mut().take(8)) else { return };
        let length = word.len() as u64;
        let now = memory.copy(place..Vaddr(place.0 + length)).unwrap_or_default();
        word.zip(now).for_each(|(old, new)| *old = new);
    }

    /// The bytes that differ from what was seen: address, before, after. Objects that came or went since have events of
    /// their own.
    fn changes(&mut self, around: &(impl Around + ?Sized)) -> Vec<(Addr, Vec<u8>, Vec<u8>)> {
        let mut changes = Vec::new();
        around.each(&mut |memory| {
            for (at, range) in memory.writable_ranges() {
                let Some(seen) = self.seen.get_mut(&at) else { continue };
                // Compared page by page: most pages did not change.
                for (number, old) in seen.chunks_mut(PAGE as usize).enumerate() {
                    let from = number as u64 * PAGE;
                    let page = Vaddr(range.start.0 + from)..Vaddr(range.start.0 + from + old.len() as u64);
                    if memory.differs(page.start, old) {
                        let now = memory.copy(page).unwrap_or_default();
                        changes.extend(differences(Addr(at.0 + from), old, &now));
                        old.copy_from_slice(&now);
                    }
                }
            }
        });
        changes
    }
}

/// The runs of bytes in which two states of the same memory differ.
fn differences(start: Addr, old: &[u8], new: &[u8]) -> Vec<(Addr, Vec<u8>, Vec<u8>)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    // Compared word by word, so that a variable which changed in some of its bytes is told as a whole.
    for (index, (a, b)) in old.chunks(8).zip(new.chunks(8)).enumerate() {
        if a != b {
            let (from, to) = (index * 8, index * 8 + a.len());
            match runs.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                _ => runs.push((from, to)),
            }
        }
    }
    runs.into_iter()
        .map(|(from, to)| (Addr(start.0 + from as u64), old[from..to].to_vec(), new[from..to].to_vec()))
        .collect()
}
