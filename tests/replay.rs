//! The stream of events is complete: files plus events rebuild every byte of every object, after the first pass
//! of relocation and again after sealing; and going back through it is exact.

mod common;
mod fixtures;

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use common::in_own_process;
use dlscope::elf::addr::{Addr, PAGE};
use dlscope::event::Kind;
use dlscope::replay::Replay;
use dlscope::{Event, Loader, Probe, Recorder};

type Files = fn(&str) -> std::io::Result<Vec<u8>>;

fn replay(events: &[Event]) -> Replay<Files> {
    let mut replay = Replay::new((|path| fs::read(path)) as Files);
    for event in events {
        replay.apply(event).unwrap_or_else(|e| panic!("{e}"));
    }
    replay
}

/// The rights and bytes of every modelled page, from the kernel.
fn compare_with_memory(replay: &Replay<Files>, when: &str) -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let rights = |address: Addr| {
        let line = maps.lines().find(|line| {
            let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            (number(from)..number(to)).contains(&address.0)
        });
        line.map_or("gone".into(), |line| line.split(' ').nth(1).unwrap()[..3].to_uppercase())
    };
    let mut compared = 0;
    for (address, page) in replay.pages() {
        assert_eq!(rights(address), page.prot.to_string(), "{when}: rights of the page at {address}");
        if page.prot.readable() {
            let mut real = [0; PAGE as usize];
            memory.read_exact_at(&mut real, address.0).unwrap();
            if let Some(at) = (0..real.len()).find(|&at| real[at] != page.bytes[at]) {
                panic!(
                    "{when}: byte at {:#x}: memory has {:#x}, replay {:#x}",
                    address.0 + at as u64,
                    real[at],
                    page.bytes[at]
                );
            }
            compared += 1;
        }
    }
    compared
}

/// Compares at the very moment of publishing: everything is sealed, no constructor has run.
#[derive(Default)]
struct AtPublish {
    events: Mutex<Vec<Event>>,
    compared: Mutex<usize>,
}

impl Probe for AtPublish {
    fn event(&self, event: &Event) {
        let mut events = self.events.lock().unwrap();
        events.push(event.clone());
        if matches!(event.kind, Kind::Publish { .. }) {
            *self.compared.lock().unwrap() += compare_with_memory(&replay(&events), "after seal");
        }
    }
}

/// Both moments for one library.
fn rebuild(path: &Path) {
    let recorder = Arc::new(Recorder::with_capacity(1 << 16));
    let prepared = Loader::new().probe(recorder.clone()).prepare(path).unwrap_or_else(|e| panic!("{e}"));
    let pages = compare_with_memory(&replay(&recorder.take()), "after pass 1");
    assert!(pages >= 2, "only {pages} pages");
    drop(prepared);

    let at_publish = Arc::new(AtPublish::default());
    // SAFETY: a fixture or a library of the system.
    let library = unsafe { Loader::new().probe(at_publish.clone()).open(path) }.unwrap_or_else(|e| panic!("{e}"));
    let pages = *at_publish.compared.lock().unwrap();
    assert!(pages >= 2, "only {pages} pages");
    drop(library);
}

fn rebuild_named(name: &str) {
    rebuild(Path::new(&common::library(name).unwrap()));
}

#[test]
fn files_and_events_rebuild_libcrypto() {
    in_own_process("files_and_events_rebuild_libcrypto", || rebuild_named("libcrypto.so.3"));
}

#[test]
fn files_and_events_rebuild_libsqlite3() {
    in_own_process("files_and_events_rebuild_libsqlite3", || rebuild_named("libsqlite3.so.0"));
}

#[test]
fn files_and_events_rebuild_every_fixture() {
    if let Ok(name) = std::env::var("REBUILD_FIXTURE") {
        return rebuild(Path::new(&name));
    }
    let mut rebuilt = 0;
    for fixture in fixtures::FIXTURES.iter().filter(|f| f.refuse.is_none() && f.policy.is_none() && f.later.is_none()) {
        let path = fixtures::unpack(fixture.name, "replay");
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["files_and_events_rebuild_every_fixture", "--exact", "--nocapture"]).env("REBUILD_FIXTURE", &path);
        let output = child.output().unwrap();
        assert!(output.status.success(), "{}: {}", fixture.name, String::from_utf8_lossy(&output.stderr));
        rebuilt += 1;
    }
    assert!(rebuilt >= 40, "only {rebuilt} fixtures");
}

fn fingerprint(replay: &Replay<Files>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (address, page) in replay.pages() {
        (address.0, page.prot.0, &page.bytes[..]).hash(&mut hasher);
    }
    hasher.finish()
}

#[test]
fn going_back_through_a_load_is_exact() {
    in_own_process("going_back_through_a_load_is_exact", || {
        let recorder = Arc::new(Recorder::with_capacity(1 << 14));
        // SAFETY: zlib's constructors do no harm.
        unsafe { Loader::new().probe(recorder.clone()).open("libz.so.1") }.unwrap().close().unwrap();
        let events = recorder.take();
        let mut replay = Replay::new((|path| fs::read(path)) as Files);
        let mut forward = Vec::new();
        for event in &events {
            forward.push(fingerprint(&replay));
            replay.apply(event).unwrap();
        }
        assert_eq!(replay.pages().count(), 0, "closed: everything is unmapped");
        for expected in forward.iter().rev() {
            assert!(replay.undo());
            assert_eq!(fingerprint(&replay), *expected);
        }
        assert!(!replay.undo(), "the beginning");
        let distinct: std::collections::HashSet<_> = forward.iter().collect();
        assert!(distinct.len() > 60, "memory changed {} times", distinct.len());
    });
}

#[test]
fn a_stream_with_a_missing_store_does_not_rebuild_memory() {
    in_own_process("a_stream_with_a_missing_store_does_not_rebuild_memory", || {
        let recorder = Arc::new(Recorder::with_capacity(1 << 14));
        let prepared = Loader::new().probe(recorder.clone()).prepare("libz.so.1").unwrap();
        let mut events = recorder.take();
        let store = events.iter().rposition(|e| matches!(e.kind, Kind::Store { .. })).unwrap();
        events.remove(store);
        let incomplete = replay(&events);
        let caught =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| compare_with_memory(&incomplete, "lied")));
        assert!(caught.is_err(), "the missing store was not noticed");
        drop(prepared);
    });
}
