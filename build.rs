//! Builds the C fixtures, `c-fixtures/<case>/*.c`, for the `dlscope` command and the tests.
//!
//! Each C file says in `//@` lines how it is built and what the result must contain;
//! `c-fixtures/README.md` explains the words. The results go to `$OUT_DIR/fixtures/<case>/`.
//! `$OUT_DIR/fixtures.rs` lists them as `pub static FIXTURES: &[Fixture]`, with the bytes of the
//! files. Code that includes that list must define its two types:
//!
//! ```text
//! pub struct Fixture {
//!     pub name: &'static str,                              // the folder, "add"
//!     pub teaches: &'static str,                           // one line for the learner
//!     pub main: &'static str,                              // the file to open, "libadd.so"
//!     pub files: &'static [(&'static str, &'static [u8])], // all files, by path in the case's folder
//!     pub source: &'static [(&'static str, &'static str)], // all C files, by name
//!     pub claims: &'static [Claim],                        // every `has:`
//!     pub shows: &'static [&'static str],                  // every `show:`, symbols to tell of in dependencies, too
//!     pub calls: &'static [&'static str],                  // every `call:`, to be made in this order
//!     pub prints: &'static [&'static str],                 // lines on stdout from open to exit
//!     pub refuse: Option<&'static str>,                    // why no loader takes it, in glibc's words
//!     pub policy: Option<&'static str>,                    // why dlscope refuses what glibc takes
//!     pub crash: Option<&'static str>,                     // why glibc crashes where dlscope does not
//!     pub later: Option<&'static str>,                     // the chapter of dlscope that it waits for
//!     pub host: Option<&'static str>,                      // what kind of program `host` is
//!     pub host_prints: &'static [&'static str],            // lines on that program's stdout
//! }
//! pub struct Claim {
//!     pub file: &'static str,   // what was built, "libadd.so"
//!     pub source: &'static str, // where the claim stands, "add.c"
//!     pub line: usize,
//!     pub text: &'static str,
//! }
//! ```
//!
//! Without the feature `cli` this script does nothing, so that the library needs no C compiler.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs, thread};

/// An error is a message for the person who builds dlscope.
type Result<T> = std::result::Result<T, String>;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(flag) = static_flag() {
        // `+crt-static` is refused in lib.rs.
        println!("cargo::error=a static program has no ld.so, whose objects dlscope builds on: build without {flag}");
        return;
    }
    if env::var_os("CARGO_FEATURE_CLI").is_none() {
        return;
    }
    println!("cargo::rerun-if-changed=c-fixtures");
    println!("cargo::rerun-if-env-changed=CC");
    if let Err(message) = build_all() {
        eprintln!("error: {message}");
        std::process::exit(1);
    }
}

/// The flag for the linker that makes a static program, if RUSTFLAGS or Cargo's configuration have one.
fn static_flag() -> Option<String> {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let words = flags.split(['\u{1f}', ' ', ',', '=']);
    words
        .map(|word| word.trim_start_matches('-'))
        .find(|&word| word == "static" || word == "static-pie")
        .map(|f| format!("-{f}"))
}

fn build_all() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap());
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let fixtures = out.join("fixtures");
    // The folder is emptied first, so that no test finds a file of a case that was deleted.
    let _ = fs::remove_dir_all(&fixtures);

    let cases = read_cases(&root.join("c-fixtures"))?;
    let cc = env::var("CC").unwrap_or_else(|_| "cc".into());
    Builder { root, fixtures, cc }.build_in_parallel(&cases)?;
    write(&out.join("fixtures.rs"), generate(&cases).as_bytes())
}

// ---- what the C files say ----------------------------------------------------------------

/// The words that may stand before the colon of a `//@` line.
const WORDS: &str = "teaches cc needs out runpath patch has show call prints refuse policy crash later host";

/// One folder below `c-fixtures`. Its first source is `<name>.c`, whose `teaches:` describes the
/// case.
struct Case {
    name: String,
    sources: Vec<Source>,
}

/// One C file with its directives: the line, the word and the text of each.
struct Source {
    name: String,
    directives: Vec<(usize, String, String)>,
}

impl Source {
    fn all(&self, word: &str) -> impl Iterator<Item = &str> {
        let of_word = self.directives.iter().filter(move |(_, w, _)| w == word);
        of_word.map(|(.., text)| text.as_str())
    }

    fn one(&self, word: &str) -> Option<&str> {
        self.all(word).next()
    }

