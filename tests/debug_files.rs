//! The lines of C of a library whose debug information lies in a file of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

const SOURCE: &str = "#include <stdio.h>\nint hello(void)\n{\n    return puts(\"hello\");\n}\n";

fn run(folder: &Path, command: &str) {
    let status = Command::new("sh").args(["-ec", command]).current_dir(folder).status().unwrap();
    assert!(status.success(), "{command}");
}

/// What `trace` says.
fn trace(folder: &Path) -> String {
    let mut dlscope = Command::new(env!("CARGO_BIN_EXE_dlscope"));
    dlscope.args(["trace", "./libhello.so", "--no-run", "--all"]).current_dir(folder);
    let output = dlscope.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn trace_shows_the_line_of_c_by_a_separate_debug_file_that_belongs_to_the_library() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("hello.c"), SOURCE).unwrap();
    run(
        folder,
        "cc -g -shared -fPIC -o libhello.so hello.c
         objcopy --only-keep-debug libhello.so libhello.debug
         strip libhello.so",
    );
    let line = "hello.c:4  return puts(\"hello\");";
    let bare = trace(folder);
    assert!(bare.contains("puts") && !bare.contains(line), "nothing says where the debug file is: {bare}");
    run(folder, "objcopy --add-gnu-debuglink=libhello.debug libhello.so");
    assert!(trace(folder).contains(line), "{}", trace(folder));
    assert!(trace(folder).contains("in hello (hello.c:4)"), "{}", trace(folder));
    run(folder, "mkdir .debug; mv libhello.debug .debug");
    assert!(trace(folder).contains(line), "{}", trace(folder));
    run(folder, "printf x >> .debug/libhello.debug");
    assert!(!trace(folder).contains(line), "the debug file is another one now: {}", trace(folder));
}
