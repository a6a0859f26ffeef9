//! A call of a function whose types are known only when the command runs.
//!
//! psABI, "Parameter Passing": the first six integers and pointers go into general registers, the first eight
//! floating-point numbers into vector registers, and what is left over onto the stack, each into eight bytes.

use std::arch::naked_asm;
use std::ffi::c_void;
use std::mem::offset_of;

use crate::signature::Type;

/// What the registers and the stack shall hold at the call, and what the registers of results hold behind it.
#[derive(Default)]
#[repr(C)]
struct Frame {
    integers: [u64; 6],
    floats: [u64; 8],
    /// The vector registers in use: a function with `…` wants their number in `al`.
    floats_used: u64,
    stack: *const u64,
    stack_length: usize,
    integer_result: u64,
    float_result: u64,
}

/// Calls `function`. Returns the bits of its result; of a narrow type only the lower bytes count, and of `void` none.
///
/// # Safety
/// It is a function with this result and parameters of these types, and the arguments, by their bits, are what it
/// expects. The upper bytes of a narrow integer repeat its sign.
pub unsafe fn invoke(function: *const c_void, arguments: impl Iterator<Item = (Type, u64)>, result: Type) -> u64 {
    let is_float = |ty| matches!(ty, Type::F32 | Type::F64);
    let mut frame = Frame::default();
    let (mut integers, mut floats, mut stack) = (0, 0, Vec::new());
    for (ty, word) in arguments {
        let (registers, used) = match is_float(ty) {
            true => (frame.floats.as_mut_slice(), &mut floats),
            false => (frame.integers.as_mut_slice(), &mut integers),
        };
        match registers.get_mut(*used) {
            Some(register) => *register = word,
            None => stack.push(word),
        }
        *used = registers.len().min(*used + 1);
    }
    frame.floats_used = floats as u64;
    (frame.stack, frame.stack_length) = (stack.as_ptr(), stack.len());
    // SAFETY: the caller's promise; `stack` lives until the call is over.
    unsafe { call(&mut frame, function) };
    if is_float(result) { frame.float_result } else { frame.integer_result }
}

