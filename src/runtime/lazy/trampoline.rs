//! From a PLT to [`first_call`](super::first_call) and on to the function, with every register as the caller left it.
//!
//! glibc `_dl_runtime_resolve_xsavec` and its two elder siblings. An argument may be in any of `rdi rsi rdx rcx
//! r8 r9`, in `r10` (the static chain), `rax` (how many vector registers a variadic call uses), and in the vector
//! registers, whatever their width is on this processor. Rust code and resolvers may use all of them.

use std::arch::naked_asm;

use super::first_call;
use crate::elf::addr::Addr;
use crate::runtime::state::{MASK, SIZE, each_form, restore_state, save_state};

/// The trampoline for this processor.
pub(super) fn suitable() -> Addr {
    FORMS.suitable()
}

/// Defines one trampoline, for one way to save the vector state. On entry the stack is, from the top: `GOT[1]`, the
/// number of the relocation, the return address of the call.
macro_rules! trampoline {
    ($name:ident, $save:literal, $restore:literal) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                ".cfi_startproc",
                ".cfi_def_cfa_offset 24", // the PLT has pushed two words
                "push rbx",
                ".cfi_adjust_cfa_offset 8",
                ".cfi_offset rbx, -32",
                "mov rbx, rsp",
                ".cfi_def_cfa_register rbx",
                "push rax",
                "push rcx",
                "push rdx",
                "push rsi",
                "push rdi",
                "push r8",
                "push r9",
                "push r10",
                "push r11",
                save_state!($save),
                "mov rdi, [rbx + 8]",
                "mov rsi, [rbx + 16]",
                "mov rdx, [rbx + 24]",
                "call {first_call}",
                "mov [rbx + 16], rax", // where to go on, right below the return address
                restore_state!($restore),
                "lea rsp, [rbx - 72]",
                "pop r11",
                "pop r10",
                "pop r9",
                "pop r8",
                "pop rdi",
                "pop rsi",
                "pop rdx",
                "pop rcx",
                "pop rax",
                "pop rbx",
                ".cfi_def_cfa rsp, 24",
                ".cfi_restore rbx",
                "add rsp, 16",
                ".cfi_def_cfa_offset 8",
                // The stack is as at the call. The word below it lies in the red zone, where no signal writes.
                "jmp [rsp - 8]",
                ".cfi_endproc",
                size = sym SIZE,
                mask = sym MASK,
                first_call = sym first_call,
            )
        }
    };
}

each_form!(trampoline);
