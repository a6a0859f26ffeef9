//! From a program that is not position-independent: its copy of `stdout` (R_X86_64_COPY) is everybody's, and the
//! entry for `puts` in its PLT is the function's address for everyone. Debian's `python3.11` is such a program.

mod fixtures;

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// The same questions as the fixture's own host asks the system's loader.
const HOST: &str = r#"
#include <stdio.h>
#include <errno.h>
extern void *dlscope_open(const char *), *dlscope_symbol(void *, const char *);
extern void dlscope_close(void *);
extern const char *dlscope_error(void);
int main(int argc, char **argv) {
    void *one = dlscope_open(argv[1]), *two = dlscope_open(argv[2]);
    if (!one || !two) { puts(dlscope_error()); return 1; }
    int (*is_stdout)(FILE **) = dlscope_symbol(one, "is_stdout");
    int (*is_puts)(int (*)(const char *)) = dlscope_symbol(one, "is_puts");
    int (*print)(const char *) = dlscope_symbol(one, "print");
    int (*bad_close)(void) = dlscope_symbol(two, "errno_after_bad_close");
    printf("stdout is one variable: %d\n", is_stdout(&stdout));
    printf("puts has one address: %d\n", is_puts(puts));
    print("printed by the library\n");
    int seen = bad_close();
    printf("errno is one variable: %d\n", seen == EBADF && errno == EBADF);
    dlscope_close(two);
    dlscope_close(one);
    return 0;
}
"#;

#[test]
fn a_program_that_is_not_position_independent_shares_its_variables_and_functions() {
    // `cargo test` builds examples beside the command before it runs tests; `cargo test --test non_pie` does not.
    let built = Path::new(env!("CARGO_BIN_EXE_dlscope")).with_file_name("examples");
    if !built.join("libfrom_c.a").exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--example", "from_c"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(built.parent().unwrap().ends_with("release").then_some("--release"));
        assert!(cargo.status().unwrap().success());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("non_pie");
    fs::create_dir_all(&folder).unwrap();
    let (source, host) = (folder.join("host.c"), folder.join("host"));
    fs::write(&source, HOST).unwrap();
    let mut compiler = Command::new(env::var("CC").unwrap_or_else(|_| "cc".into()));
    compiler.args(["-w", "-fno-pic", "-no-pie", "-o"]).arg(&host).arg(&source);
    compiler.arg(format!("-L{}", built.display())).args(["-lfrom_c", "-lgcc_s", "-lm"]);
    let output = compiler.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let libraries = ["non-pie", "host-symbols"].map(|name| fixtures::unpack(name, "non_pie"));
    let output = Command::new(&host).args(libraries).output().unwrap();
    let (printed, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let expected =
        "stdout is one variable: 1\nputs has one address: 1\nprinted by the library\nerrno is one variable: 1\n";
    assert_eq!(printed, expected, "{}: {complaint}", output.status);
    assert!(output.status.success());
}
