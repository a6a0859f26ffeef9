//! Calls of foreign code: constructors, destructors, resolvers. The changes that they make in the memory of objects are
//! told as events, too.

use std::ffi::{c_char, c_int};

use super::watch::Watch;
use super::{Memory, pointer};
use crate::elf::addr::Addr;
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
