//! Every event has its words, and the chapters that they point to exist.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use dlscope::elf::addr::Addr;
use dlscope::elf::image::Prot;
use dlscope::event::{Asked, Event, Kind, ProtectReason, Rule, Stage};
use dlscope::{Bind, Loader, Recorder};

use super::glossary::{GLOSSARY, Word};
use super::{EVENTS, EventWords, Reference, of_event, of_relocation, of_stage};
use crate::explain::anchor_of;
use crate::fixtures::{FIXTURES, Fixture};

#[path = "../../../../tests/common/mod.rs"]
mod common;
use common::in_own_process;

const EVERY_STAGE: [Stage; 4] = [Stage::Lookup, Stage::Bind, Stage::Close, Stage::Host];

/// The events of all fixtures: each is prepared, with all symbols bound at once and lazily; some are opened, too, which
/// runs their code.
fn stream() -> Vec<Event> {
    let recorder = Arc::new(Recorder::with_capacity(1 << 16));
    let loader = |bind| Loader::new().bind(bind).probe(recorder.clone());
    for fixture in FIXTURES {
        let files = fixture.unpack().unwrap();
        for bind in [Bind::Now, Bind::Lazy] {
            // The loader refuses some fixtures on purpose; a refusal has events, too.
            let _ = loader(bind).prepare(files.path(fixture.main));
        }
        loader(Bind::Now).inspect(files.path(fixture.main));
    }
    let libz = loader(Bind::Now).prepare("libz.so.1").unwrap();
    assert!(libz.symbols().next().is_some());
    let open = |name: &str, bind| {
        let fixture = Fixture::named(name).unwrap();
        let files = fixture.unpack().unwrap();
        // SAFETY: the fixtures are ours.
        let library = unsafe { loader(bind).open(files.path(fixture.main)) }.unwrap_or_else(|e| panic!("{name}: {e}"));
        (library, files)
    };
    for name in ["add", "diamond", "ifunc", "tls-initial-exec", "aligned-2m", "unique"] {
        open(name, Bind::Now).0.close().unwrap();
    }
    let (plt, files) = open("plt", Bind::Lazy);
    // SAFETY: the fixture's function has this type.
    unsafe {
        assert_eq!(plt.get::<unsafe extern "C" fn(i64) -> i64>("positive").unwrap()(-3), 3);
        let bytes = fs::read(files.path("libplt.so")).unwrap();
        loader(Bind::Now).open_bytes("in memory", &bytes).unwrap().close().unwrap();
    }
    plt.close().unwrap();
    recorder.take()
}

/// Events that the command never meets, and those that no fixture causes.
fn rare() -> Vec<(Kind, Stage)> {
    let (address, length) = (Addr(0x1000), 0x1000);
    let protect = |reason| Kind::Protect { address, length, prot: Prot::NONE, reason };
    let rule = |rule| Kind::Rule { rule, dirs: Vec::new() };
    vec![
        (Kind::RegisterFrames { address }, Stage::Init),
        (Kind::Populate { address, length, error: None }, Stage::Relocate),
        (Kind::Begin { request: Asked::Exit, name: String::new(), caller: None }, Stage::Close),
        (protect(ProtectReason::Abandoned), Stage::Close),
        (rule(Rule::SearchDir), Stage::Find),
        (rule(Rule::Path), Stage::Find),
    ]
}

#[test]
fn every_event_of_every_fixture_is_explained_and_its_chapter_is_there() {
    in_own_process("words::tests::every_event_of_every_fixture_is_explained_and_its_chapter_is_there", || {
        let events = stream();
        let told = events.iter().map(|event| (event.kind.clone(), event.stage)).chain(rare());
        let mut missing: BTreeSet<_> = EVENTS.keys().map(|name| name.split(' ').next().unwrap()).collect();
        let mut checked = HashSet::new();
        for (kind, stage) in told {
            missing.remove(kind.name());
            let words = of_event(&kind, stage);
            if checked.insert((kind.name(), words)) {
                check_words(kind.name(), &words);
                check_reference(kind.name(), &words.reference);
            }
            if let Kind::Relocation { kind, .. } = &kind {
                assert!(!of_relocation(kind).is_empty(), "{kind} has no purpose");
            }
        }
        assert!(missing.is_empty(), "no fixture shows {missing:?}");
    });
}

