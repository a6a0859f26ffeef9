//! TLS descriptors: the compiler calls a function that the loader chooses, with a pointer to two words in
//! `rax`; it answers with the variable's distance from the thread pointer, in `rax`.
//!
//! "Thread-Local Storage Descriptors for IA32 and AMD64/EM64T" (A. Oliva, G. Araújo); glibc `dl-tlsdesc.S`.
//! Such a function must preserve every register but `rax` and the flags: that is what makes descriptors fast,
//! and what makes writing them delicate. The usual cases touch two registers; only the slow one, which runs
//! Rust code, saves them all, vector registers included.

use std::arch::naked_asm;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Index, Module, SLOT_MASK, dynamic};
use crate::event::Report;

/// What a dynamic descriptor points to; it lives as long as the library that has the descriptor.
pub(crate) type Argument = Arc<Index>;

/// The two words for the variable at `offset` (addend included) of module `module`, and what they point to.
pub(crate) fn descriptor(module: u64, offset: u64, report: Report<'_>) -> ([u64; 2], Option<Argument>) {
    if let Some(at) = Module::find(module).and_then(|module| module.prefer_static(report)) {
        return (constant(at.wrapping_add_unsigned(offset)), None);
    }
    dynamic_descriptor(Index { module, offset })
}

/// The two words for a variable of the host, which is at a fixed distance or in a module that glibc knows.
pub(crate) fn host_descriptor(tp_offset: Option<i64>, index: Index) -> ([u64; 2], Option<Argument>) {
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

fn dynamic_descriptor(index: Index) -> ([u64; 2], Option<Argument>) {
    // Before the first call: the slow path finds it set.
    STATE_SIZE.store(state_size(), Ordering::Relaxed);
    let argument = Arc::new(index);
    ([address_of(lookup as *const ()), (&raw const *argument).expose_provenance() as u64], Some(argument))
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

/// Bytes that `xsave` needs.
static STATE_SIZE: AtomicU64 = AtomicU64::new(0);

/// SSE, AVX, and the three parts of AVX-512: everything that compiled code passes around in vector registers.
const STATE_PARTS: u64 = 0b1110_0110;

fn state_size() -> u64 {
    // Leaf 13: EBX is what the parts that the system enabled need, the legacy area and the header included.
    let size = std::arch::x86_64::__cpuid_count(0xd, 0).ebx;
    u64::from(size).max(576).next_multiple_of(64)
}

/// The second word points to module and offset.
#[unsafe(naked)]
unsafe extern "C" fn lookup() {
    naked_asm!(
        ".cfi_startproc",
        "push rdi",
        ".cfi_def_cfa_offset 16",
        "push rdx",
        ".cfi_def_cfa_offset 24",
        "push rcx",
        ".cfi_def_cfa_offset 32",
        "mov rdi, [rax + 8]",                                       // module and offset
        // The same as in `get_addr`.
        "mov rax, [rdi]",
        "mov rdx, qword ptr [rip + __dlscope_tls_arena@GOTTPOFF]",
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
        "sub rax, fs:0",                                            // an address becomes a distance
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
        "push rbx",
        ".cfi_offset rbx, -88",
        "sub rsp, qword ptr [rip + {state_size}]",
        "and rsp, -64",                                             // `xsave` wants 64
        "mov rbx, rsp",
        "xor eax, eax",                                             // the header of the area must be zero
        "mov qword ptr [rbx + 512], rax",
        "mov qword ptr [rbx + 520], rax",
        "mov qword ptr [rbx + 528], rax",
        "mov qword ptr [rbx + 536], rax",
        "mov qword ptr [rbx + 544], rax",
        "mov qword ptr [rbx + 552], rax",
        "mov qword ptr [rbx + 560], rax",
        "mov qword ptr [rbx + 568], rax",
        "mov eax, {parts}",
        "xor edx, edx",
        "xsave64 [rbx]",
        "call {slow}",
        "mov rcx, rax",                                             // keep the answer over `xrstor`
        "mov eax, {parts}",
        "xor edx, edx",
        "xrstor64 [rbx]",
        "mov rax, rcx",
        "mov rbx, [rbp - 48]",
        "mov r11, [rbp - 40]",
        "mov r10, [rbp - 32]",
        "mov r9, [rbp - 24]",
        "mov r8, [rbp - 16]",
        "mov rsi, [rbp - 8]",
        "leave",
        ".cfi_def_cfa rsp, 32",
        ".cfi_restore rbp",
        ".cfi_restore rbx",
        "jmp 3b",
        ".cfi_endproc",
        slot_mask = const SLOT_MASK,
        parts = const STATE_PARTS,
        state_size = sym STATE_SIZE,
        slow = sym dynamic::slow,
    )
}
