//! From a PLT to [`first_call`](super::first_call) and on to the function, without a trace in any register.
//!
//! glibc `_dl_runtime_resolve_xsavec` and its two elder siblings. An argument may be in any of `rdi rsi rdx rcx
//! r8 r9`, in `r10` (the static chain), `rax` (how many vector registers a variadic call uses), and in the vector
//! registers, whatever their width is on this processor. Rust code and resolvers may use all of them.

use std::arch::naked_asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::first_call;
use crate::elf::addr::Addr;
use crate::host::cpu::saves_state;
use crate::lock::made_once;

/// x87 with `mxcsr`, xmm, ymm, the mask registers k0-k7, the upper halves of zmm0-15, zmm16-31, and the general
/// registers of APX. What is left out never holds an argument, or is the program's to choose (PKRU, AMX).
const KEPT: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 19;

/// How many bytes the state needs, a multiple of 64; which parts of it the processor has.
static SIZE: AtomicU64 = AtomicU64::new(576);
static MASK: AtomicU64 = AtomicU64::new(0);

/// The trampoline for this processor.
pub(super) fn suitable() -> Addr {
    static CHOSEN: OnceLock<Addr> = OnceLock::new();
    *made_once(&CHOSEN, || {
        let trampoline = match state() {
            None => fxsave as *const (),
            Some(State { size, mask, compact }) => {
                SIZE.store(size, Ordering::Relaxed);
                MASK.store(mask, Ordering::Relaxed);
                if compact { xsavec as *const () } else { xsave as *const () }
            }
        };
        Addr(trampoline.expose_provenance() as u64)
    })
}

struct State {
    size: u64,
    mask: u64,
    /// `xsavec` is there: it leaves out what is in its initial state.
    compact: bool,
}

/// About the processor's state. `None`: it has no `xsave`, or the kernel does not want it.
fn state() -> Option<State> {
    let (has_xsave, compact) = saves_state();
    if !has_xsave {
        return None;
    }
    // SAFETY: OSXSAVE says that the instruction is there.
    let mask = unsafe { enabled() } & KEPT;
    let parts = PARTS.iter().filter(|(part, _)| mask >> part & 1 == 1);
    let size = match compact {
        // One after the other. All sizes are multiples of 64, the largest alignment there is.
        true => LEGACY + parts.map(|(_, size)| size).sum::<u64>(),
        // Where in the whole area each lies is the processor's choice.
        false => parts.map(|&(part, size)| u64::from(__cpuid_count(0xd, part).ebx) + size).fold(LEGACY, u64::max),
    };
    Some(State { size: size.next_multiple_of(64), mask, compact })
}

/// The old 512 bytes, and the header of 64 bytes.
const LEGACY: u64 = 576;

/// Of the kept parts behind those: their sizes in bytes, which are the same on all processors (Intel SDM, "XSAVE-Managed
/// State"). Each question to the processor is a trap in a virtual machine and takes some 10 microseconds there.
const PARTS: [(u32, u64); 5] = [(2, 256), (5, 64), (6, 512), (7, 1024), (19, 128)];

/// Which parts of the state the kernel has enabled: `XCR0`.
#[target_feature(enable = "xsave")]
fn enabled() -> u64 {
    // SAFETY: register 0 exists where the instruction does.
    unsafe { _xgetbv(0) }
}

/// One trampoline, for one way to save the vector state. On entry the stack is, from the top: `GOT[1]`, the number
/// of the relocation, the return address of the call.
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
                "and rsp, -64", // xsave wants it
                "sub rsp, [rip + {size}]",
                // The header of the saved state must be zero before it is filled, or `xrstor` refuses it. The
                // oldest form has none: these words are then the room that `SIZE` gives it in any case.
                "xor eax, eax",
                "mov [rsp + 512], rax",
                "mov [rsp + 520], rax",
                "mov [rsp + 528], rax",
                "mov [rsp + 536], rax",
                "mov [rsp + 544], rax",
                "mov [rsp + 552], rax",
                "mov [rsp + 560], rax",
                "mov [rsp + 568], rax",
                "mov eax, [rip + {mask}]", // the parts to save, in edx:eax
                "xor edx, edx",
                $save,
                "mov rdi, [rbx + 8]",
                "mov rsi, [rbx + 16]",
                "mov rdx, [rbx + 24]",
                "call {first_call}",
                "mov [rbx + 16], rax", // where to go on, right below the return address
                "mov eax, [rip + {mask}]",
                "xor edx, edx",
                $restore,
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

trampoline!(xsavec, "xsavec [rsp]", "xrstor [rsp]");
trampoline!(xsave, "xsave [rsp]", "xrstor [rsp]");
trampoline!(fxsave, "fxsave [rsp]", "fxrstor [rsp]");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_agrees_on_the_sizes_of_its_parts() {
        let mask = state().map_or(0, |state| state.mask);
        for (part, size) in PARTS.into_iter().filter(|(part, _)| mask >> part & 1 == 1) {
            assert_eq!(u64::from(__cpuid_count(0xd, part).eax), size, "part {part}");
        }
    }
}
