//! `trace --symbol`: each lookup of one symbol, step by step, and each slot that got its address.

use dlscope::event::{Event, Kind, Stage};

use super::relocate::{Fix, arithmetic, fixes, target};
use super::{Teller, lookup};
use crate::page::{Table, dim, few, heading, symbol, width_of};
use crate::story;

/// Tells what concerns the symbol `name`. Returns how many lookups, and relocations without a lookup, there were.
pub fn tell(t: &mut Teller, events: &[Event], name: &str) -> usize {
    let mut told = 0;
    for section in story::sections(events) {
        let (fixes, _) =
            if section.stage == Stage::Relocate { fixes(&section.events) } else { (Vec::new(), Vec::new()) };
        let of_name: Vec<&Fix<'_>> = fixes.iter().filter(|fix| is_named(fix.event, name)).collect();
        for event in section.events.iter().filter(|event| is_named(event, name)) {
            if !matches!(event.kind, Kind::Lookup { .. }) {
                continue;
            }
            t.page.gap();
            let by = match section.subject {
                Some(subject) => format!("{} {subject}", section.stage),
                None => section.stage.to_string(),
            };
            let its_own = |fix: &&&Fix<'_>| fix.lookup.is_some_and(|lookup| lookup.seq == event.seq);
            let fixes: Vec<_> = of_name.iter().filter(its_own).copied().collect();
            one_lookup(t, event, &by, &fixes);
            used_by(t, &fixes);
            told += 1;
        }
        let without: Vec<_> = of_name.iter().filter(|fix| fix.lookup.is_none()).copied().collect();
        if !without.is_empty() {
            t.page.gap();
            t.page
                .line(format!("{} is hidden or local: no lookup, the library's own definition is used", symbol(name)));
            used_by(t, &without);
            told += 1;
        }
    }
    told
}

fn is_named(event: &Event, wanted: &str) -> bool {
    match &event.kind {
        Kind::Lookup { name, .. } => name == wanted,
        Kind::Relocation { name: Some(name), .. } => name == wanted,
        _ => false,
    }
}

/// One lookup: the slots that want it, every object that was asked, and every step in its hash table.
fn one_lookup(t: &mut Teller, event: &Event, by: &str, fixes: &[&Fix<'_>]) {
    let Kind::Lookup { name, version, hash, candidates, found } = &event.kind else { return };
    let wanted = match version {
        Some(version) => format!("version {version}"),
        None => "no version asked for".into(),
    };
    t.page.raw(&format!("{}: {}, {wanted}, gnu hash {hash:#010x}", heading(by), symbol(name)));
    let slots = fixes.iter().filter_map(|fix| match &fix.event.kind {
        Kind::Relocation { place, kind, .. } => Some(format!("slot {place} ({kind})")),
        _ => None,
    });
    let slots: Vec<_> = slots.collect();
    if !slots.is_empty() {
        t.page.prose(&format!("wanted for {}", few(slots.into_iter(), 4)), 2);
    }
    let width = candidates.iter().map(|c| width_of(c.object.short())).max().unwrap_or(0);
    for candidate in candidates {
        for (at, step) in lookup::steps(&candidate.steps).iter().enumerate() {
            let who = if at == 0 { candidate.object.short() } else { "" };
            t.page.line(format!("{who:width$}  {}", step));
        }
        if candidate.steps.is_empty() {
            t.page.line(format!("{:width$}  it has no hash table", candidate.object.short()));
        }
    }
    let bound = lookup::bound_to(&t.atlas, found.as_ref());
    t.page.line(format!("→ {bound}"));
}

/// The slots that got the address.
fn used_by(t: &mut Teller, fixes: &[&Fix<'_>]) {
    let mut table = Table::whole(true);
    for fix in fixes {
        let Kind::Relocation { table: of, index, entry, place, kind, .. } = &fix.event.kind else { continue };
        let (before, after) = match fix.store {
            Some((before, after)) => (before.to_string(), format!("→ {after}")),
            None => (String::new(), String::new()),
        };
        let slot = format!("slot {place}");
        let row = [format!("{of}[{index}]"), kind.clone(), slot, before, after, arithmetic(fix), target(t, fix)];
        table.row(row.into_iter().chain([dim(&format!("entry at file offset {entry}"))]));
    }
    t.page.table(&table, 0);
}
