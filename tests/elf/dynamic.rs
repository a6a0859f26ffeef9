use dlscope::ErrorKind;
use dlscope::elf::addr::*;
use dlscope::elf::dynamic::*;
use goblin::elf64::dynamic::{
    DT_JMPREL, DT_NEEDED, DT_NULL, DT_PLTREL, DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELASZ, DT_SYMENT,
};

fn parse(entries: &[(u64, u64)]) -> Result<Dynamic, ErrorKind> {
    let mut entries = entries.iter().map(|&(tag, value)| DynamicEntry { tag, value });
    Dynamic::new(&mut entries, Vaddr(0x3000), &Vaddr)
}

#[test]
fn what_stands_after_dt_null_does_not_count() {
    let d = parse(&[(DT_NEEDED, 7), (DT_NULL, 0), (DT_NEEDED, 9)]).unwrap();
    assert_eq!(d.needed, [StrOffset(7)]);
}

#[test]
fn a_length_without_a_table_and_a_broken_entry_size_are_refused_by_name() {
    for (entries, field) in [
        (&[(DT_RELASZ, 24)][..], "DT_RELASZ"),
        (&[(DT_RELA, 0x100), (DT_RELASZ, 25)][..], "DT_RELASZ"),
        (&[(DT_SYMENT, 16)][..], "DT_SYMENT"),
        (&[(DT_PLTREL, DT_REL)][..], "DT_PLTREL"),
        (&[(DT_REL, 0x100)][..], "DT_REL"),
    ] {
        match parse(entries) {
            Err(ErrorKind::Malformed { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{entries:x?}: {other:?}"),
        }
    }
}

#[test]
fn a_plt_table_inside_the_other_is_applied_once() {
    let d = parse(&[(DT_RELA, 0x100), (DT_RELASZ, 72), (DT_JMPREL, 0x130), (DT_PLTRELSZ, 24)]).unwrap();
    assert_eq!(d.rela, Some(Table { at: Vaddr(0x100), length: 48 }));
    assert_eq!(d.jmprel, Some(Table { at: Vaddr(0x130), length: 24 }));
}

#[test]
fn a_host_pointer_counts_as_relocated_iff_it_lies_inside_the_object() {
    let pointer = host_pointer(Bias(0x7000_0000), Vaddr(0)..Vaddr(0x5000));
    assert_eq!(pointer(0x7000_0318), Vaddr(0x318));
    assert_eq!(pointer(0x318), Vaddr(0x318));
}

#[test]
fn tables_that_leave_the_address_space_are_no_overlap() {
    let d = parse(&[(DT_RELA, 0x100), (DT_RELASZ, 24), (DT_JMPREL, 0x128), (DT_PLTRELSZ, u64::MAX - 15)]).unwrap();
    assert_eq!(d.rela, Some(Table { at: Vaddr(0x100), length: 24 }));
}