/// Fills registers and stack from the frame, calls, and writes the results into the frame.
#[unsafe(naked)]
unsafe extern "C" fn call(frame: &mut Frame, function: *const c_void) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        ".cfi_offset rbx, -24",
        "push rbx", // a second time, so that the stack is aligned to 16 bytes
        "mov rbx, rdi",
        "mov r11, rsi",
        // Room for an even number of words. They are copied from the last one on: the pages of the stack are touched in the
        // order in which it grows.
        "mov rcx, [rbx + {stack_length}]",
        "mov rdx, [rbx + {stack}]",
        "lea rax, [rcx + 1]",
        "and rax, -2",
        "shl rax, 3",
        "sub rsp, rax",
        "2: sub rcx, 1",
        "jb 3f",
        "mov rax, [rdx + 8*rcx]",
        "mov [rsp + 8*rcx], rax",
        "jmp 2b",
        "3: movsd xmm0, qword ptr [rbx + {floats}]",
        "movsd xmm1, qword ptr [rbx + {floats} + 8]",
        "movsd xmm2, qword ptr [rbx + {floats} + 16]",
        "movsd xmm3, qword ptr [rbx + {floats} + 24]",
        "movsd xmm4, qword ptr [rbx + {floats} + 32]",
        "movsd xmm5, qword ptr [rbx + {floats} + 40]",
        "movsd xmm6, qword ptr [rbx + {floats} + 48]",
        "movsd xmm7, qword ptr [rbx + {floats} + 56]",
        "mov rax, [rbx + {floats_used}]",
        "mov rdi, [rbx + {integers}]",
        "mov rsi, [rbx + {integers} + 8]",
        "mov rdx, [rbx + {integers} + 16]",
        "mov rcx, [rbx + {integers} + 24]",
        "mov r8, [rbx + {integers} + 32]",
        "mov r9, [rbx + {integers} + 40]",
        "call r11",
        "mov [rbx + {integer_result}], rax",
        "movsd qword ptr [rbx + {float_result}], xmm0",
        "lea rsp, [rbp - 8]",
        "pop rbx",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        integers = const offset_of!(Frame, integers),
        floats = const offset_of!(Frame, floats),
        floats_used = const offset_of!(Frame, floats_used),
        stack = const offset_of!(Frame, stack),
        stack_length = const offset_of!(Frame, stack_length),
        integer_result = const offset_of!(Frame, integer_result),
        float_result = const offset_of!(Frame, float_result),
    )
}

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, c_char, c_int};

    use super::*;

    #[test]
    fn more_arguments_than_registers_arrive_in_order() {
        type Ten = extern "C" fn(i8, f32, u64, f64, i32, f64, i64, f64, u8, f64) -> f64;
        extern "C" fn ten(a: i8, b: f32, c: u64, d: f64, e: i32, f: f64, g: i64, h: f64, i: u8, j: f64) -> f64 {
            [a.into(), b.into(), c as f64, d, e.into(), f, g as f64, h, i.into(), j]
                .iter()
                .fold(0.0, |sum, n| sum * 4.0 + n)
        }
        let arguments = [
            (Type::I8, -1_i64 as u64),
            (Type::F32, 2_f32.to_bits().into()),
            (Type::U64, 3),
            (Type::F64, 4_f64.to_bits()),
            (Type::I32, -5_i64 as u64),
            (Type::F64, 6_f64.to_bits()),
            (Type::I64, 7),
            (Type::F64, 8_f64.to_bits()),
            (Type::U8, 255),
            (Type::F64, 10_f64.to_bits()),
        ];
        let function: Ten = ten;
        // SAFETY: the types are those of `ten`.
        let word = unsafe { invoke(function as *const c_void, arguments.into_iter(), Type::F64) };
        assert_eq!(f64::from_bits(word), ten(-1, 2.0, 3, 4.0, -5, 6.0, 7, 8.0, 255, 10.0));
    }

    /// An odd number of words on the stack, and the number of vector registers for the `…` of `snprintf`.
    #[test]
    fn what_the_registers_cannot_hold_goes_to_the_stack() {
        let mut text = [0_u8; 256];
        let format = c"%d %d %d %d %d %.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f %s";
        let integer = |n: i64| (Type::I32, n as u64);
        let pointer = |p: *const c_char| (Type::Ptr, p.expose_provenance() as u64);
        let head = [pointer(text.as_mut_ptr().cast()), (Type::U64, 256), pointer(format.as_ptr())];
        let floats = (1..=9).map(|n| (Type::F64, f64::from(n).to_bits()));
        let arguments = head.into_iter().chain((1..=5).map(|n| integer(-n))).chain(floats);
        let arguments = arguments.chain([pointer(c"end".as_ptr())]);
        // SAFETY: the types are those of snprintf(3) with this format.
        let written = unsafe { invoke(nix::libc::snprintf as *const c_void, arguments, Type::I32) };
        let text = CStr::from_bytes_until_nul(&text).unwrap().to_str().unwrap();
        assert_eq!(text, "-1 -2 -3 -4 -5 1.0 2.0 3.0 4.0 5.0 6.0 7.0 8.0 9.0 end");
        assert_eq!(written as c_int, text.len() as c_int);
    }

    #[test]
    fn vectors_find_an_aligned_stack_however_many_words_lie_on_it() {
        /// `movaps` crashes where the stack is not aligned.
        #[unsafe(naked)]
        unsafe extern "C" fn aligned() -> u64 {
            naked_asm!("movaps [rsp - 24], xmm0", "mov eax, 1", "ret")
        }
        for count in [0, 6, 7, 8, 9, 10_000] {
            let arguments = (0..count).map(|n| (Type::U64, n));
            // SAFETY: it looks at no argument.
            assert_eq!(unsafe { invoke(aligned as *const c_void, arguments, Type::U64) }, 1, "{count}");
        }
    }
}
