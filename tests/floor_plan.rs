//! The order of the house: no file imports one that stands above it. The order is the list in the crate docs of
//! `src/lib.rs`, under "The floors".

mod house;

use std::fs;
use std::path::Path;

use house::{Floors, Import, Sources, circles, imports};

fn read(folder: &Path, root: &Path, into: &mut Sources) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        if path.is_dir() && name != "bin" {
            read(&path, root, into);
        } else if name.ends_with(".rs") {
            into.insert(name.into(), fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn no_file_imports_one_that_stands_above_it() {
    let mut sources = Sources::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read(&root, &root, &mut sources);
    let imports = imports(&sources).unwrap_or_else(|error| panic!("{error}"));

    for (folders, among) in circles(&imports) {
        println!("a circle of folders, which is no fault if the floors are right: {folders:?}");
        for Import { from, line, path, .. } in among {
            println!("  src/{from}:{line}: {path}");
        }
    }
    let floors = Floors::read(&sources["lib.rs"]).unwrap_or_else(|error| panic!("{error}"));
    let faults = [floors.faults(&sources), floors.upward(&imports)].concat();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

// ── the reader itself ────────────────────────────────────────────────────────────────────────────────────

fn sources(files: &[(&str, &str)]) -> Sources {
    files.iter().map(|(file, text)| (file.to_string(), text.to_string())).collect()
}

/// What `text`, as the file `link/scope.rs`, imports: line, path and file.
fn imported(text: &str) -> Vec<(usize, String, String)> {
    let lib = "pub use error::{Error, Result as Outcome}; pub use link::scope as view;";
    let files =
        [("lib.rs", lib), ("link/scope.rs", text), ("error.rs", ""), ("link/mod.rs", ""), ("link/scope/a.rs", "")];
    let more =
        [("elf.rs", ""), ("elf/addr.rs", "#[macro_export] macro_rules! number { () => {} }"), ("elf/image.rs", "")];
    let imports = imports(&sources(&[&files[..], &more[..]].concat())).unwrap();
    assert!(imports.iter().all(|import| import.from == "link/scope.rs"));
    imports.into_iter().map(|import| (import.line, import.path, import.to)).collect()
}

#[track_caller]
fn assert_imported(text: &str, expected: &[(usize, &str, &str)]) {
    let expected: Vec<_> =
        expected.iter().map(|(line, path, file)| (*line, path.to_string(), file.to_string())).collect();
    assert_eq!(imported(text), expected);
}

#[test]
fn a_nested_use_is_read_as_all_that_it_names() {
    let text = "use crate::{error, elf::{self, addr::{Addr,\n Bias as B}, image::*}};\nuse std::{fmt, crate_like::x};";
    let expected = [
        (1, "error", "error.rs"),
        (1, "elf", "elf.rs"),
        (1, "elf::addr::Addr", "elf/addr.rs"),
        (2, "elf::addr::Bias", "elf/addr.rs"),
        (2, "elf::image", "elf/image.rs"),
    ];
    assert_imported(text, &expected);
}

#[test]
fn paths_in_code_and_in_macro_calls_are_imports() {
    let text = "fn f() { let a = crate::elf::addr::Addr::<u8>::new();\n assert!(g(crate::error::check::<u8>()));\n }";
    assert_imported(text, &[(1, "elf::addr::Addr", "elf/addr.rs"), (2, "error::check", "error.rs")]);
    assert_imported("macro_rules! m { () => { $crate::elf::f() } }", &[(1, "elf::f", "elf.rs")]);
}

#[test]
fn comments_strings_and_tests_import_nothing() {
    let text = "//! [`x`](crate::elf)\n// crate::elf::f()\n/* use crate::elf; */\n/// crate::elf\nfn f() -> &str { \"crate::elf\" }";
    assert_imported(text, &[]);
    assert_imported(
        "#[cfg(test)]\nmod tests { use crate::elf::addr; }\nuse crate::error;",
        &[(3, "error", "error.rs")],
    );
    assert_imported("#[cfg(test)]\n#[allow(x)]\nuse crate::elf::addr;\nuse crate::error;", &[(4, "error", "error.rs")]);
    assert_imported("pub(in crate::link) fn f() {}", &[]);
}

#[test]
fn super_self_and_child_modules_are_followed() {
    assert_imported("use super::Directory;", &[(1, "link::Directory", "link/mod.rs")]);
    assert_imported("use super::super::elf::addr;", &[(1, "elf::addr", "elf/addr.rs")]);
    assert_imported(
        "mod a;\nuse a::b;\nfn f() { self::a::g(); ::a::h(); }",
        &[(2, "link::scope::a::b", "link/scope/a.rs"), (3, "link::scope::a::g", "link/scope/a.rs")],
    );
    assert_imported("mod inline { use super::f; use super::super::X; }", &[(1, "link::X", "link/mod.rs")]);
}

#[test]
fn what_lib_re_exports_is_of_the_file_that_it_comes_from() {
    assert_imported("use crate::{Error, Outcome};", &[(1, "Error", "error.rs"), (1, "Outcome", "error.rs")]);
    assert_imported("use crate::view::f; crate::number!();", &[(1, "number", "elf/addr.rs")]);
    let lost = sources(&[("lib.rs", ""), ("a.rs", "use crate::nowhere::x;")]);
    assert_eq!(imports(&lost).unwrap_err(), "src/a.rs:1: nowhere::x is in no file that lib.rs leads to\n");
}

const HOUSE: &str = "//! A crate.\n//!\n//! # The floors\n//!\n//! ```text\n//! roof.rs, attic/   what is seen\n\
                     //! elf/              what is in a file\n//! elf/addr.rs       numbers\n//! ```\nmod elf;";

#[test]
fn the_floors_are_read_from_the_crate_docs() {
    let floors = Floors::read(HOUSE).unwrap();
    let read: Vec<_> = floors.0.iter().map(|floor| (floor.paths.join(" "), &*floor.about)).collect();
    let expected = [("roof.rs attic/", "what is seen"), ("elf/", "what is in a file"), ("elf/addr.rs", "numbers")];
    assert_eq!(read, expected.map(|(paths, about)| (paths.to_string(), about)));
    assert_eq!(Floors::read("//! # The map").unwrap_err(), "lib.rs has no line `//! # The floors`");
    assert!(Floors::read(&HOUSE.replace("//! ```\n", "")).unwrap_err().contains("no end"));
    assert!(Floors::read(&HOUSE.replace("  what is seen", "")).unwrap_err().contains("`roof.rs, attic/`"));
}

#[test]
fn each_file_is_on_one_floor_and_each_path_is_there() {
    let floors = Floors::read(HOUSE).unwrap();
    let whole = sources(&[("lib.rs", ""), ("roof.rs", ""), ("attic.rs", ""), ("elf/mod.rs", ""), ("elf/addr.rs", "")]);
    assert_eq!(floors.faults(&whole), [""; 0]);
    let other = sources(&[("roof.rs", ""), ("attic/box.rs", ""), ("elf/addr.rs", ""), ("cellar.rs", "")]);
    assert_eq!(
        floors.faults(&other),
        [
            "src/cellar.rs is on no floor",
            "elf/ is on a floor, but there is no such file or no file left in that folder",
        ]
    );
    let twice = Floors::read(&HOUSE.replace("attic/", "elf/")).unwrap();
    assert!(twice.faults(&whole).contains(&"elf/ is named twice".into()));
}

#[test]
fn an_import_that_goes_up_is_named_with_both_floors() {
    let floors = Floors::read(HOUSE).unwrap();
    let house = sources(&[
        ("lib.rs", HOUSE),
        ("roof.rs", "use crate::elf::image::Image; use crate::attic::x;"),
        ("attic.rs", "use crate::roof;"),
        ("elf.rs", "use crate::elf::addr::Addr;"),
        ("elf/image.rs", "use super::addr::Addr;\nuse crate::roof::Roof;"),
        ("elf/addr.rs", "use super::image;"),
    ]);
    assert_eq!(
        floors.upward(&imports(&house).unwrap()),
        [
            "src/elf/addr.rs:1: elf::image is in src/elf/image.rs, floor 2 (what is in a file), above floor 1 (numbers)",
            "src/elf/image.rs:2: roof::Roof is in src/roof.rs, floor 3 (what is seen), above floor 2 (what is in a file)",
        ]
    );
}

#[test]
fn a_circle_of_folders_is_found() {
    let house = sources(&[
        ("lib.rs", ""),
        ("elf/a.rs", "use crate::link::b; use super::c;"),
        ("elf/c.rs", "use super::a;"),
        ("link/b.rs", "use crate::host;"),
        ("host.rs", "use crate::elf::c; use crate::ground;"),
        ("ground.rs", ""),
        ("roof.rs", "use crate::elf::a;"),
    ]);
    let imports = imports(&house).unwrap();
    let found = circles(&imports);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, ["elf", "host", "link"].into());
    assert_eq!(found[0].1.iter().map(|import| &*import.from).collect::<Vec<_>>(), ["elf/a.rs", "host.rs", "link/b.rs"]);
    assert_eq!(circles(&imports[..1]), []);
}
