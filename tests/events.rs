//! The stream of events: every kind appears, and a fixture's stream is what it was when it was looked at last.

mod common;
mod fixtures;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::{env, fs};

use common::in_own_process;
use dlscope::event::{Asked, Kind, Stage};
use dlscope::{Bind, Event, Library, Loader, Probe, Recorder};

fn unpack(name: &str) -> PathBuf {
    fixtures::unpack(name, "events")
}

/// The names of all kinds, from the one place that lists them.
fn all_kinds() -> BTreeSet<String> {
    let source = include_str!("../src/event/show.rs");
    let names = source.lines().filter_map(|line| line.trim().strip_prefix("Kind::")?.split(" => \"").nth(1));
    names.map(|name| name.trim_end_matches("\",").to_string()).collect()
}

#[test]
fn every_kind_of_event_appears() {
    in_own_process("every_kind_of_event_appears", || {
        let recorder = Arc::new(Recorder::with_capacity(1 << 16));
        let loader = || Loader::new().probe(recorder.clone());
        // SAFETY: fixtures and libraries of the system.
        unsafe {
            // Opened by name: search, cache, host. Twice by two names: known.
            let one = loader();
            let libz = one.open("libz.so.1").unwrap();
            let _again = one.open("/lib/x86_64-linux-gnu/libz.so.1").or_else(|_| one.open("libz.so.1")).unwrap();
            assert!(libz.get::<*const ()>("zlibVersion").is_ok());
            for name in [
                "add",
                "bss",
                "diamond",
                "ifunc",
                "text-relocations",
                "tls-initial-exec",
                "versions",
                "aligned-2m",
                "unique",
            ] {
                loader().open(unpack(name)).unwrap_or_else(|e| panic!("{name}: {e}")).close().unwrap();
            }
            let bytes = fs::read(unpack("add")).unwrap();
            loader().open_bytes("in memory", &bytes).unwrap().close().unwrap();
            // Lazily bound: the first call.
            let plt = loader().bind(Bind::Lazy).open(unpack("plt")).unwrap();
            assert_eq!(plt.get::<unsafe extern "C" fn(i64) -> i64>("positive").unwrap()(-3), 3);
            assert!(loader().open(unpack("missing-library")).is_err());
            assert_eq!(loader().inspect(unpack("missing-library")).faults().len(), 2);
        }
        // Many relocations close together, in data that is not populated when it is mapped, because little of it is RELRO:
        // its pages are asked for at once. So many events are kept apart.
        let many = Arc::new(Recorder::with_capacity(1 << 18));
        let Some(python) = common::newest(&["libpython3.*.so.1.0"]) else { return };
        Loader::new().probe(many.clone()).prepare(python).unwrap();
        let events = recorder.take().into_iter().chain(many.take());
        let seen: BTreeSet<String> = events.map(|e| e.kind.name().to_string()).collect();
        let missing: Vec<_> = all_kinds().difference(&seen).cloned().collect();
        assert!(missing.is_empty(), "never seen: {missing:?}");
        assert!(seen.len() >= 40, "{seen:?}");
    });
}

#[test]
fn what_the_loader_stores_between_two_resolvers_is_not_said_to_be_their_doing() {
    in_own_process("what_the_loader_stores_between_two_resolvers_is_not_said_to_be_their_doing", || {
        let recorder = Arc::new(Recorder::with_capacity(4096));
        // SAFETY: a fixture.
        let library = unsafe { Loader::new().probe(recorder.clone()).open(unpack("ifunc")) }.unwrap();
        let events = recorder.take();
        let relocating = || events.iter().filter(|event| event.stage == Stage::Relocate).map(|event| &event.kind);
        let answers = relocating().skip_while(|kind| !matches!(kind, Kind::Call { .. }));
        let stores =
            answers.filter_map(|kind| if let Kind::Store { address, .. } = kind { Some(*address) } else { None });
        let stores: Vec<_> = stores.collect();
        assert_eq!(stores.len(), 3, "one for each resolver: {stores:?}");
        let changes = relocating().filter_map(|kind| match kind {
            Kind::Changed { address, after, .. } => Some(address.0..address.0 + after.0.len() as u64),
            _ => None,
        });
        let changes: Vec<_> = changes.collect();
        assert!(!changes.is_empty(), "the fixture's resolvers count how often they are asked");
        let wrong = changes.iter().find(|range| stores.iter().any(|address| range.contains(&address.0)));
        assert_eq!(wrong, None, "stored by the loader at {stores:x?}");
        library.close().unwrap();
    });
}

