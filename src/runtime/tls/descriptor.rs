//! TLS descriptors: the compiler calls a function that the loader chooses, with a pointer to two words in
//! `rax`; it answers with the variable's distance from the thread pointer, in `rax`.
//!
//! "Thread-Local Storage Descriptors for IA32 and AMD64/EM64T" (A. Oliva, G. Araújo); glibc `dl-tlsdesc.S`.
//! Such a function must preserve every register but `rax` and the flags: that is what makes descriptors fast,
//! and what makes writing them delicate. The usual cases touch two registers; only the slow one, which runs
//! Rust code, saves them all, vector registers included.

use std::arch::naked_asm;
use std::sync::Arc;

use super::{Module, SLOT_MASK, TlsIndex, dynamic};
use crate::event::Report;
use crate::runtime::state::{MASK, SIZE, each_form, restore_state, save_state};
use crate::thread::distance_to_arena;

/// What a dynamic descriptor points to; it lives as long as the library that has the descriptor.
pub(crate) type Argument = Arc<TlsIndex>;

/// The two words for the variable at `offset` (addend included) of module `module`, and what they point to.
pub(crate) fn descriptor(module: u64, offset: u64, report: Report<'_>) -> ([u64; 2], Option<Argument>) {
    if let Some(at) = Module::find(module).and_then(|module| module.prefer_static(report)) {
        return (constant(at.wrapping_add_unsigned(offset)), None);
    }
    dynamic_descriptor(TlsIndex { module, offset })
}

/// The two words for a variable of the host, which is at a fixed distance or in a module that glibc knows.
pub(crate) fn host_descriptor(tp_offset: Option<i64>, index: TlsIndex) -> ([u64; 2], Option<Argument>) {
    match tp_offset {
        Some(at) => (constant(at), None),
        None => dynamic_descriptor(index),
    }
}

/// A weak symbol that nothing defines: its address is the addend.
pub(crate) fn undefined_descriptor(addend: i64) -> [u64; 2] {
    [address_of(undefined as *const ()), addend as u64]
}

fn constant(at: i64) -> [u64; 2] {
    [address_of(fixed as *const ()), at as u64]
}

fn dynamic_descriptor(index: TlsIndex) -> ([u64; 2], Option<Argument>) {
    let argument = Arc::new(index);
    ([FORMS.suitable().0, (&raw const *argument).expose_provenance() as u64], Some(argument))
}

fn address_of(function: *const ()) -> u64 {
    function.expose_provenance() as u64
}

/// The second word is the answer.
#[unsafe(naked)]
unsafe extern "C" fn fixed() {
    naked_asm!(".cfi_startproc", "mov rax, [rax + 8]", "ret", ".cfi_endproc")
}

/// The second word is an address, not a distance.
#[unsafe(naked)]
unsafe extern "C" fn undefined() {
    naked_asm!(".cfi_startproc", "mov rax, [rax + 8]", "sub rax, fs:0", "ret", ".cfi_endproc")
}

/// The second word points to module and offset. One function, for one way to save the vector state; `$slow` is called the
/// first time in a thread.
macro_rules! lookup {
    ($name:ident, $save:literal, $restore:literal, $slow:path) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                ".cfi_startproc",
                "push rdi",
                ".cfi_def_cfa_offset 16",
                "push rdx",
                ".cfi_def_cfa_offset 24",
                "push rcx",
                ".cfi_def_cfa_offset 32",
                "mov rdi, [rax + 8]", // module and offset
                // The same as in `get_addr`.
                "mov rax, [rdi]",
                distance_to_arena!("rdx"),
                "test rdx, rdx",
                "jns 2f",
                "mov rdx, fs:[rdx]",
                "test rdx, rdx",
                "jz 2f",
                "mov ecx, eax",
                "and ecx, {slot_mask}",
                "cmp rcx, [rdx + 8]",
                "jae 2f",
                "shl rcx, 5",
                "add rcx, [rdx]",
                "cmp [rcx], rax",
                "jne 2f",
                "mov rax, [rcx + 8]",
                "add rax, [rdi + 8]",
                "3:",
                "sub rax, fs:0", // an address becomes a distance
                ".cfi_remember_state",
                "pop rcx",
                ".cfi_def_cfa_offset 24",
                "pop rdx",
                ".cfi_def_cfa_offset 16",
                "pop rdi",
                ".cfi_def_cfa_offset 8",
                "ret",
                ".cfi_restore_state",
                // The first time in this thread: everything that Rust code may change is saved.
                "2:",
                "push rbp",
                ".cfi_def_cfa_offset 40",
                ".cfi_offset rbp, -40",
                "mov rbp, rsp",
                ".cfi_def_cfa_register rbp",
                "push rsi",
                "push r8",
                "push r9",
                "push r10",
                "push r11",
                save_state!($save),
                "call {slow}",
                "mov rcx, rax", // the answer, which must not be lost
                restore_state!($restore),
                "mov rax, rcx",
                "mov r11, [rbp - 40]",
                "mov r10, [rbp - 32]",
                "mov r9, [rbp - 24]",
                "mov r8, [rbp - 16]",
                "mov rsi, [rbp - 8]",
                "leave",
                ".cfi_def_cfa rsp, 32",
                ".cfi_restore rbp",
                "jmp 3b",
                ".cfi_endproc",
                slot_mask = const SLOT_MASK,
                size = sym SIZE,
                mask = sym MASK,
                slow = sym $slow,
            )
        }
    };
}

