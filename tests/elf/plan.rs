use dlscope::ErrorKind;
use dlscope::elf::addr::*;
use dlscope::elf::image::*;
use dlscope::elf::plan::*;
use goblin::elf64::program_header::{PF_R, PF_W, PF_X, PT_GNU_RELRO, PT_LOAD};

fn load(flags: u32, offset: u64, vaddr: u64, filesz: u64, memsz: u64) -> Segment {
    Segment {
        index: 0,
        p_type: PT_LOAD,
        flags: Prot(flags),
        offset: FileOffset(offset),
        vaddr: Vaddr(vaddr),
        filesz,
        memsz,
        align: PAGE,
    }
}

fn image(mut segments: Vec<Segment>) -> Image {
    for (index, s) in segments.iter_mut().enumerate() {
        s.index = index;
    }
    Image {
        e_type: 3,
        e_machine: 62,
        e_phoff: FileOffset(64),
        e_phnum: segments.len() as u16,
        file_length: 0x10000,
        segments,
    }
}

#[test]
fn bss_is_zeroed_to_the_end_of_its_page_and_then_anonymous() {
    let plan =
        Plan::new(&image(vec![load(PF_R | PF_X, 0, 0, 0x800, 0x800), load(PF_R | PF_W, 0xe00, 0x3e00, 0x300, 0x2300)]))
            .unwrap();
    assert_eq!(plan.span, Vaddr(0)..Vaddr(0x7000));
    assert_eq!(plan.ground, Ground::Nothing, "between the segments is a gap");
    assert_eq!(
        plan.steps[1..],
        [
            Step::File {
                segment: 1,
                at: Vaddr(0x3000),
                length: 0x2000,
                offset: FileOffset(0),
                prot: Prot::RW,
                populate: true
            },
            Step::Zero { segment: 1, at: Vaddr(0x4100), length: 0xf00 },
            Step::Anonymous { segment: 1, at: Vaddr(0x5000), length: 0x2000, prot: Prot::RW },
        ]
    );
}

#[test]
fn the_file_is_the_ground_where_segments_follow_each_other_and_is_not_mapped_twice() {
    let mut segments = vec![
        load(PF_R, 0, 0, 0x900, 0x900),
        load(PF_R | PF_X, 0x1000, 0x1000, 0x900, 0x900),
        load(PF_R, 0x2000, 0x2000, 0x900, 0x900),
        load(PF_R | PF_W, 0x2e00, 0x3e00, 0x100, 0x100),
    ];
    let plan = Plan::new(&image(segments.clone())).unwrap();
    assert_eq!(plan.ground, Ground::File { offset: FileOffset(0), prot: Prot::R });
    let mapped: Vec<_> = plan.steps.iter().filter(|s| matches!(s, Step::File { .. })).collect();
    let [Step::File { segment: 1, .. }, Step::File { segment: 3, .. }] = mapped[..] else { panic!("{mapped:?}") };
    // Now the bytes of the third segment lie elsewhere in the file.
    segments[2].offset = FileOffset(0x5000);
    assert_eq!(Plan::new(&image(segments)).unwrap().steps.len(), 3);
}

#[test]
fn bss_in_a_read_only_page_opens_it_for_a_moment_and_never_with_execution() {
    let plan = Plan::new(&image(vec![load(PF_R | PF_X, 0, 0, 0x800, 0x900)])).unwrap();
    let [Step::File { prot, .. }, Step::Zero { .. }, Step::Protect { prot: last, .. }] = plan.steps[..] else {
        panic!("{:?}", plan.steps)
    };
    assert_eq!((prot, last), (Prot::RW, Prot(PF_R | PF_X)));
}

#[test]
fn data_is_populated_that_is_small_or_mostly_relro() {
    let populated = |pages: u64, sealed: u64| {
        let data = load(PF_R | PF_W, 0, 0, pages * PAGE, pages * PAGE);
        let relro = Segment { p_type: PT_GNU_RELRO, memsz: sealed * PAGE, ..data.clone() };
        is_populated(&image(vec![data.clone(), relro]), &data)
    };
    assert!(populated(4, 0) && !populated(5, 0));
    assert!(populated(64, 33) && !populated(64, 32));
    assert!(populated(100, 97) && !populated(100, 90));
    assert!(populated(4096, 4090) && !populated(4097, 4097));
}

