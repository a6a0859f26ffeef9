//! Stages 5 to 7 (dynamic, needed, versions): the dynamic section, the dependencies and the versions of a library.

use dlscope::event::{Arrival, Event, Kind, VersionOutcome};
use goblin::elf64::dynamic::DT_RELA;

use super::{Teller, tally};
use crate::page::{Table, bad, count, dim, good, heading};
use crate::story::Section;
use crate::{walk, words};

/// One entry of the dynamic section, ready to be shown.
struct DynamicRow<'e> {
    vaddr: String,
    tag: &'e str,
    value: String,
    text: Option<&'e str>,
}

/// Stage 5, dynamic.
pub fn dynamic(t: &mut Teller, section: &Section<'_>) {
    let mut entries = Vec::new();
    let mut stores = Vec::new();
    for event in &section.events {
        match &event.kind {
            Kind::Store { address, before, after, .. } => stores.push((*address, before, after)),
            Kind::DynamicEntry { vaddr, tag, value, text } => {
                let value = shown(tag, value.0);
                entries.push(DynamicRow { vaddr: vaddr.to_string(), tag, value, text: text.as_deref() });
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
        t.page.table(&table, 2);
    }
    if let (Some(first), Some(bias)) = (stores.first(), t.object(section).and_then(|object| object.bias)) {
        let line = format!(
            "{} of them become addresses, as in ld.so: d_ptr + B. The first: {} → {}",
            stores.len(),
            first.1,
            first.2
        );
        t.page.prose(&line, 2);
        if t.view.all {
            let mut table = Table::whole(true);
            for (address, before, after) in stores {
                // `d_ptr` is the second word of an entry.
                let entry = bias.vaddr(address).0.wrapping_sub(8);
                let tag = entries.iter().find(|row| row.vaddr == format!("{entry:#x}")).map_or("", |row| row.tag);
                table.row([tag.to_string(), before.to_string(), format!("→ {after}")]);
            }
            t.page.table(&table, 4);
        }
    }
    if let Some(line) = tables {
        t.page.prose(&line, 2);
    }
}

/// A value as `readelf -d` prints it: lengths and counts in decimal, addresses in hexadecimal, and the tag in
/// `DT_PLTREL` by its name.
fn shown(tag: &str, value: u64) -> String {
    let is_number = ["SZ", "ENT", "NUM", "COUNT"].iter().any(|end| tag.ends_with(end));
    match tag {
        // The value is itself a tag.
        "DT_PLTREL" if value == DT_RELA => "DT_RELA".into(),
        _ if is_number => value.to_string(),
        _ => format!("{value:#x}"),
    }
}

fn each(entries: &[DynamicRow<'_>]) -> Table {
    let mut table = Table::whole(true);
    for entry in entries {
        let theme = words::DYNAMIC.iter().find(|(_, tags)| tags.contains(&entry.tag)).map_or("", |(theme, _)| theme);
        let last = entry.text.map_or_else(|| dim(theme), str::to_string);
        table.row([entry.vaddr.clone(), entry.tag.to_string(), entry.value.clone(), last]);
    }
    table
}

/// The entries grouped by theme, up to four on a line.
fn by_theme(entries: &[DynamicRow<'_>]) -> Table {
    let mut table = Table::whole(true);
    let told = |entry: &DynamicRow<'_>| match entry.text {
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
    let known = |e: &&DynamicRow<'_>| !words::DYNAMIC.iter().any(|(_, tags)| tags.contains(&e.tag));
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

/// Stage 6, needed. The event `Known` before an adopted dependency is part of the dependency's line.
pub fn needed(t: &mut Teller, section: &Section<'_>) {
    if t.is_brief(section) {
        return needed_in_brief(t, section);
    }
    let mut table = Table::default();
    for event in &section.events {
        match &event.kind {
            Kind::Needed { name, object, how } => {
                let by = event.object.as_ref().filter(|_| t.several).map_or(String::new(), |by| heading(by.short()));
                let bias = t.atlas.bias(object.id).map_or(String::new(), |bias| format!(" at load bias {bias}"));
                let how = match how {
                    Arrival::Adopted => format!("already in this process, adopted{bias}: {}", object.name),
                    Arrival::Loaded => format!("loaded before by this loader{bias}"),
                    Arrival::Shared => format!("already mapped by this load{bias}"),
                    Arrival::New => good(&format!("new, mapped by this load{bias}")),
                };
                table.row([by, name.clone(), how]);
            }
            Kind::Known { .. } => {}
            _ => t.other(event),
        }
    }
    t.page.table(&table, 0);
    let is_adopted = |event: &&Event| matches!(event.kind, Kind::Needed { how: Arrival::Adopted, .. });
    if section.events.iter().any(is_adopted) {
        t.page.line(dim("what an adopted library needs was found when the program started; it is in the scope, too"));
    }
}

/// The dependencies of a dependency, in one line.
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

/// Stage 7, versions: a line for each provider. For a dependency one line is enough if nothing is missing.
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
            VersionOutcome::Missing => bad(&format!("{version} is missing")),
            _ => format!("{version} {}", dim(&format!("({})", walk::version(*outcome)))),
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
