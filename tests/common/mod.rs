//! Tests that load libraries run in processes of their own: what a process has loaded, its threads and its
//! environment are the same for all tests in it.

#![allow(dead_code, reason = "each test uses a part")]

use std::process::{Command, Output};
use std::{env, fs};

const CHILD: &str = "DLSCOPE_TEST_CHILD";

/// Runs `body` in a process of its own, which runs just the test `name`; panics if that fails.
pub fn in_own_process(name: &str, body: impl FnOnce()) {
    in_own_process_with(name, |_| {}, body);
}

/// The same, with a change to the command that starts the process (its environment, …).
pub fn in_own_process_with(name: &str, change: impl FnOnce(&mut Command), body: impl FnOnce()) {
    if env::var(CHILD).is_ok_and(|child| child == name) {
        return body();
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, name);
    // One heap, which `maps` leaves out: the heaps of threads look like any other mapping.
    command.env("MALLOC_ARENA_MAX", "1");
    change(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name}: {}\n{}", output.status, text(&output));
    assert!(text(&output).contains("1 passed"), "{name} ran no test:\n{}", text(&output));
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A library of the system that a test needs: where it lies. `.ci/run` installs them all.
pub fn library(name: &str) -> Option<String> {
    let here = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"];
    let found = here.iter().map(|dir| format!("{dir}/{name}")).find(|path| fs::exists(path).unwrap_or(false));
    if found.is_none() {
        assert!(env::var_os("CI").is_none(), "{name} is not installed");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// `/proc/self/maps` without the addresses that an allocator moves: what a failed load must leave unchanged.
pub fn maps() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/maps").unwrap();
    text.lines().filter(|line| !line.contains("[heap]") && !line.contains("[stack]")).map(Into::into).collect()
}

/// The open descriptors, by number and target.
pub fn descriptors() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        // The directory being read is open itself.
        if let Ok(target) = fs::read_link(&path) {
            let target = target.display().to_string();
            if !target.contains("/proc/") {
                found.push(format!("{} {target}", path.display()));
            }
        }
    }
    found.sort();
    found
}
