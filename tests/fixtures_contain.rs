//! Every fixture still contains what it is about: each `//@ has:` of `c-fixtures` is held against
//! the file that the compiler made. A compiler or linker that does things differently is found
//! here, by file and line, and not as a test that has silently stopped testing.
//!
//! The file is turned into a list of facts in the words of the claims, so that checking a claim
//! is counting facts. `c-fixtures/README.md` documents the words.

mod fixtures;

use fixtures::{Claim, FIXTURES, Fixture};
use goblin::elf::{Elf, dynamic, header::EM_X86_64, program_header as ph, reloc, section_header, sym};
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn every_claim_of_every_fixture_holds() {
    let mut wrong = Vec::new();
    for fixture in FIXTURES {
        let mut facts_of = BTreeMap::new();
        for claim in fixture.claims {
            let facts = facts_of.entry(claim.file).or_insert_with(|| facts(fixture, claim.file));
            if let Err(why) = check(claim.text, facts) {
                let Claim { source, line, text, .. } = claim;
                wrong.push(format!("c-fixtures/{}/{source}:{line}: has: {text}\n    {why}", fixture.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} claims do not hold\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_fixture_teaches_and_claims_something() {
    for fixture in FIXTURES {
        assert!(!fixture.teaches.is_empty(), "c-fixtures/{}: `teaches:` is empty", fixture.name);
        assert!(!fixture.claims.is_empty(), "c-fixtures/{}: no `has:`", fixture.name);
        let is_run = !fixture.calls.is_empty() || fixture.refuse.is_some() || fixture.host.is_some();
        assert!(is_run, "c-fixtures/{}: nothing is called, nothing refused", fixture.name);
    }
}

#[test]
fn the_readme_says_of_each_fixture_what_its_source_says() {
    let readme = include_str!("../c-fixtures/README.md");
    for Fixture { name, teaches, .. } in FIXTURES {
        let line = format!("- `{name}`: {teaches}");
        assert!(readme.lines().any(|l| l == line), "c-fixtures/README.md has no line\n{line}");
    }
}

#[test]
fn the_fixtures_stay_small_enough_to_be_carried_inside_the_command() {
    let total: usize = FIXTURES.iter().flat_map(|f| f.files).map(|(_, bytes)| bytes.len()).sum();
    assert!(total < 2_000_000, "all fixtures together have {total} bytes");
}

/// One thing that a file contains. `PT_LOAD:RW- bss=8` is kind, filter and one of the fields;
/// `R_X86_64_JUMP_SLOT puts` is kind and name.
#[derive(Default)]
struct Fact {
    kind: String,
    filter: String,
    name: String,
    fields: Vec<(&'static str, u64)>,
}

impl Fact {
    fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Fact { kind: kind.into(), name: name.into(), ..Fact::default() }
    }

    fn field(&self, name: &str) -> Result<u64, String> {
        let field = self.fields.iter().find(|(field, _)| *field == name);
        let (_, value) = field.ok_or(format!("{} has no field `{name}`", self.kind))?;
        Ok(*value)
    }
}

impl std::fmt::Display for Fact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Fact { kind, filter, name, fields } = self;
        write!(f, "{kind}{}{filter} {name}", if filter.is_empty() { "" } else { ":" })?;
        fields.iter().try_for_each(|(field, value)| write!(f, " {field}={value:#x}"))
    }
}

/// Counts the facts that a claim is about and compares the number with the claimed one.
fn check(claim: &str, facts: &[Fact]) -> Result<(), String> {
    let (none, rest) = claim.strip_prefix("no ").map_or((false, claim), |rest| (true, rest));
    let first = rest.split(' ').next().unwrap_or(rest);
    let (first, wanted) = match comparison(first)? {
        Some((first, wanted)) => (first, wanted),
        None if none => (first, Wanted::Exactly(0)),
        None => (first, Wanted::AtLeast(1)),
    };
    let (kind, filter) = first.split_once(':').unwrap_or((first, ""));
    if !is_known(kind) {
        return Err(format!("unknown word `{kind}`; c-fixtures/README.md lists the known ones"));
    }
    let mut count = 0;
    for fact in facts.iter().filter(|fact| fact.kind == kind) {
        let mut holds = filter.is_empty() || filter == fact.filter;
        for word in rest.split(' ').skip(1) {
            holds &= match comparison(word)? {
                None => word == fact.name,
                Some((field, wanted)) => wanted.holds(fact.field(field)?),
            };
        }
        count += u64::from(holds);
    }
    if wanted.holds(count) {
        return Ok(());
    }
    let family = &kind[..kind.find('_').unwrap_or(kind.len())];
    let near: Vec<_> = facts.iter().filter(|fact| fact.kind.starts_with(family)).map(Fact::to_string).collect();
    Err(format!("found {count}; the file has\n      {}", near.join("\n      ")))
}

enum Wanted {
    Exactly(u64),
    AtLeast(u64),
}

impl Wanted {
    fn holds(&self, value: u64) -> bool {
        match self {
            Wanted::Exactly(number) => value == *number,
            Wanted::AtLeast(number) => value >= *number,
        }
    }
}

/// Splits `what>=5` and `what=0x10`; `None` when there is no comparison.
fn comparison(text: &str) -> Result<Option<(&str, Wanted)>, String> {
    let Some((what, number)) = text.split_once('=') else {
        return Ok(None);
    };
    let parsed = match number.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => number.parse(),
    };
    let number = parsed.map_err(|_| format!("`{number}` is no number"))?;
    Ok(Some(match what.strip_suffix('>') {
        Some(what) => (what, Wanted::AtLeast(number)),
        None => (what, Wanted::Exactly(number)),
    }))
}

/// A misspelt word would make every `no …` true; so only words that can occur are taken.
fn is_known(kind: &str) -> bool {
    let os_specific = 0x6000_0000..=0x6fff_ffff_u64;
    let is_tag = |number: u64| tag(number) == kind;
    match kind.split('_').next() {
        Some("R") => (0..=42).any(|number| relocation(number) == kind),
        Some("DT") => {
            (0..=40).chain([0x7fff_fffd, 0x7fff_ffff]).any(is_tag) || os_specific.rev().take(0x300).any(is_tag)
        }
        Some("PT") => PROGRAM_HEADERS.iter().any(|p_type| ph::pt_to_str(*p_type) == kind),
        Some("STB") => (0..=10).any(|number| binding(number) == kind),
        Some("STT") => (0..=10).any(|number| symbol_type(number) == kind),
        Some("STV") => (0..=3).any(|number| visibility(number) == kind),
        _ => ["SHN_UNDEF", "SHN_ABS", "version", "sections"].contains(&kind),
    }
}

/// Everything that a claim can be about, read from one built file.
fn facts(fixture: &Fixture, file: &str) -> Vec<Fact> {
    let path = Path::new(env!("OUT_DIR")).join("fixtures").join(fixture.name).join(file);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let elf = Elf::parse(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let symbol_name = |index: usize| {
        let symbol = elf.dynsyms.get(index);
        symbol.and_then(|symbol| elf.dynstrtab.get_at(symbol.st_name)).unwrap_or("").to_string()
    };
    let mut facts = Vec::new();

    for header in &elf.program_headers {
        facts.push(Fact {
            kind: ph::pt_to_str(header.p_type).into(),
            filter: flags(header),
            fields: vec![
                ("p_filesz", header.p_filesz),
                ("p_memsz", header.p_memsz),
                ("p_align", header.p_align),
                ("bss", header.p_memsz.saturating_sub(header.p_filesz)),
            ],
            ..Fact::default()
        });
    }
    for entry in elf.dynamic.iter().flat_map(|dynamic| &dynamic.dyns) {
        let (auxiliary, filter) = (0x7fff_fffd, 0x7fff_ffff);
        let is_string =
            [dynamic::DT_NEEDED, dynamic::DT_SONAME, dynamic::DT_RPATH, dynamic::DT_RUNPATH, auxiliary, filter];
        let text = is_string.contains(&entry.d_tag).then(|| elf.dynstrtab.get_at(entry.d_val as usize));
        let mut fact = Fact::new(tag(entry.d_tag), text.flatten().unwrap_or(""));
        fact.fields.push(("d_val", entry.d_val));
        facts.push(fact);
    }
    for rela in elf.dynrelas.iter().chain(elf.pltrelocs.iter()) {
        let mut fact = Fact::new(relocation(rela.r_type), symbol_name(rela.r_sym));
        fact.filter = if rela.r_offset % 2 == 1 { "odd".into() } else { String::new() };
        facts.push(fact);
    }
    for (index, symbol) in elf.dynsyms.iter().enumerate() {
        let name = symbol_name(index);
        facts.push(Fact::new(binding(symbol.st_bind()), &name));
        facts.push(Fact::new(symbol_type(symbol.st_type()), &name));
        facts.push(Fact::new(visibility(symbol.st_visibility()), &name));
        match symbol.st_shndx as u32 {
            section_header::SHN_UNDEF => {
                let mut fact = Fact::new("SHN_UNDEF", &name);
                fact.fields.push(("st_value", symbol.st_value));
                facts.push(fact);
            }
            section_header::SHN_ABS => facts.push(Fact::new("SHN_ABS", &name)),
            _ => {}
        }
        if let Some(version) = version_of(&elf, index) {
            facts.push(Fact::new("version", format!("{name}{version}")));
        }
    }
    facts.extend(elf.section_headers.iter().map(|_| Fact::new("sections", "")));
    facts
}

/// `@@V2` for a default definition, `@V1` for a hidden one or a reference.
fn version_of(elf: &Elf<'_>, symbol: usize) -> Option<String> {
    let versym = elf.versym.as_ref()?.get_at(symbol)?;
    let index = versym.version();
    let defined = elf.verdef.iter().flatten().find(|definition| definition.vd_ndx == index && index > 1);
    if let Some(definition) = defined {
        let name = elf.dynstrtab.get_at(definition.iter().next()?.vda_name)?;
        return Some(format!("{}{name}", if versym.is_hidden() { "@" } else { "@@" }));
    }
    let mut needed = elf.verneed.iter().flatten().flat_map(|need| need.iter().collect::<Vec<_>>());
    let name = needed.find(|need| need.vna_other == index)?.vna_name;
    Some(format!("@{}", elf.dynstrtab.get_at(name)?))
}

fn flags(header: &ph::ProgramHeader) -> String {
    let letters = [(ph::PF_R, 'R'), (ph::PF_W, 'W'), (ph::PF_X, 'X')];
    letters.map(|(flag, letter)| if header.p_flags & flag != 0 { letter } else { '-' }).iter().collect()
}

const PROGRAM_HEADERS: [u32; 8] = [
    ph::PT_LOAD,
    ph::PT_DYNAMIC,
    ph::PT_INTERP,
    ph::PT_NOTE,
    ph::PT_TLS,
    ph::PT_GNU_EH_FRAME,
    ph::PT_GNU_STACK,
    ph::PT_GNU_RELRO,
];

/// goblin does not know these tags yet.
fn tag(number: u64) -> &'static str {
    match number {
        35 => "DT_RELRSZ",
        36 => "DT_RELR",
        37 => "DT_RELRENT",
        0x7fff_fffd => "DT_AUXILIARY",
        0x7fff_ffff => "DT_FILTER",
        _ => dynamic::tag_to_str(number),
    }
}

fn relocation(number: u32) -> String {
    format!("R_{}", reloc::r_to_str(number, EM_X86_64))
}

fn binding(number: u8) -> &'static str {
    match number {
        sym::STB_LOCAL => "STB_LOCAL",
        sym::STB_GLOBAL => "STB_GLOBAL",
        sym::STB_WEAK => "STB_WEAK",
        sym::STB_GNU_UNIQUE => "STB_GNU_UNIQUE",
        _ => "STB_?",
    }
}

fn symbol_type(number: u8) -> &'static str {
    match number {
        sym::STT_NOTYPE => "STT_NOTYPE",
        sym::STT_OBJECT => "STT_OBJECT",
        sym::STT_FUNC => "STT_FUNC",
        sym::STT_TLS => "STT_TLS",
        sym::STT_GNU_IFUNC => "STT_GNU_IFUNC",
        _ => "STT_?",
    }
}

fn visibility(number: u8) -> &'static str {
    match number {
        sym::STV_DEFAULT => "STV_DEFAULT",
        sym::STV_INTERNAL => "STV_INTERNAL",
        sym::STV_HIDDEN => "STV_HIDDEN",
        _ => "STV_PROTECTED",
    }
}
