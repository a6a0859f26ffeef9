//! Stages 5 to 7, dynamic, needed and versions: what the library says about itself, and whom it needs.

use dlscope::event::{Arrival, Kind, VersionOutcome};

use super::{Teller, tally};
use crate::page::{Table, bad, count, dim, good, heading};
use crate::story::Section;
use crate::words;

/// One entry as it is told: tag, value, and the string that it names.
struct Entry<'e> {
    vaddr: String,
    tag: &'e str,
    value: String,
    text: Option<&'e str>,
}

/// Stage 5.
pub fn dynamic(t: &mut Teller, section: &Section<'_>) {
    let mut entries = Vec::new();
    for event in &section.events {
        match &event.kind {
            Kind::DynamicEntry { vaddr, tag, value, text } => {
                let value = shown(tag, value.0);
                entries.push(Entry { vaddr: vaddr.to_string(), tag, value, text: text.as_deref() });
            }
            Kind::Tables { .. } => {}
            _ => t.other(event),
        }
    }
    let tables = section.events.iter().find_map(|event| match &event.kind {
        Kind::Tables { hash, symbols, versions } => Some(tables_line(hash, *symbols, versions, t.view.all)),
        _ => None,
    });
    if t.is_brief(section) {
        let line = format!("{} · {}", count(entries.len() as u64, "entry"), tables.unwrap_or_default());
        return t.page.prose(&line, 2);
    }
    if !entries.is_empty() {
        let line = format!("{} in PT_DYNAMIC", count(entries.len() as u64, "entry"));
        t.page.line(line);
        let table = if t.view.all { each(&entries) } else { by_theme(&entries) };
        t.page.table(&table);
    }
    if let Some(line) = tables {
        t.page.prose(&line, 2);
    }
}

/// Lengths and counts in decimal as `readelf -d` prints them, addresses in hexadecimal.
fn shown(tag: &str, value: u64) -> String {
    let is_number = ["SZ", "ENT", "NUM", "COUNT"].iter().any(|end| tag.ends_with(end));
    if is_number { value.to_string() } else { format!("{value:#x}") }
}

