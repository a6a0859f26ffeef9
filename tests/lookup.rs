//! Symbols by name: what a library's index answers is what its objects say when they are asked one after the other.
//!
//! Where somebody listens, each object is asked, so that each can be seen to answer. So the same library is loaded
//! twice, once with a probe and once without, and both are asked for the same names.

mod common;
mod fixtures;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{in_own_process, library};
use dlscope::elf::symbol::SymbolType;
use dlscope::{Event, Export, Library, Loader, Probe, capi};

/// Listens, and keeps nothing.
struct Listener;

impl Probe for Listener {
    fn event(&self, _: &Event) {}
}

/// One library, loaded twice.
struct Pair {
    loader: Loader,
    /// Has an index, once it was asked often enough.
    silent: Library,
    /// Asks its objects.
    watched: Library,
}

impl Pair {
    fn open(path: &Path) -> Pair {
        // SAFETY: libraries of the system and of this project, whose constructors any program may run.
        let open = |loader: Loader| unsafe { loader.open(path) }.unwrap_or_else(|e| panic!("{e}"));
        let loader = Loader::new();
        let watched = open(Loader::new().probe(Arc::new(Listener)));
        let pair = Pair { silent: open(loader.clone()), watched, loader };
        // More than it takes: each miss asks every object, and these have fewer exports than are asked in all.
        for n in 0..20_000 {
            let name = format!("not_there_{n}");
            // SAFETY: the symbol is not used.
            assert!(unsafe { pair.silent.find::<*const ()>(&name) }.is_none(), "{name}");
        }
        pair
    }

    /// Both must find the name at the same place, or not at all.
    fn ask(&self, name: &str, thread_local: bool) {
        // SAFETY: the symbols are not used.
        let (found, asked) = unsafe { (self.silent.find(name), self.watched.find(name)) };
        let (found, asked) = (place(&self.silent, found), place(&self.watched, asked));
        if thread_local {
            // Each copy has its own block, wherever that is.
            return assert_eq!(found.is_some(), asked.is_some(), "{name} in {:?}", self.silent);
        }
        assert_eq!(found, asked, "{name} in {:?}", self.silent);
        // SAFETY: as above.
        let got = unsafe { self.silent.get::<*const ()>(name) }.ok();
        assert_eq!(place(&self.silent, got), asked, "get of {name} in {:?}", self.silent);
    }

    fn ask_version(&self, name: &str, version: &str) {
        // SAFETY: the symbols are not used.
        let [found, asked] = [&self.silent, &self.watched]
            .map(|library| unsafe { place(library, library.get_version::<*const ()>(name, version).ok()) });
        assert_eq!(found, asked, "{name}, version {version}, in {:?}", self.silent);
    }
}

/// The object that an address lies in, and how far behind its load bias.
fn place(library: &Library, symbol: Option<dlscope::Symbol<'_, *const ()>>) -> Option<(PathBuf, u64)> {
    let address = symbol?.as_raw_ptr().addr() as u64;
    let below = library.objects().into_iter().filter(|o| o.load_bias.0 <= address);
    let owner = below.max_by_key(|o| o.load_bias.0);
    Some(owner.map_or((PathBuf::new(), address), |o| (o.path, address - o.load_bias.0)))
}

/// Names that are nearly `name`; the last two have its hash.
fn damaged(name: &str) -> Vec<String> {
    let mut names = vec![format!("{name}x"), name[..name.len() - 1].into(), format!("x{}", &name[1..])];
    let bytes = name.as_bytes();
    for at in [0, name.len() / 2] {
        if let Some(&[a, b]) = bytes.get(at..at + 2)
            && a < b'z'
            && b >= 33 + 33
        {
            // 33 * (a + 1) + (b - 33) = 33 * a + b
            let mut other = bytes.to_vec();
            (other[at], other[at + 1]) = (a + 1, b - 33);
            names.extend(String::from_utf8(other));
        }
    }
    names
}

/// Every export of the library and of those that it needs, by name, by version, and damaged. How many names.
fn every_name_agrees(path: &Path, of_host_too: bool) -> usize {
    let pair = Pair::open(path);
    let mut names: BTreeMap<String, bool> = BTreeMap::new();
    let mut versions = BTreeSet::new();
    for object in pair.silent.objects().iter().filter(|o| of_host_too || !o.of_host) {
        // SAFETY: it is loaded already.
        let object = unsafe { pair.loader.open(&object.path) }.unwrap_or_else(|e| panic!("{e}"));
        for export in object.symbols() {
            *names.entry(export.name.clone()).or_default() |= export.kind == SymbolType::ThreadLocal;
            versions.extend(export.version.map(|version| (export.name, version)));
        }
    }
    for (name, thread_local) in names.iter().filter(|(name, _)| name.len() > 1) {
        pair.ask(name, *thread_local);
        damaged(name).iter().filter(|name| !names.contains_key(*name)).for_each(|name| pair.ask(name, false));
    }
    for (name, version) in versions.iter().filter(|(name, _)| !names[name]) {
        pair.ask_version(name, version);
    }
    names.len()
}

