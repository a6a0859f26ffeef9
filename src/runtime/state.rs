//! The processor's vector state: how large it is here, and how code keeps it that is called where any register may hold
//! a value of the caller.
//!
//! glibc `_dl_runtime_resolve_{fxsave,xsave,xsavec}`, `_dl_tlsdesc_dynamic_{fxsave,xsave,xsavec}`. Each function that
//! needs this has three forms, made by [`each_form`]; which of them this processor and this kernel want is decided once.

use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::elf::addr::Addr;
use crate::host::cpu::saves_state;
use crate::lock::made_once;

/// x87 with `mxcsr`, xmm, ymm, the mask registers k0-k7, the upper halves of zmm0-15, zmm16-31, and the general
/// registers of APX. What is left out never holds an argument or a value over a call, or is the program's to choose
/// (PKRU, AMX).
const KEPT: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 19;

/// How many bytes the state needs, a multiple of 64; which parts of it are saved, where the form asks.
pub(super) static SIZE: AtomicU64 = AtomicU64::new(LEGACY);
pub(super) static MASK: AtomicU64 = AtomicU64::new(0);

/// One function in its three forms.
pub(super) struct Forms {
    pub fxsave: *const (),
    pub xsave: *const (),
    pub xsavec: *const (),
}

impl Forms {
    /// The one for this processor. From then on it finds [`SIZE`] and [`MASK`] filled in.
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

/// How the state is saved.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// No `xsave`, or the kernel does not want it: there are xmm registers only.
    Fxsave,
    /// Each part at a place of the processor's choice.
    Xsave,
    /// One part after the other, and none that is in its initial state.
    Xsavec,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    form: Form,
    size: u64,
    mask: u64,
}

impl State {
    /// Of this processor, as far as the kernel has enabled it.
    fn here() -> State {
        let (has_xsave, compact) = saves_state();
        // SAFETY: OSXSAVE says that the instruction is there.
        let enabled = has_xsave.then(|| unsafe { enabled() });
        State::of(enabled, compact, |part| u64::from(__cpuid_count(0xd, part).ebx))
    }

    /// Where `enabled` parts can be saved by `xsave` (`None`: there is none), `compact` also by `xsavec`; without that
    /// each part lies where `place` says.
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

/// Defines `fxsave`, `xsave` and `xsavec` by the macro `$define`, which gets the instructions that save and restore, and
/// their [`Forms`] as `FORMS`.
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
            // The header of the saved state must be zero before it is filled, or `xrstor` refuses it. The oldest form
            // has none: these words are then the room that `SIZE` gives it in any case.
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

/// For `naked_asm!`: gives the registers back, with the stack pointer where [`save_state`] has left it; `rax` and `rdx`
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
