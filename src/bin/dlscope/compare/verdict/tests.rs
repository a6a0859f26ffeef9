use super::*;

/// Slot `n` is at `n * 8` and named `s<n>`; slot 3 is named `dlopen`.
struct Numbers;

impl Names for Numbers {
    fn slot(&self, _: &str, n: usize) -> SlotName {
        let symbol = if n == 3 { "dlopen".into() } else { format!("s{n}") };
        SlotName { place: n as u64 * 8, about: format!("R_X86_64_GLOB_DAT {symbol}"), symbol }
    }

    fn export(&self, _: &str, n: usize) -> String {
        format!("e{n}@V1")
    }
}

fn object(path: &str, role: Role) -> SeenObject {
    SeenObject { path: path.into(), role, ..SeenObject::default() }
}

fn run(start: u64, count: u64, rights: &str) -> PageRun {
    PageRun { start, count, rights: rights.into() }
}

/// The program, libc, and one new library.
fn loaded() -> Snapshot {
    let mut library = object("/lib/libx.so.1", Role::New);
    library.slots = vec![
        WordMeaning::Object(2, 0x10),
        WordMeaning::Object(1, 0x20),
        WordMeaning::Value(24),
        WordMeaning::Object(1, 0x30),
    ];
    library.pages = vec![run(0, 1, "r--"), run(0x1000, 3, "r-x")];
    let host = [object(Snapshot::PROGRAM, Role::Host), object("/lib/libc.so.6", Role::Host)];
    Snapshot {
        objects: host.into_iter().chain([library]).collect(),
        exports: vec![Some(WordMeaning::Object(2, 0x100)), None],
        root: 2,
    }
}

fn compare(system: Snapshot, dlscope: Snapshot) -> Comparison {
    let [system, dlscope] = [system, dlscope].map(|snapshot| End::Told(LoadResult::Loaded(snapshot)));
    judge("libx.so.1", &system, &[], &dlscope, &Numbers)
}

fn refused(policy: bool) -> End<LoadResult> {
    End::Told(LoadResult::Refused { reason: "no".into(), policy })
}

#[test]
fn equal_snapshots_agree_and_everything_is_counted() {
    let result = compare(loaded(), loaded());
    assert_eq!(result.verdict, Verdict::Agree, "{:?}", result.details);
    let counted = (result.objects, result.symbols, result.slots.count, result.pages);
    let all = |compared| Count { compared, different: 0 };
    assert_eq!(counted, (all(1), all(2), all(4), all(4)));
}

#[test]
fn the_number_of_an_object_does_not_matter_only_which_object_it_is() {
    let mut ours = loaded();
    ours.objects.swap(0, 1);
    ours.objects[2].slots = vec![
        WordMeaning::Object(2, 0x10),
        WordMeaning::Object(0, 0x20),
        WordMeaning::Value(24),
        WordMeaning::Object(0, 0x30),
    ];
    assert_eq!(compare(loaded(), ours).verdict, Verdict::Agree);
}