#[test]
fn a_segment_of_only_bss_needs_no_page_of_the_file() {
    let plan = Plan::new(&image(vec![load(PF_R | PF_W, 0xf000, 0x1f000, 0, 0x10)])).unwrap();
    assert_eq!(plan.steps, [Step::Anonymous { segment: 0, at: Vaddr(0x1f000), length: 0x1000, prot: Prot::RW }]);
}

#[test]
fn places_agree_modulo_a_page_and_the_bias_with_the_largest_power_of_two() {
    let plan = |align| Plan::new(&image(vec![Segment { align, ..load(PF_R, 0x1000, 0x4000, 8, 8) }])).unwrap();
    for (p_align, align) in [(0, PAGE), (1, PAGE), (8, PAGE), (24, PAGE), (0x2000, 0x2000), (0x4000, 0x4000)] {
        assert_eq!(plan(p_align).align, align, "p_align {p_align:#x}");
    }
    assert_eq!(plan(1 << 40).align, 1 << 40);
}

#[test]
fn each_bad_field_is_refused_by_name() {
    let refused = |segments| match Plan::new(&image(segments)) {
        Err(ErrorKind::Malformed { field, .. }) => field,
        Err(ErrorKind::Policy { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert!(refused(vec![load(PF_R, 0, 0, 0x900, 0x800)]).ends_with("p_filesz"));
    assert!(refused(vec![load(PF_R, 0xf000, 0xf000, 0x2000, 0x2000)]).ends_with("p_filesz"));
    assert!(refused(vec![load(PF_R, 0x10, 0x20, 8, 8)]).ends_with(UNALIGNED));
    assert!(refused(vec![load(PF_R, 0, 0x2000, 8, 8), load(PF_R, 0, 0x1000, 8, 8)]).ends_with("p_vaddr"));
    assert!(refused(vec![load(PF_R, 0, u64::MAX << 12, 8, 0x2000)]).contains("p_vaddr + p_memsz"));
    assert!(refused(vec![load(PF_R | PF_W | PF_X, 0, 0, 8, 8)]).contains("PT_LOAD"));
    assert!(refused(vec![]).contains("PT_LOAD"));
}

#[test]
fn segments_share_a_page_only_if_it_suits_both() {
    let data = load(PF_R | PF_W, 0x1000, 0x1000, 0x100, 0x100);
    for (other, suits) in [
        (load(PF_R | PF_W, 0x1200, 0x1200, 0x100, 0x100), true),
        (load(PF_R | PF_W, 0x1200, 0x1200, 0, 8), true),
        (load(PF_R, 0x1200, 0x1200, 0, 8), false),
        (load(PF_R | PF_X, 0x1200, 0x1200, 0x100, 0x100), false),
        (load(0, 0x1200, 0x1200, 0, 8), false),
        (load(PF_R | PF_W, 0x3200, 0x1200, 0x100, 0x100), false),
        (load(PF_R, 0x1200, 0x2200, 0x100, 0x100), true),
    ] {
        match Plan::new(&image(vec![data.clone(), other.clone()])) {
            Ok(_) => assert!(suits, "{other:?}"),
            Err(ErrorKind::Malformed { field, .. }) => {
                assert!(!suits && field.ends_with("p_vaddr with p_flags"), "{field}: {other:?}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn zeros_in_a_shared_page_leave_the_bytes_before_them() {
    let segments = vec![load(PF_R | PF_W, 0, 0, 0x100, 0x100), load(PF_R | PF_W, 0x200, 0x200, 0, 0x1000)];
    let plan = Plan::new(&image(segments)).unwrap();
    let [Step::File { .. }, ref rest @ ..] = plan.steps[..] else { panic!("{:?}", plan.steps) };
    assert_eq!(
        rest,
        [
            Step::Zero { segment: 1, at: Vaddr(0x200), length: 0xe00 },
            Step::Anonymous { segment: 1, at: Vaddr(0x1000), length: 0x1000, prot: Prot::RW },
        ]
    );
}
