//! `dlscope profile`: its numbers add up, and are those of the event stream, of the files, and of ld.so.

mod common;
mod fixtures;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use common::{in_own_process, library};
use dlscope::event::{Detail, Event, Kind, Stage};
use dlscope::{Loader, Probe, Recorder};
use goblin::elf::{Elf, header::EM_X86_64, reloc};
use serde_json::Value;

fn dlscope(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dlscope")).args(arguments).output().expect("the command starts")
}

/// A profile of a few runs as JSON.
fn profile(library: &str) -> Value {
    let output = dlscope(&["profile", library, "--runs", "4", "--format", "json"]);
    assert!(output.status.success(), "{library}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{library}: {e}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

/// The time of one part of one object; zero where there is none.
fn part_of(profile: &Value, object: &str, part: &str) -> f64 {
    let objects =
        list(&profile["objects"]).iter().filter(|o| o["object"].as_str().is_some_and(|o| o.ends_with(object)));
    let parts = objects.flat_map(|o| list(&o["parts"])).filter(|p| p["part"] == part);
    parts.map(|p| number(&p["nanoseconds"])).sum()
}

fn compile(name: &str, source: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("profile");
    fs::create_dir_all(&folder).unwrap();
    let (from, to) = (folder.join(name).with_extension("c"), folder.join(name));
    fs::write(&from, source).unwrap();
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&to).arg(&from).status().unwrap();
    assert!(status.success(), "{name} does not compile");
    to
}

#[test]
fn the_parts_add_up_to_the_whole_call_and_so_do_the_objects() {
    let mut names = vec![fixtures::unpack("diamond", "profile"), fixtures::unpack("nested-open", "profile")];
    names.extend(
        ["libsqlite3.so.0", "libcrypto.so.3", "libgtk-3.so.0"]
            .iter()
            .filter_map(|name| library(name))
            .map(PathBuf::from),
    );
    for name in names {
        let profile = profile(name.to_str().unwrap());
        let whole = number(&profile["whole"]);
        for lists in ["parts", "objects"] {
            let sum: f64 = list(&profile[lists]).iter().map(|one| number(&one["nanoseconds"])).sum();
            let off = (sum / whole - 1.0).abs();
            assert!(off < 0.05, "{}: the {lists} are {sum} ns together, the call took {whole} ns", name.display());
        }
        for time in list(&profile["parts"]) {
            let (all, faulting) = (number(&time["nanoseconds"]), number(&time["faulting"]));
            assert!(
                faulting <= all,
                "{}: page faults cost more than the part that they are in: {time}",
                name.display()
            );
        }
    }
}

/// Relocations by object and type, and lookups by object, as a recorder hears them.
#[derive(Default, PartialEq, Debug)]
struct Heard {
    relocations: BTreeMap<String, u64>,
    lookups: u64,
    stores: u64,
}

fn heard(events: &[Event]) -> BTreeMap<String, Heard> {
    let mut objects: BTreeMap<String, Heard> = BTreeMap::new();
    for event in events {
        let Some(tag) = &event.object else { continue };
        match &event.kind {
            Kind::Relocation { kind, .. } => {
                *objects.entry(tag.name.to_string()).or_default().relocations.entry(kind.clone()).or_default() += 1;
            }
            Kind::Lookup { .. } if event.stage == Stage::Relocate => {
                objects.entry(tag.name.to_string()).or_default().lookups += 1;
            }
            Kind::Store { .. } => objects.entry(tag.name.to_string()).or_default().stores += 1,
            _ => {}
        }
    }
    objects
}

#[test]
fn the_counts_are_those_of_the_whole_stream() {
    in_own_process("the_counts_are_those_of_the_whole_stream", || {
        let Some(sqlite) = library("libsqlite3.so.0") else { return };
        let profile = profile(&sqlite);
        let recorder = Arc::new(Recorder::with_capacity(1 << 16));
        // SAFETY: SQLite's constructors do nothing surprising.
        let opened = unsafe { Loader::new().probe(recorder.clone()).open(&sqlite) }.unwrap();
        let heard = heard(&recorder.take());
        assert!(heard.values().any(|object| object.lookups > 1000), "{heard:?}");
        for (name, object) in heard {
            let told = list(&profile["objects"]).iter().find(|o| o["object"] == *name).expect(&name);
            let counts = &told["counts"];
            let relocations: BTreeMap<String, u64> = serde_json::from_value(counts["relocations"].clone()).unwrap();
            assert_eq!(relocations, object.relocations, "{name}");
            assert_eq!(counts["stores"], object.stores, "{name}");
            // Two processes, two programs: which objects are asked differs, how often a symbol is asked for does not.
            assert_eq!(counts["lookups"], object.lookups, "{name}");
        }
        drop(opened);
    });
}

#[test]
fn relocations_by_type_are_those_in_the_files() {
    let Some(gtk) = library("libgtk-3.so.0") else { return };
    let profile = profile(&gtk);
    let mut seen = 0;
    for object in list(&profile["objects"]).iter().filter(|o| o["counts"]["mapped"] == true) {
        let path = object["object"].as_str().unwrap();
        let bytes = fs::read(path).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        let mut types: BTreeMap<String, u64> = BTreeMap::new();
        for entry in elf.dynrelas.iter().chain(elf.pltrelocs.iter()) {
            *types.entry(format!("R_{}", reloc::r_to_str(entry.r_type, EM_X86_64))).or_default() += 1;
        }
        let packed = packed(&elf, &bytes);
        if packed > 0 {
            *types.entry("R_X86_64_RELATIVE".into()).or_default() += packed;
        }
        let told: BTreeMap<String, u64> = serde_json::from_value(object["counts"]["relocations"].clone()).unwrap();
        assert_eq!(told, types, "{path}");
        seen += 1;
    }
    assert!(seen > 30, "only {seen} objects");
}

/// Relative relocations in DT_RELR: an even word is one place, an odd word a bitmap of the 63 words behind it.
fn packed(elf: &Elf, bytes: &[u8]) -> u64 {
    let section = elf.section_headers.iter().find(|s| elf.shdr_strtab.get_at(s.sh_name) == Some(".relr.dyn"));
    let table = section.and_then(|s| bytes.get(s.file_range()?)).unwrap_or_default();
    let words = table.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    words.map(|word| if word & 1 == 0 { 1 } else { u64::from((word >> 1).count_ones()) }).sum()
}

#[test]
fn pages_that_relocations_write_are_copied_and_no_more_than_there_are() {
    let Some(crypto) = library("libcrypto.so.3") else { return };
    let profile = profile(&crypto);
    let object = &list(&profile["objects"]).iter().find(|o| o["object"].is_string()).expect("libcrypto")["pages"];
    let [span, resident, copied] = ["span", "resident", "copied"].map(|key| object["ready"][key].as_u64().unwrap());
    // It has 21,000 relocations in data of more than 300 KiB.
    assert!(copied > 50, "{object}");
    assert!(copied <= resident && resident <= span, "{object}");
    assert!(object["published"]["copied"].as_u64().unwrap() <= copied, "{object}");
}

#[test]
fn the_time_of_a_constructor_is_its_own_objects_and_that_of_what_it_opens_is_not() {
    let inner = compile(
        "libslow.so",
        "#include <unistd.h>\n__attribute__((constructor)) static void slow(void) { usleep(20000); }\n",
    );
    let source = format!(
        "#include <dlfcn.h>\n__attribute__((constructor)) static void open(void) {{ dlopen(\"{}\", RTLD_NOW); }}\n",
        inner.display()
    );
    let outer = compile("libopens.so", &source);
    let profile = profile(outer.to_str().unwrap());
    let slow = part_of(&profile, "libslow.so", "constructors");
    assert!(slow >= 20e6, "a constructor that sleeps 20 ms took {slow} ns");
    let opens = part_of(&profile, "libopens.so", "constructors");
    assert!(opens < slow, "{opens} ns for a constructor that only opens another library");
    assert!(part_of(&profile, "libslow.so", "map") > 0.0, "what a constructor opens is a load like any other");
    assert!(number(&profile["silent"]) >= 20e6);
}

#[test]
fn ld_so_counts_as_many_lookups_and_relative_relocations() {
    let Some(crypto) = library("libcrypto.so.3") else { return };
    let profile = profile(&crypto);
    // ld.so counts for all objects that it loads.
    let count = |keys: &[&str]| -> u64 {
        let counts = list(&profile["objects"]).iter().filter(|o| o["object"].is_string()).map(|o| &o["counts"]);
        counts.map(|counts| keys.iter().fold(counts, |at, key| &at[key]).as_u64().unwrap_or(0)).sum()
    };
    let (lookups, reused) = (count(&["lookups"]), count(&["reused"]));
    let glibc = &profile["glibc"];
    // The process that asks ld.so looks up a few symbols itself.
    let theirs = glibc["lookups"].as_u64().expect("a number from ld.so");
    assert!(theirs.abs_diff(lookups) < 20, "ld.so looks up {theirs} symbols, dlscope {lookups}");
    assert!(glibc["reused"].as_u64().unwrap().abs_diff(reused) < 20, "{glibc}, reused {reused}");
    assert_eq!(glibc["relative"], count(&["relocations", "R_X86_64_RELATIVE"]), "{glibc}");
    assert!(number(&glibc["relocation"]) > 0.0 && number(&glibc["dlopen"]) > 0.0, "{glibc}");
}

#[test]
fn the_picture_is_well_formed_and_names_every_object() {
    let Some(xml) = common::newest(&["libxml2.so.*"]) else { return };
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("profile.svg");
    let output = dlscope(&["profile", xml, "--runs", "2", "--format", "json", "-o", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let profile: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let picture = roxmltree::Document::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(picture.root_element().tag_name().name(), "svg");
    let titles: Vec<&str> =
        picture.descendants().filter(|n| n.has_tag_name((SVG, "title"))).filter_map(|n| n.text()).collect();
    for object in list(&profile["objects"]).iter().filter_map(|o| o["object"].as_str()) {
        assert!(titles.iter().any(|title| title.starts_with(object)), "{object} is not in the picture: {titles:?}");
    }
    let bars = picture.descendants().filter(|n| n.has_tag_name((SVG, "rect")));
    assert!(bars.filter_map(|bar| bar.attribute("width")?.parse::<f64>().ok()).all(|width| width >= 0.0));
}

const SVG: &str = "http://www.w3.org/2000/svg";

#[test]
fn people_get_tables_that_name_stages_objects_types_and_symbols() {
    let Some(sqlite) = library("libsqlite3.so.0") else { return };
    let output = dlscope(&["profile", &sqlite, "--runs", "2"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["search", "lookup", "constructors", "sum ", "nobody watching", "libm.so.6", "R_X86_64_RELATIVE"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    for part in ["sqlite3_", "copied because they were written", "LD_DEBUG=statistics", "number of relocations"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
}

#[test]
fn a_library_that_cannot_be_loaded_or_is_here_already_has_no_profile() {
    for (name, why) in [("libnobody-has-it.so", "cannot be found"), ("libc.so.6", "from the start")] {
        let output = dlscope(&["profile", name]);
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.contains(why), "{name}: {complaint}");
    }
    let missing = fixtures::unpack("missing-symbol", "profile");
    let output = dlscope(&["profile", missing.to_str().unwrap(), "--runs", "2"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// A probe that hears as much as it asks for.
struct Coarse(Detail, Recorder);

impl Probe for Coarse {
    fn event(&self, event: &Event) {
        self.1.event(event);
    }

    fn detail(&self) -> Detail {
        self.0
    }
}

/// The short way through relocation, which is taken where nobody listens to every event, asks as often as the long one.
#[test]
fn symbols_are_asked_for_as_often_whoever_listens() {
    in_own_process("symbols_are_asked_for_as_often_whoever_listens", || {
        // C++: symbols of several kinds of relocations, and unique ones, which go the long way, among plain ones.
        let Some(path) = library("libstdc++.so.6") else { return };
        let asked = [Detail::Stages, Detail::Everything].map(|detail| {
            let probe = Arc::new(Coarse(detail, Recorder::with_capacity(1 << 16)));
            Loader::new().probe(probe.clone()).prepare(&path).unwrap();
            let relocated = probe.1.take().into_iter().filter_map(|e| match e.kind {
                Kind::Relocated { pass: 1, symbols, .. } => Some(symbols),
                _ => None,
            });
            relocated.collect::<Vec<_>>()
        });
        assert!(asked[0].iter().sum::<u64>() > 1000, "{asked:?}");
        assert_eq!(asked[0], asked[1]);
    });
}

#[test]
fn who_wants_the_stages_only_hears_of_no_single_entry() {
    in_own_process("who_wants_the_stages_only_hears_of_no_single_entry", || {
        let Some(sqlite) = library("libsqlite3.so.0") else { return };
        for detail in [Detail::Stages, Detail::Lookups] {
            let probe = Arc::new(Coarse(detail, Recorder::with_capacity(1 << 10)));
            // SAFETY: SQLite's constructors do nothing surprising.
            let opened = unsafe { Loader::new().probe(probe.clone()).open(&sqlite) }.unwrap();
            let events = probe.1.take();
            let single = ["relocation", "store", "lookup", "dynamic_entry", "program_header", "changed", "needed"];
            let told: Vec<_> = events.iter().map(|e| e.kind.name()).filter(|name| single.contains(name)).collect();
            assert!(told.is_empty(), "{detail:?}: {told:?}");
            assert!(events.len() < 200, "{} events for two objects", events.len());
            let relocated = events.iter().filter_map(|e| match &e.kind {
                Kind::Relocated { pass: 1, symbols, looking_up } => Some((*symbols, looking_up.is_some())),
                _ => None,
            });
            let relocated: Vec<_> = relocated.collect();
            assert_eq!(relocated.len(), 2, "SQLite and libm: {relocated:?}");
            assert!(relocated.iter().all(|(symbols, timed)| *symbols > 0 && *timed == (detail == Detail::Lookups)));
            drop(opened);
        }
    });
}