#[test]
fn a_slot_a_symbol_and_a_page_that_differ_are_each_named_with_both_values() {
    let mut ours = loaded();
    ours.objects[2].slots[1] = WordMeaning::Object(1, 0x28);
    ours.objects[2].pages = vec![run(0, 2, "r--"), run(0x2000, 2, "r-x")];
    ours.exports[0] = None;
    let result = compare(loaded(), ours);
    assert_eq!(result.verdict, Verdict::Differ);
    let told: Vec<_> = result
        .details
        .iter()
        .map(|d| (d.what, &*d.place, d.system.as_deref().unwrap_or("-"), d.dlscope.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(
        told,
        [
            ("symbol", "e0@V1", "libx.so.1+0x100", "-"),
            ("slot", "0x8", "libc.so.6+0x20", "libc.so.6+0x28"),
            ("page", "0x1000", "r-x", "r--"),
        ]
    );
    assert_eq!((result.slots.count.different, result.symbols.different, result.pages.different), (1, 1, 1));
}

#[test]
fn a_slot_that_constructors_changed_is_counted_apart() {
    let mut ours = loaded();
    ours.objects[2].slots[1] = WordMeaning::Elsewhere;
    ours.objects[2].changed = vec![1];
    let result = compare(loaded(), ours);
    assert_eq!(result.verdict, Verdict::Agree);
    assert_eq!(result.slots.changed_by_constructors, 1);
}

#[test]
fn our_own_dlopen_in_the_place_of_libcs_is_the_same_and_in_any_other_place_is_not() {
    let mut ours = loaded();
    ours.objects[2].slots[3] = WordMeaning::Object(0, 0x999);
    assert_eq!(compare(loaded(), ours).verdict, Verdict::Agree);
    let mut ours = loaded();
    ours.objects[2].slots[1] = WordMeaning::Object(0, 0x999);
    assert_eq!(compare(loaded(), ours).verdict, Verdict::Differ);
}

#[test]
fn the_order_of_new_objects_counts_but_not_that_of_objects_loaded_by_their_code() {
    let with = |names: [(&str, Role); 2]| {
        let mut snapshot = loaded();
        snapshot.objects.extend(names.map(|(name, role)| object(name, role)));
        snapshot
    };
    let verdict = |role| compare(with([("a", role), ("b", role)]), with([("b", role), ("a", role)])).verdict;
    assert_eq!(verdict(Role::New), Verdict::Differ);
    assert_eq!(verdict(Role::Nested), Verdict::Agree);
}

#[test]
fn a_second_copy_that_only_the_system_maps_is_one_difference_and_its_symbols_are_the_same() {
    let file = Some((1, 77));
    let mut theirs = loaded();
    theirs.objects[1].file = file;
    theirs.objects.push(SeenObject { file, ..object("/usr/lib/libc.so.6", Role::New) });
    theirs.exports[0] = Some(WordMeaning::Object(3, 0x100));
    let mut ours = loaded();
    ours.objects[1].file = file;
    ours.exports[0] = Some(WordMeaning::Object(1, 0x100));
    let result = compare(theirs, ours);
    assert_eq!(result.details.len(), 1, "{:?}", result.details);
    assert!(result.details[0].about.contains("second copy"));
}

#[test]
fn every_pair_of_ends_has_its_verdict() {
    let died = || End::Died("killed by SIGSEGV".into());
    let late = || End::TimedOut;
    let took = || End::Told(LoadResult::Loaded(loaded()));
    for (system, dlscope, expected) in [
        (refused(false), refused(false), Verdict::BothRefuse),
        (refused(false), refused(true), Verdict::BothRefuse),
        (took(), refused(true), Verdict::RefusedByPolicy),
        (died(), refused(true), Verdict::RefusedByPolicy),
        (took(), refused(false), Verdict::OnlySystem),
        (refused(false), took(), Verdict::OnlyDlscope),
        (died(), took(), Verdict::OnlyDlscope),
        (took(), died(), Verdict::Crash),
        (refused(false), died(), Verdict::Crash),
        (took(), late(), Verdict::Timeout),
        (died(), died(), Verdict::BothDie),
        (late(), late(), Verdict::BothDie),
        (died(), late(), Verdict::BothDie),
    ] {
        assert_eq!(judge("x", &system, &[], &dlscope, &Numbers).verdict, expected, "{system:?} {dlscope:?}");
    }
}

/// Compares with more runs of the system's loader.
fn compare_with_more(system: Snapshot, more: &[Snapshot], dlscope: Snapshot) -> Comparison {
    let [system, dlscope] = [system, dlscope].map(|snapshot| End::Told(LoadResult::Loaded(snapshot)));
    judge("libx.so.1", &system, more, &dlscope, &Numbers)
}

/// The process of [`loaded`], changed.
fn changed(change: impl FnOnce(&mut Snapshot)) -> Snapshot {
    let mut snapshot = loaded();
    change(&mut snapshot);
    snapshot
}

#[test]
fn a_word_that_differs_from_run_to_run_of_the_system_is_no_difference_and_any_other_is() {
    let slot = |value| changed(|s| s.objects[2].slots[2] = WordMeaning::Value(value));
    assert_eq!(compare_with_more(slot(1), &[slot(2)], slot(3)).verdict, Verdict::Agree);
    assert_eq!(compare_with_more(slot(1), &[slot(1)], slot(3)).verdict, Verdict::Differ);
    let pages = |rights: &str| changed(|s| s.objects[2].pages[0].rights = rights.into());
    assert_eq!(compare_with_more(pages("rw-"), &[pages("---")], pages("r--")).verdict, Verdict::Agree);
    assert_eq!(compare_with_more(pages("rw-"), &[pages("rw-")], pages("r--")).verdict, Verdict::Differ);
    let export = |value| changed(|s| s.exports[0] = Some(WordMeaning::Value(value)));
    assert_eq!(compare_with_more(export(1), &[export(2)], export(3)).verdict, Verdict::Agree);
    assert_eq!(compare_with_more(export(1), &[export(1)], export(3)).verdict, Verdict::Differ);
}

#[test]
fn thread_local_words_at_places_of_chance_are_excused_but_not_those_that_every_run_changes() {
    let block = |words: &[u64]| changed(|s| s.objects[2].block = Some(words.to_vec()));
    let verdict = |system: &[u64], more: &[u64], dlscope: &[u64]| {
        compare_with_more(block(system), &[block(more)], block(dlscope)).verdict
    };
    assert_eq!(verdict(&[0, 8], &[0, 16], &[0, 24]), Verdict::Agree);
    assert_eq!(verdict(&[0, 8], &[0, 16], &[0]), Verdict::Agree, "the word by chance has the value of the image");
    assert_eq!(verdict(&[0, 8], &[0, 16], &[24]), Verdict::Differ, "every run changes word 0");
    assert_eq!(verdict(&[0, 8], &[0, 16], &[0, 24, 32]), Verdict::Differ, "one word more than any run changes");
    assert_eq!(verdict(&[0, 8], &[0, 8], &[0, 24]), Verdict::Differ, "the runs are alike");
}
