//! `backtrace_symbols` and `backtrace_symbols_fd`: addresses as text, for crash handlers. libc's own ask the system's loader,
//! which knows nothing of our objects. glibc `debug/backtracesyms.c` and `backtracesymsfd.c`.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::{Cursor, Write};
use std::ptr;

use nix::libc;

use super::address::{LINKMAP, dladdr1};
use crate::object::LinkMap;

/// The longest line; the rest of it is left out.
const LONGEST: usize = 1024;

/// `backtrace_symbols`: one block of `malloc` with `size` pointers and the lines that they point to; null if there is no
/// memory.
///
/// # Safety
/// `addresses` are `size` addresses.
pub unsafe extern "C" fn backtrace_symbols(addresses: *const *mut c_void, size: c_int) -> *mut *mut c_char {
    let count = usize::try_from(size).unwrap_or(0);
    // SAFETY: the caller's. The program frees the block, so it is the program's `malloc` that makes it.
    unsafe {
        let lines = |at: usize, room: &mut [u8; LONGEST]| line(*addresses.add(at), room);
        let mut room = [0; LONGEST];
        let length: usize = (0..count).map(|at| lines(at, &mut room) + 1).sum();
        let table = libc::malloc(count * size_of::<*mut c_char>() + length).cast::<*mut c_char>();
        if table.is_null() {
            return ptr::null_mut();
        }
        let mut text = table.add(count).cast::<u8>();
        for at in 0..count {
            let length = lines(at, &mut room);
            table.add(at).write(text.cast());
            text.copy_from_nonoverlapping(room.as_ptr(), length);
            text.add(length).write(0);
            text = text.add(length + 1);
        }
        table
    }
}

/// `backtrace_symbols_fd`: the same lines, written to a file. Allocates nothing.
///
/// # Safety
/// `addresses` are `size` addresses.
pub unsafe extern "C" fn backtrace_symbols_fd(addresses: *const *mut c_void, size: c_int, fd: c_int) {
    let mut room = [0; LONGEST];
    for at in 0..usize::try_from(size).unwrap_or(0) {
        // SAFETY: the caller's; the line and its end are in the room.
        unsafe {
            let length = line(*addresses.add(at), &mut room).min(LONGEST - 1);
            room[length] = b'\n';
            libc::write(fd, room.as_ptr().cast(), length + 1);
        }
    }
}

/// Writes `file(symbol+0x1f) [0x7f…]`, `file(+0x1139) [0x7f…]`, or the address alone. Returns how long it is.
fn line(address: *mut c_void, room: &mut [u8; LONGEST]) -> usize {
    // SAFETY: all-zero is valid.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    let mut map: *const LinkMap = ptr::null();
    // SAFETY: room for both answers.
    let found = unsafe { dladdr1(address, &mut info, (&raw mut map).cast(), LINKMAP) } != 0;
    // SAFETY: null or a C string of the loader.
    let text = |at: *const c_char| if at.is_null() { &[][..] } else { unsafe { CStr::from_ptr(at) }.to_bytes() };
    let (file, symbol) = (text(info.dli_fname), text(info.dli_sname));
    let mut out = Cursor::new(&mut room[..]);
    // What does not fit is left out.
    let _ = (|| {
        if found && !file.is_empty() {
            // SAFETY: `dladdr1` says which object it is.
            let bias = unsafe { map.as_ref() }.map_or(0, |map| map.l_addr);
            let from = if symbol.is_empty() { bias } else { info.dli_saddr.addr() as u64 };
            let distance = (address.addr() as u64).wrapping_sub(from) as i64;
            let sign = if distance < 0 { '-' } else { '+' };
            out.write_all(file)?;
            out.write_all(b"(")?;
            out.write_all(symbol)?;
            if from != 0 {
                write!(out, "{sign}{:#x}", distance.unsigned_abs())?;
            }
            out.write_all(b") ")?;
        }
        write!(out, "[{:#x}]", address.addr())
    })();
    out.position() as usize
}
