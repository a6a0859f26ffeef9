//! The processor's vector state: how many bytes it takes on this processor, and how assembly saves it around a call,
//! where any register may hold a value of the caller.
//!
//! glibc `_dl_runtime_resolve_{fxsave,xsave,xsavec}`, `_dl_tlsdesc_dynamic_{fxsave,xsave,xsavec}`. Each function that
//! needs this has three forms, made by [`each_form`]. Which form this processor and this kernel want is decided once.

use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::elf::addr::Addr;
use crate::host::cpu::saves_state;
use crate::lock::made_once;

/// The parts of the state that are saved, as bits of `XCR0`: x87 with `mxcsr`, xmm, ymm, the mask registers k0-k7, the
/// upper halves of zmm0-15, zmm16-31, and the general registers of APX. A part that is left out never holds an argument
/// or a value over a call, or is the program's to choose (PKRU, AMX).
const KEPT: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 19;

/// How many bytes the saved state takes: a multiple of 64.
pub(super) static SIZE: AtomicU64 = AtomicU64::new(LEGACY);
/// Which parts `xsave` and `xsavec` save, as bits of `XCR0`. `fxsave` does not look at it.
pub(super) static MASK: AtomicU64 = AtomicU64::new(0);

/// One function in three forms, one for each [`Form`].
pub(super) struct Forms {
    pub fxsave: *const (),
    pub xsave: *const (),
    pub xsavec: *const (),
}

impl Forms {
    /// The form for this processor. By the time that the function runs, [`SIZE`] and [`MASK`] are filled in.
    pub(super) fn suitable(&self) -> Addr {
        static CHOSEN: OnceLock<State> = OnceLock::new();
        let state = made_once(&CHOSEN, || {
            let state = State::here();
            SIZE.store(state.size, Ordering::Relaxed);
            MASK.store(state.mask, Ordering::Relaxed);
            state
        });
        let function = match state.form {
            Form::Fxsave => self.fxsave,
            Form::Xsave => self.xsave,
            Form::Xsavec => self.xsavec,
        };
        Addr(function.expose_provenance() as u64)
    }
}

/// The instruction that saves the state.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// For a processor without `xsave`, or a kernel that has not enabled it: there are xmm registers only.
    Fxsave,
    /// Each part lies at an offset that the processor chooses.
    Xsave,
    /// One part lies behind the other, and a part in its initial state is not written.
    Xsavec,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    form: Form,
    size: u64,
    mask: u64,
}

impl State {
    /// The state of this processor, as far as the kernel has enabled it.
    fn here() -> State {
        let (has_xsave, compact) = saves_state();
        // SAFETY: OSXSAVE says that the instruction is there.
        let enabled = has_xsave.then(|| unsafe { enabled() });
        State::of(enabled, compact, |part| u64::from(__cpuid_count(0xd, part).ebx))
    }

    /// The state where the kernel has enabled these parts of it (`None`: there is no `xsave`). `compact`: the processor
    /// has `xsavec`. If not, each part lies at the offset `place`.
    fn of(enabled: Option<u64>, compact: bool, place: impl Fn(u32) -> u64) -> State {
        let Some(enabled) = enabled else { return State { form: Form::Fxsave, size: LEGACY, mask: 0 } };
        let mask = enabled & KEPT;
        let parts = PARTS.iter().filter(|(part, _)| mask >> part & 1 == 1);
        let (form, size) = match compact {
            // All sizes are multiples of 64, the largest alignment there is.
            true => (Form::Xsavec, LEGACY + parts.map(|(_, size)| size).sum::<u64>()),
            false => (Form::Xsave, parts.map(|&(part, size)| place(part) + size).fold(LEGACY, u64::max)),
        };
        State { form, size: size.next_multiple_of(64), mask }
    }
}

/// Bytes of the legacy region (512) and of the header (64), with which every saved state begins.
const LEGACY: u64 = 576;

/// The parts behind the header that are saved: number, and size in bytes. The sizes are the same on all processors
/// (Intel SDM, "XSAVE-Managed State"). To ask the processor takes some 10 microseconds a part in a virtual machine,
/// where each `CPUID` is a trap.
const PARTS: [(u32, u64); 5] = [(2, 256), (5, 64), (6, 512), (7, 1024), (19, 128)];