fn each(entries: &[Entry<'_>]) -> Table {
    let mut table = Table::whole(true);
    for entry in entries {
        let theme = words::DYNAMIC.iter().find(|(_, tags)| tags.contains(&entry.tag)).map_or("", |(theme, _)| theme);
        let last = entry.text.map_or_else(|| dim(theme), str::to_string);
        table.row([entry.vaddr.clone(), entry.tag.to_string(), entry.value.clone(), last]);
    }
    table
}

/// What belongs together on one line, under a word that says what it is about.
fn by_theme(entries: &[Entry<'_>]) -> Table {
    let mut table = Table::whole(true);
    let told = |entry: &Entry<'_>| match entry.text {
        Some(text) => text.to_string(),
        None => format!("{} {}", entry.tag, entry.value),
    };
    for (theme, tags) in words::DYNAMIC {
        let of_theme = tags.iter().flat_map(|tag| entries.iter().filter(move |e| e.tag == *tag));
        let cells: Vec<_> = of_theme.map(told).collect();
        for (at, cells) in cells.chunks(4).enumerate() {
            table.row([dim(if at == 0 { theme } else { "" }), cells.join(" · ")]);
        }
    }
    let known = |e: &&Entry<'_>| !words::DYNAMIC.iter().any(|(_, tags)| tags.contains(&e.tag));
    let others: Vec<_> = entries.iter().filter(known).map(told).collect();
    for (at, cells) in others.chunks(4).enumerate() {
        table.row([dim(if at == 0 { "others" } else { "" }), cells.join(" · ")]);
    }
    table
}

fn tables_line(hash: &str, symbols: u64, versions: &[String], all: bool) -> String {
    let limit = if all { usize::MAX } else { 4 };
    let defined = match versions.len() {
        0 => "defines no versions".to_string(),
        n if n > limit => format!("defines {n} versions: {}, … {}", versions[..2].join(", "), versions[n - 1]),
        _ => format!("defines {}", versions.join(", ")),
    };
    format!("{}, found through {hash} · {defined}", count(symbols, "symbol"))
}

/// Stage 6. The `Known` before each adopted one is part of its line.
pub fn needed(t: &mut Teller, section: &Section<'_>) {
    if t.is_brief(section) {
        return needed_in_brief(t, section);
    }
    let mut table = Table::default();
    for event in &section.events {
        match &event.kind {
            Kind::Needed { name, object, how } => {
                let by = event.object.as_ref().filter(|_| t.several).map_or(String::new(), |by| heading(by.short()));
                let place = t.atlas.place(object.id).and_then(|place| place.bias);
                let bias = place.map_or(String::new(), |bias| format!(" at load bias {bias}"));
                let how = match how {
                    Arrival::Adopted => format!("already in this process, adopted{bias}: {}", object.name),
                    Arrival::Loaded => format!("loaded before by this loader{bias}"),
                    Arrival::Shared => format!("mapped a moment ago by this load{bias}"),
                    Arrival::New => good(&format!("new, mapped by this load{bias}")),
                };
                table.row([by, name.clone(), how]);
            }
            Kind::Known { .. } => {}
            _ => t.other(event),
        }
    }
    t.page.table_flush(&table);
}

/// What a dependency itself needs: its names, and how each was settled.
fn needed_in_brief(t: &mut Teller, section: &Section<'_>) {
    let mut list = Vec::new();
    for event in &section.events {
        match &event.kind {
            Kind::Needed { name, how: Arrival::New, .. } => list.push(format!("{name} ({})", good("new"))),
            Kind::Needed { name, how: Arrival::Adopted, .. } => list.push(format!("{name} (adopted)")),
            Kind::Needed { name, .. } => list.push(format!("{name} (already mapped)")),
            Kind::Known { .. } => {}
            _ => t.other(event),
        }
    }
    if !list.is_empty() {
        let text = format!("needs {}", list.join(", "));
        t.page.prose(&t.named(section, &text), 4);
    }
}

/// Stage 7: one line for each provider; for a dependency one line in all.
pub fn versions(t: &mut Teller, section: &Section<'_>) {
    let fine = |kind: &Kind| matches!(kind, Kind::Version { outcome: VersionOutcome::Provided, .. });
    if t.is_brief(section) && section.events.iter().all(|event| fine(&event.kind)) {
        let providers = section.events.iter().filter_map(|event| match &event.kind {
            Kind::Version { provider, .. } => Some(provider.short()),
            _ => None,
        });
        let list: Vec<_> = tally(providers).into_iter().map(|(name, n)| format!("{n} of {name}")).collect();
        return t.page.prose(&t.named(section, &format!("all there: {}", list.join(", "))), 4);
    }
    let mut providers: Vec<(&str, Vec<String>)> = Vec::new();
    for event in &section.events {
        let Kind::Version { version, provider, outcome } = &event.kind else {
            t.other(event);
            continue;
        };
        let told = match outcome {
            VersionOutcome::Provided => version.clone(),
            VersionOutcome::ProviderHasNone => {
                format!("{version} {}", dim("(it defines no versions at all: accepted)"))
            }
            VersionOutcome::WeakAndMissing => format!("{version} {}", dim("(missing, but the need is weak: accepted)")),
            VersionOutcome::Missing => bad(&format!("{version} is missing")),
        };
        match providers.iter_mut().find(|(name, _)| *name == provider.short()) {
            Some((_, versions)) => versions.push(told),
            None => providers.push((provider.short(), vec![told])),
        }
    }
    let by = section.subject.filter(|_| t.several).map_or("needed", |subject| subject.short());
    for (provider, versions) in providers {
        let (limit, all) = (t.limit(6), versions.len());
        let more = if all > limit { format!(" … {} more (--all)", all - limit) } else { String::new() };
        let list = versions[..all.min(limit)].join(", ");
        t.page.prose(&format!("{} from {provider}: {list}{}", heading(by), dim(&more)), 4);
    }
}