#[test]
fn the_stream_of_a_fixture_is_the_one_that_was_checked_in() {
    let path = unpack("add");
    let output = Command::new(env!("CARGO_BIN_EXE_dlscope"))
        .args(["trace", "--format", "json"])
        .arg(&path)
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap();
    assert!(output.status.success());
    let stream = normal(&String::from_utf8(output.stdout).unwrap(), path.parent().unwrap());
    // Another compiler or linker makes another file, with other offsets: then only the kinds are compared.
    let stream = format!("{{\"fixture\":\"{:x}\"}}\n{stream}", fixtures::fingerprint(&fs::read(&path).unwrap()));
    let snapshot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/add.jsonl");
    if env::var_os("DLSCOPE_BLESS").is_some() {
        fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
        fs::write(&snapshot, &stream).unwrap();
    }
    let expected = fs::read_to_string(&snapshot).unwrap_or_default();
    if stream.lines().next() == expected.lines().next() {
        for (number, (now, then)) in stream.lines().zip(expected.lines()).enumerate() {
            assert_eq!(now, then, "event {number}; DLSCOPE_BLESS=1 writes the snapshot anew");
        }
        assert_eq!(stream.lines().count(), expected.lines().count());
    } else {
        assert_eq!(kinds_in_order(&stream), kinds_in_order(&expected));
    }
}

/// The kinds in the order of their first appearance.
fn kinds_in_order(stream: &str) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for line in stream.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let kind = event["event"].as_str().unwrap_or_default().to_string();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// What differs from run to run, from compiler to compiler and from C library to C library becomes a mark: where
/// things were mapped, who the thread is, which line of dlscope it was, what the file weighs, what others contain.
fn normal(stream: &str, folder: &Path) -> String {
    let folder = format!("{}/", folder.display());
    let mut lines = Vec::new();
    for line in stream.lines() {
        let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
        scrub(&mut event, &folder);
        lines.push(event.to_string());
    }
    lines.join("\n") + "\n"
}

fn scrub(value: &mut serde_json::Value, folder: &str) {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            // How large the host's objects are is the host's affair.
            if fields.get("event").is_some_and(|event| event == "adopt") {
                fields.insert("length".into(), "…".into());
            }
            for (key, value) in fields.iter_mut() {
                match key.as_str() {
                    "thread" | "line" | "inode" | "device" | "file_length" | "hash" | "fd" | "id" | "tls_offset" => {
                        *value = "…".into()
                    }
                    // The chains of other libraries' tables are theirs.
                    "steps" => *value = "…".into(),
                    _ => scrub(value, folder),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| scrub(value, folder)),
        Value::String(text) => {
            *text = text.replace(folder, "");
            // An address of the process has more digits than anything in a file of 20 KB.
            if text.starts_with("0x") && text.len() > 10 {
                *text = "ADDRESS".into();
            } else if text.starts_with('/') {
                *text = text.rsplit('/').next().unwrap_or_default().into();
            }
        }
        _ => {}
    }
}

/// A probe that loads libraries itself.
struct Curious {
    inner: Mutex<Option<Library>>,
}

impl Probe for Curious {
    fn event(&self, event: &Event) {
        if matches!(event.kind, Kind::Publish { .. }) {
            // SAFETY: a library of the system.
            *self.inner.lock().unwrap() = unsafe { Library::open("libm.so.6") }.ok();
        }
    }
}

#[test]
fn a_probe_may_load_libraries_and_what_that_causes_is_dropped_and_counted() {
    in_own_process("a_probe_may_load_libraries_and_what_that_causes_is_dropped_and_counted", || {
        let curious = Arc::new(Curious { inner: Mutex::new(None) });
        let loader = Loader::new().probe(curious.clone());
        // SAFETY: a library of the system.
        let _libz = unsafe { loader.open("libz.so.1") }.unwrap();
        let libm = curious.inner.lock().unwrap().take().expect("the probe loaded it");
        // SAFETY: math.h.
        assert_eq!(unsafe { libm.get::<unsafe extern "C" fn(f64) -> f64>("cos").unwrap()(0.0) }, 1.0);
    });
}

