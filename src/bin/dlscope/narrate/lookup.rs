//! Lookups: the objects that were asked for a symbol, in order, and what the hash table of each said.

use dlscope::elf::symbol::Probing;
use dlscope::event::{Binding, Candidate, Event, Kind, Stage, Tag};

use super::Teller;
use crate::atlas::Atlas;
use crate::page::{bad, count, dim, symbol};
use crate::story::Section;

/// A lookup that is a request of its own: `Library::get`, a `dlsym` of loaded code, or the first call of a function.
pub fn section(t: &mut Teller, section: &Section<'_>) {
    for event in &section.events {
        match &event.kind {
            Kind::Begin { .. } => {}
            Kind::Lookup { name, hash, candidates, found, .. } => {
                let bound = bound_to(&t.atlas, found.as_ref());
                let line = format!("{}  → {bound}", symbol(name));
                t.page.line(line);
                let story = format!("gnu hash {hash:#010x}; {}", in_brief(candidates));
                t.page.sub(dim(&story));
            }
            Kind::FirstCall { place, name, from, .. } => {
                let caller = t.atlas.inside(from.0).unwrap_or_else(|| from.to_string());
                t.page.line(format!("{} is called for the first time, before {caller}; slot {place}", symbol(name)));
            }
            Kind::Store { address, before, after, .. } if section.stage == Stage::Bind => {
                t.page.sub(format!("slot {address}: {before} → {after}"));
            }
            Kind::Call { .. } => {}
            Kind::Return { address, value: Some(value) } => {
                let resolver = t.atlas.inside(address.0).unwrap_or_else(|| address.to_string());
                let answer = t.atlas.inside(value.0).map_or(String::new(), |place| format!(" = {place}"));
                t.page.sub(format!("an IFUNC: its resolver {resolver} answers {value}{answer}"));
            }
            _ => t.other(event),
        }
    }
}

/// The functions that will be bound at their first call, and how such a call finds the loader.
pub fn left_for_calls(t: &mut Teller, events: &[&Event]) {
    let mut names = Vec::new();
    for event in events {
        match &event.kind {
            Kind::LazyGot { word, trampoline, .. } => {
                let words = format!("GOT[1] = {word} (whose call), GOT[2] = {trampoline} (the loader's entry)");
                t.page.line(format!("calls wait for their first time: {words}"));
            }
            Kind::LeftForCall { name, place, .. } => names.push(name.clone().unwrap_or_else(|| place.to_string())),
            _ => {}
        }
    }
    if names.is_empty() {
        return;
    }
    let limit = t.limit(8).min(names.len());
    let shown: Vec<_> = names[..limit].iter().map(|name| symbol(name)).collect();
    let more = if limit < names.len() { format!(", and {} more (--all)", names.len() - limit) } else { String::new() };
    let functions = count(names.len() as u64, "function");
    t.page.prose(
        &format!("{functions} left for the first call, each slot points back into the PLT: {}{more}", shown.join(", ")),
        2,
    );
}

/// `0x7f… = libc.so.6+0x80e50, version GLIBC_2.2.5`.
pub fn bound_to(atlas: &Atlas, found: Option<&Binding>) -> String {
    match found {
        None => bad("found nowhere"),
        Some(found) => format!("{}  {}", found.address, definition(atlas, found)),
    }
}

/// The object that has the definition, the place in it, and the version.
pub fn definition(atlas: &Atlas, found: &Binding) -> String {
    let version = found.version.as_ref().map_or(String::new(), |version| format!(" ({version})"));
    match &found.object {
        Some(object) => format!("{}{version}", atlas.of(object, found.address)),
        None if found.ours => "dlscope's own function, in the place of libc's".into(),
        None => "given with Loader::define".into(),
    }
}

/// A lookup in one line. Neighbouring objects whose bloom filter says no are only counted.
pub fn in_brief(candidates: &[Candidate]) -> String {
    let mut parts = Vec::new();
    let mut refused: Vec<&Tag> = Vec::new();
    for candidate in candidates {
        if candidate.steps == [Probing::BloomNo] {
            refused.push(&candidate.object);
            continue;
        }
        push_refused(&mut parts, &mut refused);
        parts.push(format!("{}: {}", candidate.object, outcome(&candidate.steps)));
    }
    push_refused(&mut parts, &mut refused);
    if parts.is_empty() { "no object was asked".into() } else { parts.join("; ") }
}

fn push_refused(parts: &mut Vec<String>, refused: &mut Vec<&Tag>) {
    match refused[..] {
        [] => {}
        [one] => parts.push(format!("{one}: bloom says no")),
        [one, other] => parts.push(format!("{one}, {other}: bloom says no")),
        [first, .., last] => parts.push(format!("{first} … {last}: {}× bloom says no", refused.len())),
    }
    refused.clear();
}

