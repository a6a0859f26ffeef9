//! Which level of x86_64 this processor has: that decides between builds of a library.
//!
//! psABI, "Micro-Architecture Levels"; glibc `sysdeps/x86/dl-hwcap_subdirs.c`.

/// The levels of x86_64 processors that libraries can be built for (psABI, "Processor Architecture").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Base,
    V2,
    V3,
    V4,
}

impl Level {
    /// The subdirectories of `glibc-hwcaps`, the highest level first.
    pub(crate) const DIRECTORIES: [(Level, &'static str); 3] =
        [(Level::V4, "x86-64-v4"), (Level::V3, "x86-64-v3"), (Level::V2, "x86-64-v2")];

    /// The level of a `glibc-hwcaps` subdirectory.
    pub(crate) fn named(name: &[u8]) -> Option<Level> {
        Level::DIRECTORIES.iter().find(|(_, dir)| dir.as_bytes() == name).map(|&(level, _)| level)
    }
}

/// What glibc found out about the processor at start-up, `<sys/platform/x86.h>`: one leaf of `CPUID`, as the
/// processor says (`cpuid`) and as far as the system lets it be used (`active`). Asking the processor again would
/// cost tens of microseconds in a virtual machine, where each `CPUID` is a trap.
#[repr(C)]
struct CpuidLeaf {
    cpuid: [u32; 4],
    /// EAX, EBX, ECX, EDX.
    active: [u32; 4],
}

unsafe extern "C" {
    /// Exported by ld.so since glibc 2.33.
    fn __x86_get_cpuid_feature_leaf(leaf: u32) -> *const CpuidLeaf;
}

/// One leaf of `CPUID`, by glibc's number for it. A number that glibc does not know gives zeros.
fn leaf(number: u32) -> CpuidLeaf {
    // SAFETY: glibc answers every number with a table of zeros or its own, which never changes after start-up.
    unsafe { __x86_get_cpuid_feature_leaf(number).read() }
}

/// Whether the system saves the extended state of threads (`OSXSAVE`), and whether the processor has `xsavec`.
pub(crate) fn saves_state() -> (bool, bool) {
    // glibc's numbers of the leaves 1, and 13 with ECX = 1.
    let ([_, _, c1, _], [ad, ..]) = (leaf(0).cpuid, leaf(3).cpuid);
    (c1 >> 27 & 1 == 1, ad >> 1 & 1 == 1)
}

/// The level of this processor.
pub(crate) fn cpu_level() -> Level {
    let active = |number| leaf(number).active;
    // glibc's numbers of the leaves 1, 7 and 0x8000_0001.
    let [[_, _, c1, _], [_, b7, _, _], [_, _, cx, _]] = [active(0), active(1), active(2)];
    let all = |register: u32, bits: &[u32]| bits.iter().all(|bit| register >> bit & 1 == 1);
    // x86-64-v2 has SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; LAHF.
    if !all(c1, &[0, 9, 13, 19, 20, 23]) || !all(cx, &[0]) {
        Level::Base
    // x86-64-v3 has FMA, MOVBE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT.
    } else if !all(c1, &[12, 22, 28, 29]) || !all(b7, &[3, 5, 8]) || !all(cx, &[5]) {
        Level::V2
    // x86-64-v4 has AVX512F, DQ, CD, BW, VL.
    } else if !all(b7, &[16, 17, 28, 30, 31]) {
        Level::V3
    } else {
        Level::V4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_and_the_processor_agree_on_what_saves_state() {
        use std::arch::x86_64::{__cpuid, __cpuid_count};
        let asked = (__cpuid(1).ecx >> 27 & 1 == 1, __cpuid_count(13, 1).eax >> 1 & 1 == 1);
        assert_eq!(saves_state(), asked);
    }

    #[test]
    fn glibc_and_the_processor_agree_on_its_level() {
        let asked = match () {
            () if std::arch::is_x86_feature_detected!("avx512vl") => Level::V4,
            () if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("bmi2") => {
                Level::V3
            }
            () if std::arch::is_x86_feature_detected!("sse4.2") => Level::V2,
            () => Level::Base,
        };
        assert_eq!(cpu_level(), asked);
    }
}