each_form!(lookup, dynamic::slow);

#[cfg(test)]
mod tests {
    use std::arch::asm;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::host::cpu::saves_state;

    each_form!(lookup, change_everything);

    /// Changes every register that it may change, and answers with the address 42 bytes behind the thread pointer.
    #[unsafe(naked)]
    unsafe extern "C" fn change_everything() {
        naked_asm!(
            "vzeroall",
            "fninit",
            "mov rax, fs:0",
            "add rax, 42",
            "xor ecx, ecx",
            "xor edx, edx",
            "xor esi, esi",
            "xor edi, edi",
            "xor r8d, r8d",
            "xor r9d, r9d",
            "xor r10d, r10d",
            "xor r11d, r11d",
            "ret",
        )
    }

    /// All that a descriptor's function must not change: `rcx rdx rsi rdi r8-r11`, then ymm0-15, then `st(0)`.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Registers {
        general: [u64; 8],
        vector: [[u128; 2]; 16],
        x87: f64,
    }

    /// Calls `function` as compiled code does, with `registers`; returns its answer, and the registers after it.
    fn call(function: *const (), registers: &Registers) -> (u64, Registers) {
        let index = TlsIndex { module: 0, offset: 0 };
        let words = [function.expose_provenance() as u64, (&raw const index).expose_provenance() as u64];
        let (mut answer, mut after) = ((&raw const words).expose_provenance() as u64, *registers);
        // SAFETY: loads all registers, calls a function that ends, and stores them.
        unsafe {
            asm!(
                "push rbx",
                "push rbp",
                "mov rbx, {after}",
                "fld qword ptr [rbx + 576]",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
                "vmovdqu ymm\\n, [rbx + 64 + 32 * \\n]",
                ".endr",
                "mov rcx, [rbx]",
                "mov rdx, [rbx + 8]",
                "mov rsi, [rbx + 16]",
                "mov rdi, [rbx + 24]",
                "mov r8, [rbx + 32]",
                "mov r9, [rbx + 40]",
                "mov r10, [rbx + 48]",
                "mov r11, [rbx + 56]",
                "mov rbp, rsp",
                "and rsp, -16",
                "call [rax]",
                "mov rsp, rbp",
                "mov [rbx], rcx",
                "mov [rbx + 8], rdx",
                "mov [rbx + 16], rsi",
                "mov [rbx + 24], rdi",
                "mov [rbx + 32], r8",
                "mov [rbx + 40], r9",
                "mov [rbx + 48], r10",
                "mov [rbx + 56], r11",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
                "vmovdqu [rbx + 64 + 32 * \\n], ymm\\n",
                ".endr",
                "fstp qword ptr [rbx + 576]",
                "pop rbp",
                "pop rbx",
                after = in(reg) &raw mut after,
                inout("rax") answer,
                clobber_abi("sysv64"),
            );
        }
        (answer, after)
    }

    #[test]
    fn each_form_of_the_slow_path_keeps_every_register() {
        if !std::arch::is_x86_feature_detected!("avx") {
            return;
        }
        let registers = Registers {
            general: std::array::from_fn(|at| 0x1111_1111_1111_1111 * (at as u64 + 1)),
            vector: std::array::from_fn(|at| [at as u128 + (1 << 100), at as u128 + (1 << 101)]),
            x87: 2.5,
        };
        let suitable = FORMS.suitable();
        assert_eq!(call(suitable.0 as *const (), &registers), (42, registers), "the form for this processor");
        let (has_xsave, has_xsavec) = saves_state();
        // It has no place for the upper halves of ymm.
        let mut halved = registers;
        halved.vector.iter_mut().for_each(|ymm| ymm[1] = 0);
        assert_eq!(call(FORMS.fxsave, &registers), (42, halved), "fxsave");
        if has_xsave {
            // More room than the form for this processor needs, perhaps: no harm to whoever uses it meanwhile.
            let enough = u64::from(std::arch::x86_64::__cpuid_count(0xd, 0).ebx).next_multiple_of(64);
            SIZE.fetch_max(enough, Ordering::Relaxed);
            assert_eq!(call(FORMS.xsave, &registers), (42, registers), "xsave");
        }
        if has_xsave && has_xsavec {
            assert_eq!(call(FORMS.xsavec, &registers), (42, registers), "xsavec");
        }
    }
}