    /// The words of all `cc:` or all `needs:` lines.
    fn list(&self, word: &str) -> impl Iterator<Item = &str> {
        self.all(word).flat_map(str::split_whitespace)
    }

    /// The file that it is built into, by its path in the folder of the case.
    fn out(&self) -> String {
        let by_name = || format!("lib{}.so", self.name.trim_end_matches(".c"));
        self.one("out").map_or_else(by_name, String::from)
    }

    /// Whether only the linker sees the result: files in `stub/` are not there when the case is
    /// loaded.
    fn is_stub(&self) -> bool {
        self.out().starts_with("stub/")
    }

    fn is_program(&self) -> bool {
        !self.out().contains(".so")
    }
}

/// All cases, in the order in which `c-fixtures/README.md` lists them.
fn read_cases(folder: &Path) -> Result<Vec<Case>> {
    let readme = read(&folder.join("README.md"))?;
    let listed = readme.lines().filter_map(|line| line.strip_prefix("- `")?.split_once("`: "));
    let cases = listed.map(|(name, _)| read_case(folder, name)).collect::<Result<Vec<_>>>()?;
    for name in file_names(folder)? {
        if folder.join(&name).is_dir() && !cases.iter().any(|case| case.name == name) {
            return Err(format!("c-fixtures/README.md does not list the case `{name}`"));
        }
    }
    Ok(cases)
}

fn read_case(folder: &Path, name: &str) -> Result<Case> {
    let mut sources = Vec::new();
    for file in file_names(&folder.join(name))?.iter().filter(|file| file.ends_with(".c")) {
        let text = read(&folder.join(name).join(file))?;
        sources.push(parse(file, &text).map_err(|e| format!("c-fixtures/{name}/{e}"))?);
    }
    let main = format!("{name}.c");
    sources.sort_by_key(|source| source.name != main);
    for source in &sources {
        if source.one("teaches").is_some() != (source.name == main) {
            let name = format!("c-fixtures/{name}/{}", source.name);
            return Err(format!("{name}: `teaches:` belongs into {main}, and nowhere else"));
        }
    }
    Ok(Case { name: name.into(), sources })
}

fn parse(name: &str, text: &str) -> Result<Source> {
    let mut directives = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let Some(directive) = text.strip_prefix("//@") else {
            continue;
        };
        match directive.trim_start().split_once(": ") {
            Some((word, text)) if WORDS.split(' ').any(|known| known == word) => {
                directives.push((line, word.into(), text.trim().into()));
            }
            _ => return Err(format!("{name}:{line}: unknown directive `//@{directive}`")),
        }
    }
    Ok(Source { name: name.into(), directives })
}

// ---- building ----------------------------------------------------------------------------

/// Distributions give their compilers different defaults. These flags make the results alike.
const FLAGS: &str = "-O1 -g -fcf-protection=none -fno-stack-protector -U_FORTIFY_SOURCE \
    -Wl,-z,lazy -Wl,--hash-style=gnu -Wl,--no-as-needed -Wl,--enable-new-dtags";

struct Builder {
    root: PathBuf,
    fixtures: PathBuf,
    cc: String,
}

impl Builder {
    /// Builds all cases. They do not depend on each other, so each free thread takes the next one.
    fn build_in_parallel(&self, cases: &[Case]) -> Result<()> {
        let jobs = env::var("NUM_JOBS").map_or(1, |jobs| jobs.parse().unwrap_or(1));
        let next = Mutex::new(cases.iter());
        let take = || next.lock().unwrap().next();
        let work = || std::iter::from_fn(take).try_for_each(|case| self.build_case(case));
        thread::scope(|scope| {
            let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            let mut results = threads.into_iter().map(|thread| thread.join().unwrap());
            results.try_for_each(|result| result)
        })
    }

    /// Builds each library before those that need it.
    fn build_case(&self, case: &Case) -> Result<()> {
        let mut waiting: Vec<&Source> = case.sources.iter().collect();
        while !waiting.is_empty() {
            let to_come: Vec<_> = waiting.iter().map(|source| source.out()).collect();
            let must_wait = |needed: &str| to_come.iter().any(|out| out == needed);
            let ready = waiting.iter().position(|source| !source.list("needs").any(must_wait));
            let name = format!("c-fixtures/{}", case.name);
            let ready = ready.ok_or(format!("{name}: a cycle needs a stub: {to_come:?}"))?;
            let source = waiting.remove(ready);
            let result = self.build_source(case, source);
            result.map_err(|e| format!("{name}/{}: {e}", source.name))?;
        }
        Ok(())
    }