/// What the hash table of one object said, in a few words.
pub fn outcome(steps: &[Probing]) -> String {
    let bucket = steps.iter().find_map(|step| match step {
        Probing::Bucket { bucket, first } => Some((*bucket, *first)),
        _ => None,
    });
    let walked = steps.iter().filter(|step| matches!(step, Probing::Chain { .. })).count();
    let default = default_taken(steps);
    let passed = steps.iter().filter_map(|step| match step {
        Probing::OtherVersion { symbol, .. } if Some(*symbol) == default => None,
        Probing::OtherVersion { has, .. } => Some(format!("passed over version {has}")),
        Probing::NotADefinition { .. } => Some("a reference, not a definition".into()),
        Probing::NotExported { .. } => Some("there, but hidden".into()),
        Probing::OtherName { .. } => Some("same hash, other name".into()),
        _ => None,
    });
    let mut said = match bucket {
        _ if steps.contains(&Probing::BloomNo) => "bloom says no".to_string(),
        _ if steps.contains(&Probing::EmptyTable) => "its table is empty".to_string(),
        None => "it has no hash table".to_string(),
        Some((bucket, 0)) => format!("bucket {bucket} is empty"),
        Some((bucket, _)) => format!("bucket {bucket}, {} in chain", ordinal(walked)),
    };
    for passed in passed {
        said.push_str(", ");
        said.push_str(&passed);
    }
    match steps.last() {
        Some(Probing::Found { version: Some(version), .. }) if default.is_some() => {
            said.push_str(&format!(", the default version {version}: found"));
        }
        Some(Probing::Found { version: Some(version), .. }) => said.push_str(&format!(", version {version}: found")),
        Some(Probing::Found { version: None, .. }) => said.push_str(": found"),
        _ if matches!(bucket, Some((_, first)) if first != 0) => said.push_str(" is the last: not here"),
        _ => {}
    }
    said
}

fn ordinal(number: usize) -> String {
    let end = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{end}")
}

/// The definition that a search without a version ended with because it is the default one. The search passed it at
/// first, because a definition without a version would count before it.
fn default_taken(steps: &[Probing]) -> Option<u32> {
    let Some(Probing::Found { symbol: found, .. }) = steps.last() else { return None };
    let passed = |step: &Probing| matches!(step, Probing::OtherVersion { symbol, .. } if symbol == found);
    steps.iter().any(passed).then_some(*found)
}

/// The steps of a search in one hash table, a sentence each.
pub fn steps(steps: &[Probing]) -> Vec<String> {
    let default = default_taken(steps);
    let told = |step: &Probing| match step {
        Probing::OtherVersion { symbol, has } if Some(*symbol) == default => {
            format!("symbol {symbol}: the name, version {has}, the default: kept for the end of the search")
        }
        Probing::OtherVersion { symbol, has } if default.is_some() => {
            format!("symbol {symbol}: the name, version {has}, not the default")
        }
        Probing::Found { symbol, version: Some(version) } if Some(*symbol) == default => {
            format!("the end, so the default counts: symbol {symbol}, version {version}: found")
        }
        _ => step_alone(step),
    };
    steps.iter().map(told).collect()
}

fn step_alone(step: &Probing) -> String {
    match step {
        Probing::BloomNo => "the bloom filter says no: certainly not here".into(),
        Probing::EmptyTable => "its table has no buckets".into(),
        Probing::Bucket { bucket, first: 0 } => {
            format!("the bloom filter says maybe; bucket {bucket} is empty: not here")
        }
        Probing::Bucket { bucket, first } => format!("bucket {bucket} begins at symbol {first}"),
        Probing::Chain { symbol, same_hash: true } => format!("symbol {symbol}: the same hash"),
        Probing::Chain { symbol, same_hash: false } => format!("symbol {symbol}: another hash"),
        Probing::OtherName { symbol } => format!("symbol {symbol}: another name"),
        Probing::NotADefinition { symbol } => format!("symbol {symbol}: a reference, not a definition"),
        Probing::OtherVersion { symbol, has } => format!("symbol {symbol}: the name, but version {has}"),
        Probing::NotExported { symbol } => format!("symbol {symbol}: hidden, not for others"),
        Probing::Found { symbol, version: Some(version) } => {
            format!("symbol {symbol}: the name, version {version}: found")
        }
        Probing::Found { symbol, version: None } => format!("symbol {symbol}: the name, no version: found"),
    }
}
