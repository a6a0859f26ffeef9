//! Programs with dlscope for their `dlopen`, by `dlscope exec`, and the same without it.

#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The preload library of this build, which `cargo test` builds with the examples.
pub fn library() -> PathBuf {
    let dlscope = Path::new(env!("CARGO_BIN_EXE_dlscope"));
    let library = dlscope.parent().unwrap().join("examples/libdlscope_preload.so");
    assert!(
        library.exists(),
        "{} is built by `cargo test`, or by `cargo build --example dlscope_preload`",
        library.display()
    );
    library
}

/// Runs a command as it is.
pub fn plain(command: &[&str], change: impl FnOnce(&mut Command)) -> Output {
    let mut plain = Command::new("timeout");
    plain.arg("300").args(command).env("HOME", "/nonexistent");
    change(&mut plain);
    plain.output().unwrap()
}

/// Runs it on dlscope.
pub fn preloaded(command: &[&str], change: impl FnOnce(&mut Command)) -> Output {
    let mut exec = Command::new(env!("CARGO_BIN_EXE_dlscope"));
    exec.arg("exec").arg("--preload").arg(library()).args(["--", "timeout", "300"]).args(command);
    exec.env("HOME", "/nonexistent");
    change(&mut exec);
    exec.output().unwrap()
}

/// Status and output.
pub fn text(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