    fn build_source(&self, case: &Case, source: &Source) -> Result<()> {
        let folder = self.fixtures.join(&case.name);
        let out = folder.join(source.out());
        fs::create_dir_all(out.parent().unwrap()).map_err(|e| e.to_string())?;

        let mut cc = Command::new(&self.cc);
        cc.current_dir(self.root.join("c-fixtures").join(&case.name));
        cc.arg(&source.name).arg("-o").arg(&out).args(FLAGS.split_whitespace());
        // Keeps the paths of the building machine out of the debug information.
        cc.arg(format!("-ffile-prefix-map={}=.", self.root.display()));
        if !source.is_program() {
            let soname = out.file_name().unwrap().display();
            cc.args(["-shared", "-fPIC", &format!("-Wl,-soname,{soname}")]);
        }
        if source.one("teaches").is_none() {
            // Two segments in place of four make the other files of a case smaller by half.
            cc.arg("-Wl,-z,noseparate-code");
        }
        cc.args(source.list("needs").map(|needed| folder.join(needed)));
        let beside = source.one("needs").map(|_| "$ORIGIN");
        let runpath = source.one("runpath").or(beside);
        if let Some(path) = runpath.filter(|path| *path != "none") {
            cc.arg(format!("-Wl,-rpath,{path}"));
        }
        // Tells the linker where to find what the needed libraries need themselves.
        cc.arg(format!("-Wl,-rpath-link,{}", folder.display()));
        cc.args(source.list("cc"));

        let result = cc.output().map_err(|e| format!("the C compiler {:?}: {e}", self.cc))?;
        if !result.status.success() {
            let message = String::from_utf8_lossy(&result.stderr);
            return Err(format!("the C compiler failed\n{cc:?}\n{message}"));
        }
        let patch = |text| patch(&out, text).map_err(|e| format!("patch: {text}: {e}"));
        source.all("patch").try_for_each(patch)
    }
}

// ---- patches: what no compiler flag gives -------------------------------------------------

