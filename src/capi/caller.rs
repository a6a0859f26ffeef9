//! Who called? `dlopen` and `dlsym` mean different things to different callers: the search path and the
//! namespace are the caller's. glibc takes the return address (`__builtin_return_address (0)`); so do these
//! entry points, which a loaded library reaches instead of libc's.
//!
//! Each leaves the arguments where they are, adds the return address as one more, and jumps on.

use std::arch::naked_asm;
use std::ffi::{c_char, c_int, c_long, c_void};

/// `dlopen(file, mode)`.
///
/// # Safety
/// As the C function.
#[unsafe(naked)]
pub unsafe extern "C" fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void {
    naked_asm!(
        ".cfi_startproc",
        "mov rdx, [rsp]", // the third argument: where this call returns to
        "jmp {inner}",    // a tail call: the stack stays as the caller made it
        ".cfi_endproc",
        inner = sym crate::capi::dlopen_from,
    )
}

/// `dlsym(handle, name)`.
///
/// # Safety
/// As the C function.
#[unsafe(naked)]
pub unsafe extern "C" fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void {
    naked_asm!(
        ".cfi_startproc",
        "mov rdx, [rsp]",
        "jmp {inner}",
        ".cfi_endproc",
        inner = sym crate::capi::dlsym_from,
    )
}

/// `dlvsym(handle, name, version)`.
///
/// # Safety
/// As the C function.
#[unsafe(naked)]
pub unsafe extern "C" fn dlvsym(handle: *mut c_void, name: *const c_char, version: *const c_char) -> *mut c_void {
    naked_asm!(
        ".cfi_startproc",
        "mov rcx, [rsp]",
        "jmp {inner}",
        ".cfi_endproc",
        inner = sym crate::capi::dlvsym_from,
    )
}

/// `dlmopen(namespace, file, mode)`.
///
/// # Safety
/// As the C function.
#[unsafe(naked)]
pub unsafe extern "C" fn dlmopen(namespace: c_long, file: *const c_char, mode: c_int) -> *mut c_void {
    naked_asm!(
        ".cfi_startproc",
        "mov rcx, [rsp]",
        "jmp {inner}",
        ".cfi_endproc",
        inner = sym crate::capi::dlmopen_from,
    )
}
