//! Every shared object of the machine, by both loaders: the measure of the loader.
//!
//! `DLSCOPE_BLESS=1 cargo test --release --test corpus` also writes `docs/compatibility.md`, from the distribution's own
//! folder. `.ci/run` installs the packages that make the corpus worth its name.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What may differ, and why: the end of the path, the verdict, and a part of what is said.
const KNOWN: &[(&str, &str, &str)] = &[
    // glibc maps ld.so a second time, because it does not know the file of the one that the kernel mapped. A second
    // dynamic linker helps nobody: dlscope uses the first.
    ("ld-linux-x86-64.so.2", "differ", "second copy"),
    // Thread-local storage that dlscope does not do yet.
    ("", "only-system", "thread-local"),
];

#[test]
fn every_library_of_the_machine_is_loaded_as_the_system_loads_it() {
    let output = compare(&["--format", "json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let results: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(results.len() > 50, "{} libraries: {}", results.len(), String::from_utf8_lossy(&output.stderr));

    let bad =
        |result: &&Value| ["differ", "only-system", "crash", "timeout"].iter().any(|bad| result["verdict"] == *bad);
    let (known, unknown): (Vec<_>, Vec<_>) = results.iter().filter(bad).partition(|result| is_known(result));
    let agree = results.iter().filter(|result| result["verdict"] == "agree").count();
    println!("{} libraries: {agree} agree, {} differ for a known reason", results.len(), known.len());
    let lines: String = unknown.iter().map(|result| line(result)).collect();
    assert!(unknown.is_empty(), "{} of {} libraries:\n{lines}", unknown.len(), results.len());
}

#[test]
fn docs_compatibility_is_written_on_demand() {
    if std::env::var_os("DLSCOPE_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");
        // What was written by hand stays: the programs, up to the next heading.
        let before = std::fs::read_to_string(path).unwrap();
        let (_, programs) = before.split_once("## Programs").unwrap();
        let programs = programs.split("\n## ").next().unwrap();
        let output = compare(&["/lib/x86_64-linux-gnu", "-o", path]);
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let made = std::fs::read_to_string(path).unwrap();
        let (head, tail) = made.split_once("\n## ").unwrap();
        std::fs::write(path, format!("{head}\n## Programs{programs}\n## {tail}")).unwrap();
    }
}

fn compare(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlscope"));
    command.args(["compare", "--corpus"]).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// One library with the first thing that is wrong with it.
fn line(result: &Value) -> String {
    let why = result["details"].get(0).unwrap_or(&result["reasons"]);
    format!("{} {}: {why}\n", result["verdict"], result["library"])
}

fn is_known(result: &Value) -> bool {
    let said = |text: &Value, part: &str| text.as_str().is_some_and(|text| text.contains(part));
    KNOWN.iter().any(|(library, verdict, part)| {
        let details = result["details"].as_array().unwrap();
        let all_details = !details.is_empty() && details.iter().all(|detail| said(&detail["about"], part));
        result["library"].as_str().unwrap().ends_with(library)
            && result["verdict"] == *verdict
            && (all_details || said(&result["reasons"]["dlscope"], part))
    })
}
