use dlscope::elf::addr::*;

#[test]
fn a_bias_may_wrap_around_as_for_an_object_linked_high_and_loaded_low() {
    let bias = Bias(0x1000_u64.wrapping_sub(0x40_0000));
    assert_eq!(bias + Vaddr(0x40_0010), Addr(0x1010));
    assert_eq!(bias.vaddr(Addr(0x1010)), Vaddr(0x40_0010));
}

#[test]
fn rounding_up_past_the_end_of_the_address_space_is_refused() {
    assert_eq!(page_up(1), Some(PAGE));
    assert_eq!(page_up(PAGE), Some(PAGE));
    assert_eq!(page_up(u64::MAX), None);
}

#[test]
fn addresses_print_as_readelf_prints_them() {
    assert_eq!(format!("{}", Vaddr(0x4010)), "0x4010");
    assert_eq!(format!("{:>8}", Addr(0x10)), "    0x10");
}
