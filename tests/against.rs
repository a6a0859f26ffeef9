//! `dlscope trace A --against B`: two loads, and only what differs.

use std::process::{Command, Output};

fn against(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlscope"));
    command.arg("trace").args(arguments).env_remove("LD_LIBRARY_PATH").output().unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = against(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of one side, without the name of the stage.
fn of<'t>(side: &str, text: &'t str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.split_once(&format!(" {side}  "))).map(|(_, told)| told).collect()
}

#[test]
fn lazy_binding_leaves_slots_for_the_first_call() {
    let text = text(&["plt", "--against", "plt --lazy"]);
    let (now, lazy) = (of("A", &text), of("B", &text));
    assert!(now.contains(&"the library: the slot of labs is filled in (R_X86_64_JUMP_SLOT)"), "{text}");
    assert!(lazy.contains(&"the library: the slot of labs is left for its first call"), "{text}");
    assert!(lazy.contains(&"the library: labs is called for the first time"), "{text}");
    // What is the same on both sides is not told.
    assert!(!text.contains("RELATIVE") && !text.contains("PT_LOAD"), "{text}");
}

#[test]
fn one_search_path_is_for_dependencies_of_dependencies_and_the_other_is_not() {
    let text = text(&["rpath", "--against", "runpath"]);
    assert!(of("A", &text).contains(&"libfar.so is taken (RPATH of the library)"), "{text}");
    let fails = "the load fails: libfar.so: cannot be found, and libnear.so needs it";
    assert!(of("B", &text).contains(&fails), "{text}");
    // All that the other load still does is one line.
    assert!(of("A", &text).contains(&"the load goes on") && !text.contains("order of constructors"), "{text}");
}

#[test]
fn a_library_that_looks_in_itself_first_gets_its_own_definition() {
    let text = text(&["--fixture", "first-wins", "--against", "symbolic"]);
    assert!(of("B", &text).contains(&"libselfish.so: DT_SYMBOLIC"), "{text}");
    assert!(of("A", &text).contains(&"asked_from_right() = \"left\""), "{text}");
    assert!(of("B", &text).contains(&"selfish_number() = 2"), "{text}");
}

#[test]
fn the_same_load_twice_differs_in_nothing() {
    for same in ["add", "diamond", "tls-dynamic"] {
        let text = text(&[same, "--against", same]);
        assert!(text.ends_with("Nothing differs, addresses aside.\n"), "{text}");
    }
}

#[test]
fn programs_get_json_and_a_library_that_does_not_exist_is_told() {
    let output = against(&["plt", "--against", "plt --lazy", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let stages: Vec<_> = told.as_array().unwrap().iter().map(|d| d["stage"].as_str().unwrap()).collect();
    assert!(stages.contains(&"8 relocate") && stages.contains(&"bind"), "{told}");
    let output = against(&["plt", "--against", "/no/such/library.so"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("the load fails:"), "{text}");
    let output = against(&["plt", "--against", "plt --nonsense"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--nonsense"), "{output:?}");
}