fn real_library_agrees(test: &str, name: &str, least: usize) {
    let Some(path) = library(name) else { return };
    in_own_process(test, || {
        let count = every_name_agrees(Path::new(&path), true);
        assert!(count >= least, "only {count} names in {name} and what it needs");
    });
}

#[test]
fn libsqlite3_answers_from_its_index_as_object_by_object() {
    real_library_agrees("libsqlite3_answers_from_its_index_as_object_by_object", "libsqlite3.so.0", 3000);
}

#[test]
fn libcrypto_answers_from_its_index_as_object_by_object() {
    real_library_agrees("libcrypto_answers_from_its_index_as_object_by_object", "libcrypto.so.3", 7000);
}

#[test]
fn libstdcxx_answers_from_its_index_as_object_by_object() {
    real_library_agrees("libstdcxx_answers_from_its_index_as_object_by_object", "libstdc++.so.6", 7000);
}

#[test]
fn libxml2_and_its_six_dependencies_answer_from_an_index_as_object_by_object() {
    let test = "libxml2_and_its_six_dependencies_answer_from_an_index_as_object_by_object";
    if let Some(xml) = common::newest(&["libxml2.so.*"]) {
        real_library_agrees(test, xml, 4000);
    }
}

/// `dlsym` with a handle, as a C program asks, before and after it has an index; and after the library came again.
#[test]
fn dlsym_with_a_handle_answers_for_every_export_of_libsqlite3() {
    let Some(path) = library("libsqlite3.so.0") else { return };
    in_own_process("dlsym_with_a_handle_answers_for_every_export_of_libsqlite3", || {
        let prepared = Loader::new().prepare(&path).unwrap();
        let offset = |export: Export| (export.name, export.address.0 - prepared.load_bias().0);
        let exports: Vec<_> = prepared.symbols().map(offset).collect();
        drop(prepared);
        let path = CString::new(path).unwrap();
        for _ in 0..3 {
            // SAFETY: SQLite's constructors do nothing surprising; the handle is open, and points at a `link_map`.
            let (handle, bias) = unsafe {
                let handle = capi::dlopen(path.as_ptr(), 2);
                assert!(!handle.is_null(), "it loads");
                (handle, *handle.cast::<u64>())
            };
            let dlsym = |name: &str| {
                let name = CString::new(name).unwrap();
                // SAFETY: an open handle and a C string; what `dlerror` gives is a C string or null.
                unsafe {
                    let found = capi::dlsym(handle, name.as_ptr()).addr() as u64;
                    let error = capi::dlerror();
                    let error = (!error.is_null()).then(|| CStr::from_ptr(error).to_string_lossy().into_owned());
                    (found, error)
                }
            };
            for round in 0..6 {
                for (name, offset) in &exports {
                    assert_eq!(dlsym(name), (bias + offset, None), "{name}, round {round}");
                    let missing = format!("{name}_is_absent");
                    let text = format!("{}: undefined symbol: {missing}", path.to_str().unwrap());
                    assert_eq!(dlsym(&missing), (0, Some(text)), "round {round}");
                }
            }
            // SAFETY: opened once, and nothing of it is used any more.
            assert_eq!(unsafe { capi::dlclose(handle) }, 0);
            assert!(!common::maps().iter().any(|line| line.contains("libsqlite3")), "no index keeps it");
            let (found, error) = dlsym("sqlite3_open");
            assert_eq!((found, error.as_deref()), (0, Some("invalid handle")), "after it was closed");
        }
    });
}

#[test]
fn every_fixture_that_loads_answers_from_its_index_as_object_by_object() {
    in_own_process("every_fixture_that_loads_answers_from_its_index_as_object_by_object", || {
        let loads = |f: &&fixtures::Fixture| {
            f.refuse.is_none() && f.policy.is_none() && f.crash.is_none() && f.later.is_none() && f.host.is_none()
        };
        let mut count = 0;
        for fixture in fixtures::FIXTURES.iter().filter(loads) {
            let path = fixtures::unpack(fixture.name, "lookup");
            // SAFETY: a fixture of this project.
            if unsafe { Loader::new().open(&path) }.is_ok() {
                every_name_agrees(&path, false);
                count += 1;
            }
        }
        assert!(count >= 40, "only {count} fixtures were asked");
    });
}
