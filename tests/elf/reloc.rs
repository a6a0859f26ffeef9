use dlscope::elf::addr::*;
use dlscope::elf::reloc::*;

const B: Bias = Bias(0x7f00_0000_0000);
const P: Addr = Addr(0x7f00_0000_4000);

fn value(address: u64) -> Value {
    Value { address, size: 24, ..Value::default() }
}

#[test]
fn the_formulas_are_those_of_the_psabi() {
    let s = 0x7f00_0000_1100;
    for (kind, a, expected) in [
        (RelocKind::None, 5, Write::Nothing),
        (RelocKind::Abs64, -0x10, Write::Word(s - 0x10)),
        (RelocKind::GlobDat, 99, Write::Word(s)),
        (RelocKind::JumpSlot, 99, Write::Word(s)),
        (RelocKind::Relative, 0x2000, Write::Word(B.0 + 0x2000)),
        (RelocKind::Relative64, 0x2000, Write::Word(B.0 + 0x2000)),
        (RelocKind::Pc32, -4, Write::Half((0x1100_u32).wrapping_sub(0x4004))),
        (RelocKind::Size32, 1, Write::Half(25)),
        (RelocKind::Size64, 1, Write::Word(25)),
        (RelocKind::IRelative, 0x1160, Write::Call(Addr(B.0 + 0x1160))),
    ] {
        assert_eq!(kind.compute(B, P, value(s), a), Ok(expected), "{kind:?}");
    }
    let tls = Value { tp_offset: Some(-64), module: Some(7), block_offset: 0x20, ..value(0) };
    assert_eq!(RelocKind::DtpMod64.compute(B, P, tls, 8), Ok(Write::Word(7)));
    assert_eq!(RelocKind::DtpOff64.compute(B, P, tls, 8), Ok(Write::Word(0x28)));
    assert_eq!(RelocKind::TpOff64.compute(B, P, value(0), 8), Err(Problem::NotThreadLocal));
    assert_eq!(RelocKind::TpOff64.compute(B, P, tls, 8), Ok(Write::Word(-56_i64 as u64)));
}

#[test]
fn what_does_not_fit_into_32_bits_is_a_problem_and_not_cut_off() {
    assert_eq!(RelocKind::Abs32.compute(B, P, value(0xffff_ffff), 0), Ok(Write::Half(u32::MAX)));
    assert_eq!(RelocKind::Abs32.compute(B, P, value(0xffff_ffff), 1), Err(Problem::Overflow(1 << 32)));
    assert!(RelocKind::Pc32.compute(B, P, value(0), 0).is_err());
}

#[test]
fn relr_bitmaps_name_the_63_words_after_the_last_address() {
    let places: Vec<_> = relr_places(&[0x1000, 0b1011, 1 | 1 << 63, 0x3000]).map(|(_, p)| p.0).collect();
    assert_eq!(places, [0x1000, 0x1008, 0x1018, 0x1008 + 63 * 8 + 62 * 8, 0x3000]);
}

#[test]
fn unknown_types_are_not_guessed() {
    assert_eq!(RelocKind::from_raw(42), None);
    for raw in 0..64 {
        if let Some(kind) = RelocKind::from_raw(raw) {
            assert_eq!(kind as u32, raw);
        }
    }
}