#[test]
fn requests_are_numbered_and_a_nested_one_names_the_outer_one() {
    in_own_process("requests_are_numbered_and_a_nested_one_names_the_outer_one", || {
        let recorder = Arc::new(Recorder::with_capacity(1 << 14));
        env::set_current_dir(unpack("nested-open").parent().unwrap()).unwrap();
        // SAFETY: the fixture, whose constructor opens another library.
        let library = unsafe { Loader::new().probe(recorder.clone()).open(unpack("nested-open")) }.unwrap();
        let events = recorder.take();
        let opens: Vec<_> =
            events.iter().filter(|e| matches!(e.kind, Kind::Begin { request: Asked::Open, .. })).collect();
        assert_eq!(opens.len(), 2, "the constructor's own open");
        assert_eq!(opens[1].parent, Some(opens[0].load));
        assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq), "numbered in order");
        let ends = events.iter().filter(|e| matches!(e.kind, Kind::End { .. })).count();
        assert!(ends >= 2);
        drop(library);
    });
}

#[test]
fn the_line_of_an_event_is_a_line_of_dlscope() {
    in_own_process("the_line_of_an_event_is_a_line_of_dlscope", || {
        let recorder = Arc::new(Recorder::with_capacity(1 << 14));
        drop(Loader::new().probe(recorder.clone()).prepare("libz.so.1").unwrap());
        for event in recorder.take() {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(event.source.file);
            let source = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", event.source.file));
            let line = source.lines().nth(event.source.line as usize - 1).expect("a line of it");
            assert!(
                !line.trim().is_empty() && !line.trim().starts_with("//"),
                "{}:{}",
                event.source.file,
                event.source.line
            );
            if matches!(event.kind, Kind::Store { .. }) {
                let decides = if event.stage == Stage::Dynamic { "src/load/dynamic" } else { "src/load/relocate" };
                let file = event.source.file;
                assert!(file.starts_with(decides), "{file} is not where it was decided what to store");
                assert!(line.contains("store"), "{line}");
            }
        }
    });
}

/// How much memory of this process is in use, in KiB.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A constructor writes one byte in a gibibyte of zeros. The stream tells that byte, and no other page is touched.
#[test]
fn a_change_amid_a_gibibyte_of_zeros_is_told_and_the_other_zeros_are_not_touched() {
    in_own_process("a_change_amid_a_gibibyte_of_zeros_is_told_and_the_other_zeros_are_not_touched", || {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("events-zeros");
        fs::create_dir_all(&folder).unwrap();
        let (source, library) = (folder.join("zeros.c"), folder.join("zeros.so"));
        let text = "char big[1 << 30]; __attribute__((constructor)) void begin(void) { big[700000000] = 5; }\n\
                    __attribute__((constructor(200))) void before(void) { big[1 << 29] = 7; }\n\
                    __attribute__((constructor(300))) void undone(void) { big[1 << 29] = 0; }";
        fs::write(&source, text).unwrap();
        let gcc = Command::new("gcc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
        assert!(gcc.success());

        let before = resident();
        let recorder = Arc::new(Recorder::default());
        // SAFETY: the constructors write to the library's own variable.
        let opened = unsafe { Loader::new().probe(recorder.clone()).open(&library) }.unwrap_or_else(|e| panic!("{e}"));
        // SAFETY: the type is that of the source.
        let big = unsafe { *opened.get::<*const u8>("big").unwrap() } as u64;
        let change = |event: &Event| match &event.kind {
            Kind::Changed { address, before, after } => address.0.checked_sub(big).map(|at| {
                let byte = |bytes: &[u8]| bytes.iter().copied().find(|&byte| byte != 0).unwrap_or(0);
                (at / 8 * 8, byte(&before.0), byte(&after.0))
            }),
            _ => None,
        };
        let changes: Vec<_> = recorder.events().iter().filter_map(change).collect();
        assert_eq!(changes, [(1 << 29, 0, 7), (1 << 29, 7, 0), (700_000_000, 0, 5)]);
        let more = resident() - before;
        assert!(more < 64 << 10, "{more} KiB more");
    });
}