#[test]
fn every_stage_has_a_sentence() {
    for stage in Stage::PIPELINE.into_iter().chain(EVERY_STAGE) {
        let sentence = of_stage(stage);
        assert!(sentence.len() > 20 && sentence.len() < 100, "{stage}: {sentence:?}");
    }
}

/// Each line fits beside the margin of a terminal of 120 columns.
fn check_words(name: &str, words: &EventWords) {
    let &EventWords { what, why, .. } = words;
    for line in [what, why] {
        assert!(line.len() > 15, "{name} is not explained: {line:?}");
        assert!(line.chars().count() <= 106, "{name}: too long for a line: {line:?}");
        assert!(line.ends_with(['.', '?']), "{name}: each stands by itself in some view: {line:?}");
    }
    assert_ne!(what, why, "{name}");
}

fn check_reference(name: &str, reference: &Reference) {
    let &Reference { spec, glibc, musl, chapter } = reference;
    assert!(!spec.is_empty(), "{name}: no standard and no manual page");
    for function in [glibc, musl] {
        let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        assert!(is_name(function), "{name}: {function:?} is no function's name");
    }
    let (page, anchor) = chapter.split_once('#').unwrap_or_else(|| panic!("{name}: {chapter} names no section"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {page}: {e}"));
    let is_it = |line: &str| line.starts_with('#') && anchor_of(line.trim_start_matches('#').trim()) == anchor;
    assert!(text.lines().any(is_it), "{name}: {page} has no section {anchor:?}");
    let in_chapters = page.starts_with("docs/chapters/");
    assert!(!in_chapters || text.contains(&format!("`{name}`")), "{page} does not name its event {name}");
}

#[test]
fn every_word_is_explained_once_in_a_few_sentences_with_a_command_and_a_section() {
    let mut names = HashSet::new();
    assert!(GLOSSARY.len() >= 60, "{}", GLOSSARY.len());
    for word in GLOSSARY.iter() {
        let name = word.names[0];
        for name in &word.names {
            assert!(names.insert(name.to_lowercase()), "{name} is explained twice");
        }
        let sentences = word.text.matches(". ").count() + 1;
        assert!((1..=4).contains(&sentences) && word.text.ends_with('.'), "{name}: {:?}", word.text);
        assert!((80..620).contains(&word.text.len()), "{name}: {:?}", word.text);
        assert!(word.picture.iter().all(|line| line.chars().count() <= 100), "{name}: {:?}", word.picture);
        assert!(word.see.starts_with("dlscope trace"), "{name}: {:?}", word.see);
        if let Some(fixture) = word.see.split("--fixture ").nth(1) {
            let fixture = fixture.split(' ').next().unwrap();
            assert!(Fixture::named(fixture).is_ok(), "{name}: there is no fixture {fixture}");
        }
        let (page, anchor) = word.read.split_once('#').unwrap_or((word.read, ""));
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page));
        let text = text.unwrap_or_else(|e| panic!("{name}: {page}: {e}"));
        let is_it = |line: &str| line.starts_with('#') && anchor_of(line.trim_start_matches('#').trim()) == anchor;
        assert!(anchor.is_empty() || text.lines().any(is_it), "{name}: {page} has no section {anchor:?}");
    }
    // A kind of event that has words exists.
    for word in GLOSSARY.iter() {
        for kind in &word.on {
            let kind = kind.split(':').next().unwrap();
            let known = EVENTS.keys().any(|name| name.split(' ').next() == Some(kind));
            assert!(known, "{}: there is no event {kind}", word.names[0]);
        }
    }
    // The names of what relocations, and most stages, are about.
    for name in ["R_X86_64_RELATIVE", "R_X86_64_64", "R_X86_64_GLOB_DAT", "R_X86_64_JUMP_SLOT", "R_X86_64_TPOFF64"] {
        assert!(Word::find(&name.to_lowercase()).is_some(), "{name}");
    }
}
