use dlscope::ErrorKind;
use dlscope::elf::addr::*;
use dlscope::elf::image::*;
use goblin::elf64::header::*;
use goblin::elf64::program_header::*;

fn head() -> Vec<u8> {
    let mut bytes = vec![0; SIZEOF_EHDR];
    bytes[..4].copy_from_slice(ELFMAG);
    bytes[EI_CLASS] = ELFCLASS64;
    bytes[EI_DATA] = ELFDATA2LSB;
    bytes[EI_VERSION] = 1;
    bytes[16] = ET_DYN as u8;
    bytes[18] = EM_X86_64 as u8;
    bytes[20] = 1;
    bytes[32] = 64; // e_phoff
    bytes[54] = SIZEOF_PHDR as u8;
    bytes[56] = 1; // e_phnum
    bytes
}

#[test]
fn a_good_header_says_where_the_program_headers_lie() {
    assert_eq!(check_header(&head(), 4096), Ok((FileOffset(64), 56)));
}

#[test]
fn each_wrong_field_is_named_with_what_was_found() {
    for (at, value, field) in [
        (0, 0, "e_ident magic"),
        (EI_CLASS, 1, "e_ident[EI_CLASS]"),
        (EI_DATA, 2, "e_ident[EI_DATA]"),
        (EI_VERSION, 2, "e_ident[EI_VERSION]"),
        (EI_OSABI, 9, "e_ident[EI_OSABI]"),
        (EI_ABIVERSION, 1, "e_ident[EI_ABIVERSION]"),
        (12, 1, "e_ident[EI_PAD]"),
        (16, 2, "e_type"),
        (18, 3, "e_machine"),
    ] {
        let mut bytes = head();
        bytes[at] = value;
        match check_header(&bytes, 4096) {
            Err(ErrorKind::Unsuitable { field: named, .. }) => assert_eq!(named, field),
            other => panic!("byte {at} = {value}: {other:?}"),
        }
    }
    for (at, value, field) in [(20, 9, "e_version"), (54, 32, "e_phentsize"), (56, 0, "e_phnum")] {
        let mut bytes = head();
        bytes[at] = value;
        match check_header(&bytes, 4096) {
            Err(ErrorKind::Malformed { field: named, .. }) => assert_eq!(named, field),
            other => panic!("byte {at} = {value}: {other:?}"),
        }
    }
}

#[test]
fn a_program_header_table_past_the_end_of_the_file_is_refused() {
    assert!(matches!(check_header(&head(), 100), Err(ErrorKind::Malformed { .. })));
}
