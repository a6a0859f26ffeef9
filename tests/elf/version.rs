use dlscope::elf::addr::*;
use dlscope::elf::version::*;

fn list(bytes: &[u8]) -> List<'_> {
    List { bytes, at: Vaddr(0x400), count: 1 }
}

#[test]
fn a_need_is_read_and_one_that_leaves_its_table_is_refused() {
    let strings = b"\0libx.so\0V9\0";
    let mut bytes = Vec::new();
    bytes.extend([1, 0, 1, 0]); // vn_version, vn_cnt
    bytes.extend(1_u32.to_le_bytes()); // vn_file
    bytes.extend(16_u32.to_le_bytes()); // vn_aux
    bytes.extend(0_u32.to_le_bytes()); // vn_next
    bytes.extend(0x5a9_u32.to_le_bytes()); // vna_hash
    bytes.extend([2, 0, 3, 0]); // vna_flags (weak), vna_other
    bytes.extend(9_u32.to_le_bytes()); // vna_name
    bytes.extend(0_u32.to_le_bytes()); // vna_next
    let mut versions = Versions::default();
    versions.read_needs(list(&bytes), strings).unwrap();
    let need = versions.needs[0];
    assert_eq!((need.file, need.name.text, need.weak, need.at), (&b"libx.so"[..], &b"V9"[..], true, Vaddr(0x410)));
    assert!(versions.get(3 | HIDDEN).unwrap().same(&need.name));
    assert_eq!(versions.get(2), None);

    bytes[8] = 200; // vn_aux
    assert!(Versions::default().read_needs(list(&bytes), strings).is_err());
    bytes[8] = 16;
    bytes[24] = 99; // vna_name
    assert!(Versions::default().read_needs(list(&bytes), strings).is_err());
}

#[test]
fn records_that_overlap_take_no_more_memory_than_the_table_has() {
    // One Verneed that claims 65,535 versions, each "four bytes further on".
    let mut bytes = vec![0; 4096];
    bytes[..12].copy_from_slice(&[1, 0, 0xff, 0xff, 0, 0, 0, 0, 16, 0, 0, 0]);
    for at in (16..4096).step_by(4) {
        bytes[at] = 4;
    }
    let mut versions = Versions::default();
    assert!(versions.read_needs(list(&bytes), &[0; 8]).is_err());
    assert!(versions.needs.len() <= 4096 / 16, "{}", versions.needs.len());
}
