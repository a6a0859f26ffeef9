//! The stream of events is complete: files plus events rebuild every byte of every object, after the first pass
//! of relocation and again after sealing; and going back through it is exact.

mod common;
mod fixtures;

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use common::in_own_process;
use dlscope::elf::addr::{Addr, PAGE, page_down};
use dlscope::event::Kind;
use dlscope::replay::Replay;
use dlscope::{Event, Loader, Probe, Recorder};

type Files = fn(&str) -> std::io::Result<File>;

fn replay(events: &[Event]) -> Replay<Files> {
    let mut replay = Replay::new((|path| File::open(path)) as Files);
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
        let mut replay = Replay::new((|path| File::open(path)) as Files);
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

/// The fingerprint of all memory, kept up page by page: only what an event touched is looked at again.
#[derive(Default)]
struct Running {
    pages: HashMap<u64, u64>,
    sum: u64,
}

impl Running {
    /// Looks again at the pages that `kind` names, whether it was done or taken back.
    fn follow(&mut self, replay: &Replay<Files>, kind: &Kind) {
        let (address, length) = match kind {
            Kind::Reserve { address, length }
            | Kind::MapWhole { address, length, .. }
            | Kind::Map { address, length, .. }
            | Kind::MapZero { address, length, .. }
            | Kind::Zero { address, length }
            | Kind::Protect { address, length, .. }
            | Kind::Unmap { address, length, .. } => (address.0, *length),
            Kind::Store { address, size, .. } => (address.0, u64::from(*size)),
            Kind::Changed { address, after, .. } => (address.0, after.0.len() as u64),
            _ => return,
        };
        for at in (page_down(address)..address + length).step_by(PAGE as usize) {
            let now = replay.page(Addr(at)).map_or(0, |page| {
                let mut hasher = DefaultHasher::new();
                (at, page.prot.0, &page.bytes[..]).hash(&mut hasher);
                hasher.finish()
            });
            let before = self.pages.insert(at, now).unwrap_or(0);
            self.sum = self.sum.wrapping_sub(before).wrapping_add(now);
        }
    }
}

#[test]
fn going_back_through_libsqlite3_reproduces_memory_at_every_event() {
    in_own_process("going_back_through_libsqlite3_reproduces_memory_at_every_event", || {
        let Some(path) = common::library("libsqlite3.so.0") else { return };
        let recorder = Arc::new(Recorder::with_capacity(1 << 16));
        // SAFETY: a library of the system, whose constructors do no harm.
        unsafe { Loader::new().probe(recorder.clone()).open(path) }.unwrap().close().unwrap();
        let events = recorder.take();
        let mut replay = Replay::new((|path| File::open(path)) as Files);
        let mut running = Running::default();
        // All of memory is looked at now and then: an effect outside of the pages that events name shows there.
        const ALL: usize = 500;
        let (mut forward, mut whole) = (Vec::new(), Vec::new());
        for (at, event) in events.iter().enumerate() {
            forward.push(running.sum);
            if at % ALL == 0 {
                whole.push(fingerprint(&replay));
            }
            replay.apply(event).unwrap();
            running.follow(&replay, &event.kind);
        }
        let distinct: std::collections::HashSet<_> = forward.iter().collect();
        assert!(distinct.len() > 1000, "memory changed {} times", distinct.len());
        for (at, event) in events.iter().enumerate().rev() {
            assert!(replay.undo());
            running.follow(&replay, &event.kind);
            assert_eq!(running.sum, forward[at], "memory before event {} ({})", event.seq, event.kind.name());
            if at % ALL == 0 {
                assert_eq!(fingerprint(&replay), whole[at / ALL], "all memory before event {}", event.seq);
            }
            // From there forwards again, and back.
            replay.apply(event).unwrap_or_else(|e| panic!("on the way back: {e}"));
            assert!(replay.undo());
        }
        assert!(!replay.undo(), "the beginning");
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