fn patch(path: &Path, text: &str) -> Result<()> {
    let mut elf = Elf(fs::read(path).map_err(|e| e.to_string())?);
    match text.split(' ').collect::<Vec<_>>()[..] {
        ["no-section-headers"] => elf.drop_section_headers(),
        ["readonly-dynamic"] => elf.make_dynamic_readonly(),
        ["readonly-tail"] => elf.fill_readonly_tail(),
        ["relocation-type", old, new] => elf.change_relocation_type(number(old)?, number(new)?),
        ["weak-version", version] => elf.make_version_weak(version)?,
        _ => return Err("unknown".into()),
    }
    write(path, &elf.0)
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// The bytes of a file that the linker has just made. Its offsets are trusted: a wrong one stops
/// the build with an index out of range.
struct Elf(Vec<u8>);

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PF_W: u64 = 2;
const DT_STRTAB: u64 = 5;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_VERNEED: u64 = 0x6fff_fffe;
const VER_FLG_WEAK: u64 = 2;

impl Elf {
    fn get(&self, offset: u64, size: usize) -> u64 {
        let mut word = [0; 8];
        word[..size].copy_from_slice(&self.0[offset as usize..][..size]);
        u64::from_le_bytes(word)
    }

    fn set(&mut self, offset: u64, size: usize, value: u64) {
        self.0[offset as usize..][..size].copy_from_slice(&value.to_le_bytes()[..size]);
    }

    /// The file offsets of the program headers of type `p_type` (gABI, "Program Header").
    fn headers(&self, p_type: u64) -> impl Iterator<Item = u64> {
        let (e_phoff, e_phnum) = (self.get(0x20, 8), self.get(0x38, 2));
        let headers = (0..e_phnum).map(move |index| e_phoff + index * 56);
        headers.filter(move |header| self.get(*header, 4) == p_type)
    }

    /// Zeroes `e_shoff`, `e_shnum` and `e_shstrndx`, and cuts the file after the last PT_LOAD.
    fn drop_section_headers(&mut self) {
        let end_in_file = |header| self.get(header + 0x08, 8) + self.get(header + 0x20, 8);
        let end = self.headers(PT_LOAD).map(end_in_file).max();
        self.0.truncate(end.unwrap() as usize);
        self.set(0x28, 8, 0);
        self.set(0x3c, 2, 0);
        self.set(0x3e, 2, 0);
    }

    /// The linker leaves zeros in the file between p_filesz and p_memsz of a read-only PT_LOAD,
    /// although any bytes may stand there. This puts other bytes there, so that a test notices a
    /// loader which does not zero them.
    fn fill_readonly_tail(&mut self) {
        let is_readonly = |header: &u64| self.get(header + 0x04, 4) & PF_W == 0;
        let header = self.headers(PT_LOAD).filter(is_readonly).last().unwrap();
        let start = self.get(header + 0x08, 8);
        let [p_filesz, p_memsz] = [0x20, 0x28].map(|field| self.get(header + field, 8));
        self.0[(start + p_filesz) as usize..(start + p_memsz) as usize].fill(0xaa);
    }

    fn make_dynamic_readonly(&mut self) {
        let p_flags = self.headers(PT_DYNAMIC).next().unwrap() + 0x04;
        self.set(p_flags, 4, self.get(p_flags, 4) & !PF_W);
    }

    /// The value of a dynamic entry. If it is an address in the first PT_LOAD, it is a file offset
    /// too. That holds for all tables that are patched here.
    fn dynamic_entry(&self, tag: u64) -> u64 {
        let dynamic = self.headers(PT_DYNAMIC).next().unwrap();
        let mut entries = (self.get(dynamic + 0x08, 8)..).step_by(16);
        let entry = entries.find(|entry| self.get(*entry, 8) == tag).unwrap();
        self.get(entry + 8, 8)
    }

    /// Gives every relocation of type `old` in DT_RELA the type `new`.
    fn change_relocation_type(&mut self, old: u64, new: u64) {
        let (start, size) = (self.dynamic_entry(DT_RELA), self.dynamic_entry(DT_RELASZ));
        for r_info in (start..start + size).step_by(24).map(|rela| rela + 8) {
            if self.get(r_info, 4) == old {
                self.set(r_info, 4, new);
            }
        }
    }

    /// Sets VER_FLG_WEAK in the Elf64_Vernaux of `version`.
    fn make_version_weak(&mut self, version: &str) -> Result<()> {
        let mut verneed = self.dynamic_entry(DT_VERNEED);
        loop {
            let mut vernaux = verneed + self.get(verneed + 8, 4);
            for _ in 0..self.get(verneed + 2, 2) {
                let name = self.dynamic_entry(DT_STRTAB) + self.get(vernaux + 8, 4);
                if self.0[name as usize..].starts_with(version.as_bytes()) {
                    self.set(vernaux + 4, 2, VER_FLG_WEAK);
                    return Ok(());
                }
                vernaux += self.get(vernaux + 12, 4);
            }
            match self.get(verneed + 12, 4) {
                0 => return Err("no such version".into()),
                vn_next => verneed += vn_next,
            }
        }
    }
}

// ---- the list for the command and the tests ------------------------------------------------

fn generate(cases: &[Case]) -> String {
    let fixtures: String = cases.iter().map(generate_case).collect();
    format!("pub static FIXTURES: &[Fixture] = &[\n{fixtures}];\n")
}

fn generate_case(Case { name, sources }: &Case) -> String {
    let main = &sources[0];
    let (mut files, mut source, mut claims) = (String::new(), String::new(), String::new());
    for file in sources {
        let (out, file_name) = (file.out(), &file.name);
        let path = format!("/c-fixtures/{name}/{file_name}");
        source += &format!("({file_name:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?}))), ");
        if !file.is_stub() {
            let path = format!("/fixtures/{name}/{out}");
            files += &format!("({out:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), {path:?}))), ");
        }
        for (line, _, text) in file.directives.iter().filter(|(_, word, _)| word == "has") {
            claims += &format!("Claim {{ file: {out:?}, source: {file_name:?}, line: {line}, text: {text:?} }}, ");
        }
    }
    let lines = |source: &Source, word| source.all(word).map(String::from).collect::<Vec<_>>();
    let host_prints = sources.iter().find(|source| source.is_program()).map(|host| lines(host, "prints"));
    let mut text = format!(
        "Fixture {{ name: {name:?}, teaches: {:?}, main: {:?}, files: &[{files}], source: &[{source}], \
         claims: &[{claims}], shows: &{:?}, calls: &{:?}, prints: &{:?}, host_prints: &{:?}, ",
        main.one("teaches").unwrap(),
        main.out(),
        lines(main, "show"),
        lines(main, "call"),
        lines(main, "prints"),
        host_prints.unwrap_or_default(),
    );
    for word in ["refuse", "policy", "crash", "later", "host"] {
        text += &format!("{word}: {:?}, ", main.one(word));
    }
    text + "},\n"
}

// ---- files -------------------------------------------------------------------------------

fn file_names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}