/// Which parts of the state the kernel has enabled: `XCR0`.
#[target_feature(enable = "xsave")]
fn enabled() -> u64 {
    // SAFETY: register 0 exists where the instruction does.
    unsafe { _xgetbv(0) }
}

/// Defines the functions `fxsave`, `xsave` and `xsavec`, and `FORMS`, which holds them. The macro `$define` defines one
/// function: it gets a name, the instruction that saves, and the one that restores.
macro_rules! each_form {
    ($define:ident $(, $more:path)?) => {
        $define!(fxsave, "fxsave64 [rsp]", "fxrstor64 [rsp]" $(, $more)?);
        $define!(xsave, "xsave64 [rsp]", "xrstor64 [rsp]" $(, $more)?);
        $define!(xsavec, "xsavec64 [rsp]", "xrstor64 [rsp]" $(, $more)?);
        const FORMS: $crate::runtime::state::Forms = $crate::runtime::state::Forms {
            fxsave: fxsave as *const (),
            xsave: xsave as *const (),
            xsavec: xsavec as *const (),
        };
    };
}
pub(super) use each_form;

/// For `naked_asm!`: moves the stack pointer down and saves the state there. `{size}` and `{mask}` are [`SIZE`] and
/// [`MASK`]; `rax` and `rdx` are lost.
macro_rules! save_state {
    ($save:literal) => {
        concat!(
            "and rsp, -64\n", // xsave wants it
            "sub rsp, [rip + {size}]\n",
            // The header of the saved state must be zero before it is filled, or `xrstor` refuses it. `fxsave` has no
            // header: there these are words of the room that `SIZE` gives in any case.
            "xor eax, eax\n",
            "mov [rsp + 512], rax\n",
            "mov [rsp + 520], rax\n",
            "mov [rsp + 528], rax\n",
            "mov [rsp + 536], rax\n",
            "mov [rsp + 544], rax\n",
            "mov [rsp + 552], rax\n",
            "mov [rsp + 560], rax\n",
            "mov [rsp + 568], rax\n",
            "mov eax, [rip + {mask}]\n", // the parts to save, in edx:eax
            "xor edx, edx\n",
            $save,
        )
    };
}
pub(super) use save_state;

/// For `naked_asm!`: restores the state. The stack pointer must be where [`save_state`] has left it; `rax` and `rdx`
/// are lost.
macro_rules! restore_state {
    ($restore:literal) => {
        concat!("mov eax, [rip + {mask}]\n", "xor edx, edx\n", $restore)
    };
}
pub(super) use restore_state;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_agrees_on_the_sizes_of_its_parts() {
        let mask = State::here().mask;
        for (part, size) in PARTS.into_iter().filter(|(part, _)| mask >> part & 1 == 1) {
            assert_eq!(u64::from(__cpuid_count(0xd, part).eax), size, "part {part}");
        }
    }

    #[test]
    fn the_form_and_the_size_follow_from_what_processor_and_kernel_have() {
        // The places that an Intel processor with AVX-512 and APX gives: those of MPX are APX's.
        let place =
            |part| [(2, 576), (5, 1088), (6, 1152), (7, 1664), (19, 960)].into_iter().find(|p| p.0 == part).unwrap().1;
        let of = |enabled, compact| State::of(enabled, compact, place);
        let state = |form, size, mask| State { form, size, mask };
        assert_eq!(of(None, false), state(Form::Fxsave, 576, 0), "no xsave, or no kernel for it");
        assert_eq!(of(Some(0b111), false), state(Form::Xsave, 832, 0b111), "AVX");
        assert_eq!(of(Some(0b111), true), state(Form::Xsavec, 832, 0b111), "AVX");
        let avx512 = 0b1110_0111;
        assert_eq!(
            of(Some(avx512 | 1 << 9 | 0b11 << 17), false),
            state(Form::Xsave, 2688, avx512),
            "PKRU and AMX stay"
        );
        assert_eq!(of(Some(avx512 | 1 << 19), true), state(Form::Xsavec, 2560, avx512 | 1 << 19), "APX");
        assert_eq!(of(Some(0b111 | 1 << 19), false), state(Form::Xsave, 1088, 0b111 | 1 << 19), "APX behind AVX");
    }
}
