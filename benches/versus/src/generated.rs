//! Libraries that are made for the run. They are kept in the target folder and made once.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A library with one function that needs libc, as small as a compiler makes it.
///
/// # Errors
/// When it cannot be compiled.
pub fn one_function(folder: &Path) -> Result<String, String> {
    let library = folder.join("libone.so");
    if !library.exists() {
        let source = folder.join("one.c");
        write(&source, "int one(void) { return 1; }\n")?;
        execute(Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source))?;
    }
    Ok(text(&library))
}

/// A library that needs `library` and notes the time when all constructors of that ran, and when the first begins:
/// that is done by another one, which asks to be first (`DF_1_INITFIRST`).
///
/// # Errors
/// When one cannot be compiled.
pub fn around(folder: &Path, library: &str) -> Result<String, String> {
    let note = |when: &str| {
        format!(
            "#include <time.h>\nunsigned long versus_{when};\n__attribute__((constructor)) static void note(void) {{\n\
             struct timespec t;\nclock_gettime(CLOCK_MONOTONIC, &t);\n\
             versus_{when} = t.tv_sec * 1000000000ul + t.tv_nsec;\n}}\n"
        )
    };
    let compile = |name: &str, when: &str, more: &[&str]| {
        let made = folder.join(name);
        if !made.exists() {
            let source = folder.join("note.c");
            write(&source, &note(when))?;
            let mut command = Command::new("cc");
            command.args(["-shared", "-fPIC", "-O2", "-Wl,--no-as-needed", "-o"]).arg(&made).arg(&source).args(more);
            execute(&mut command)?;
        }
        Ok::<_, String>(text(&made))
    };
    let first = compile("libversus-first.so", "first", &["-Wl,-z,initfirst"])?;
    let name = Path::new(library).file_name().unwrap_or_default().to_string_lossy();
    compile(&format!("libaround-{name}"), "last", &[library, &first])
}

/// `words` relocated words: three of four hold an address inside the library, one a function's address by name.
///
/// # Errors
/// When it cannot be assembled.
pub fn relocations(folder: &Path, words: usize) -> Result<String, String> {
    // As in large C++ libraries: each name is asked for about five times.
    let exports = (words / 20).max(1);
    assemble(folder, &format!("librelocations{words}.so"), &[], || {
        let mut source = functions("relocated_function", exports);
        source += ".section .data.rel,\"aw\"\n.balign 8\nwords:\n";
        for i in 0..words {
            let _ = match i % 4 {
                3 => writeln!(source, ".quad relocated_function_{:07}", i * 7919 % exports),
                _ => writeln!(source, ".quad words + {}", i * 8),
            };
        }
        source
    })
}

/// `count` exported functions, and up to a thousand words that hold some of their addresses.
///
/// # Errors
/// When it cannot be assembled.
pub fn exports(folder: &Path, count: usize) -> Result<String, String> {
    assemble(folder, &format!("libexports{count}.so"), &[], || {
        let mut source = functions("exported_function", count);
        source += ".section .data.rel,\"aw\"\n.balign 8\n";
        for i in 0..count.min(1000) {
            let _ = writeln!(source, ".quad exported_function_{:07}", i * (count / count.min(1000)));
        }
        source
    })
}

/// A library that needs `count` others: it names all of them (a fan), and each names the one before it (a chain) and
/// uses its functions.
///
/// # Errors
/// When one cannot be assembled.
pub fn dependencies(folder: &Path, count: usize) -> Result<String, String> {
    let name = |i: usize| format!("libdependency{i}.so");
    for i in 0..count {
        let needed = if i == 0 { vec![] } else { vec![name(i - 1)] };
        assemble(folder, &name(i), &needed, || {
            let mut source = functions(&format!("dependency_{i}_function"), 10);
            source += ".section .data.rel,\"aw\"\n.balign 8\n";
            for k in 0..10 {
                let _ = writeln!(source, ".quad dependency_{}_function_{k:07}", i.saturating_sub(k % 2));
            }
            source
        })?;
    }
    let needed: Vec<_> = (0..count).rev().map(name).collect();
    assemble(folder, &format!("libneeds{count}.so"), &needed, || {
        let mut source = functions("root_function", 1) + ".section .data.rel,\"aw\"\n.balign 8\n";
        for i in 0..count {
            let _ = writeln!(source, ".quad dependency_{i}_function_0000003");
        }
        source
    })
}

/// A folder with `count` small libraries, `0.so`, `1.so`, …, and the path of one more.
///
/// # Errors
/// When one cannot be assembled or written.
pub fn crowd(folder: &Path, count: usize) -> Result<(String, String), String> {
    let one = assemble(folder, "libcrowd.so", &[], || {
        let mut source = functions("crowd_function", 20) + ".section .data.rel,\"aw\"\n.balign 8\n";
        for i in 0..20 {
            let _ = writeln!(source, ".quad crowd_function_{i:07}");
        }
        source
    })?;
    let crowd = folder.join("crowd");
    fs::create_dir_all(&crowd).map_err(|e| format!("{}: {e}", crowd.display()))?;
    for i in 0..count {
        let copy = crowd.join(format!("{i}.so"));
        if !copy.exists() {
            fs::copy(&one, &copy).map_err(|e| format!("{}: {e}", copy.display()))?;
        }
    }
    Ok((text(&crowd), one))
}

/// Assembler text of `count` functions that do nothing.
fn functions(stem: &str, count: usize) -> String {
    let mut source = String::from(".text\n");
    for i in 0..count {
        let name = format!("{stem}_{i:07}");
        let _ = writeln!(source, ".globl {name}\n.type {name}, @function\n{name}: ret\n.size {name}, 1");
    }
    source
}

fn assemble(folder: &Path, name: &str, needed: &[String], source: impl FnOnce() -> String) -> Result<String, String> {
    let library = folder.join(name);
    if !library.exists() {
        let (assembler, object) = (folder.join("library.s"), folder.join("library.o"));
        write(&assembler, &(source() + ".section .note.GNU-stack,\"\",@progbits\n"))?;
        execute(Command::new("as").arg("-o").arg(&object).arg(&assembler))?;
        // No DT_SONAME for the crowd's copies: they would be taken for each other. The others are found by file name.
        let mut command = Command::new("ld");
        command.args(["-shared", "--hash-style=gnu", "--no-as-needed", "--enable-new-dtags", "-z", "relro"]);
        command.args(["-rpath", "$ORIGIN", "-o", name]).arg(&object).args(needed).current_dir(folder);
        execute(&mut command)?;
        for file in [assembler, object] {
            fs::remove_file(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        }
    }
    Ok(text(&library))
}

fn execute(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {said}")) }
}

fn write(path: &Path, content: &str) -> Result<(), String> {
    fs::write(path, content).map_err(|e| format!("{}: {e}", path.display()))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
