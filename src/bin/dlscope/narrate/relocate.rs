//! Stage 8 (relocate): the slots that were filled in, the formulas, and the symbols.

use std::collections::{HashMap, HashSet};

use dlscope::elf::addr::{Addr, Vaddr, Word};
use dlscope::event::{Binding, Candidate, Event, Kind, ProtectReason, Tag};

use super::{Teller, lookup, tally};
use crate::page::{Table, bad, count, dim, few, heading, shortened, symbol};
use crate::story::Section;
use crate::uses::{Uses, is_read_by_code};
use crate::words;

/// One relocation, with the events that belong to it.
pub struct Fix<'e> {
    /// The event [`Kind::Relocation`].
    pub event: &'e Event,
    /// The event [`Kind::Lookup`] of its symbol. It comes right before the relocation, or before an earlier relocation
    /// with the same symbol.
    pub lookup: Option<&'e Event>,
    /// The IFUNC resolver that was called, and its answer.
    pub answer: Option<(Addr, Option<Addr>)>,
    /// What stood in the slot before, and what was stored there.
    pub store: Option<(Word, Word)>,
    /// The object whose resolver must be called in pass 2, if the relocation waits for that.
    pub deferred: Option<&'e Tag>,
}

/// Groups the events of one object's pass 1 by relocation. The second list has the events that belong to none.
pub fn fixes<'e>(events: &[&'e Event]) -> (Vec<Fix<'e>>, Vec<&'e Event>) {
    let mut fixes: Vec<Fix<'e>> = Vec::new();
    let mut others = Vec::new();
    let mut lookups: HashMap<u32, &'e Event> = HashMap::new();
    let mut pending: Option<&'e Event> = None;
    let mut left = false;
    for &event in events {
        match (&event.kind, fixes.last_mut()) {
            (Kind::Lookup { .. }, _) => pending = Some(event),
            (Kind::Relocation { symbol, .. }, _) => {
                left = false;
                if let (Some(index), Some(lookup)) = (symbol, pending.take()) {
                    lookups.insert(*index, lookup);
                }
                let lookup = symbol.and_then(|index| lookups.get(&index).copied());
                fixes.push(Fix { event, lookup, answer: None, store: None, deferred: None });
            }
            // The stores that follow belong to no relocation, and are not told.
            (Kind::LazyGot { .. } | Kind::LeftForCall { .. }, _) => {
                left = true;
                others.push(event);
            }
            (Kind::Store { .. }, _) if left => {}
            (Kind::Store { before, after, .. }, Some(fix)) if fix.store.is_none() => {
                fix.store = Some((*before, *after));
            }
            (Kind::Call { address, .. }, Some(fix)) => fix.answer = Some((*address, None)),
            (Kind::Return { value, .. }, Some(Fix { answer: Some((_, answer)), .. })) => *answer = *value,
            (Kind::Deferred { resolver_of, .. }, Some(fix)) => fix.deferred = Some(resolver_of),
            // The relocations themselves are told.
            (Kind::Relocated { .. }, _) => {}
            _ => others.push(event),
        }
    }
    // If the load failed at a lookup, no relocation follows it.
    others.extend(pending);
    (fixes, others)
}

impl<'e> Fix<'e> {
    /// The objects that were asked for its symbol, and the definition that was found.
    pub fn search(&self) -> Option<(&'e [Candidate], Option<&'e Binding>)> {
        match &self.lookup?.kind {
            Kind::Lookup { candidates, found, .. } => Some((candidates, found.as_ref())),
            _ => None,
        }
    }

    /// The slot, as a `p_vaddr`.
    fn place(&self) -> Option<Vaddr> {
        match &self.event.kind {
            Kind::Relocation { place, .. } => Some(*place),
            _ => None,
        }
    }

    /// The name of its symbol, if it has one.
    fn name(&self) -> Option<&'e str> {
        match &self.event.kind {
            Kind::Relocation { name, .. } => name.as_deref(),
            _ => None,
        }
    }

    /// Whether the object's reference is bound to its own definition.
    fn is_bound_to_itself(&self) -> bool {
        let found = self.search().and_then(|(_, found)| found?.object.as_ref());
        found.is_some_and(|found| self.event.object.as_ref() == Some(found))
    }

    /// Whether it is for one of the weak names that the compiler's start-up files refer to, and nobody defines it.
    fn is_left_by_start_up_files(&self) -> bool {
        self.name().is_some_and(|name| words::OF_START_UP_FILES.contains(&name))
            && matches!(self.search(), Some((_, None)))
    }

    fn kind(&self) -> &'e str {
        match &self.event.kind {
            Kind::Relocation { kind, .. } => kind,
            _ => "",
        }
    }
}

/// Stage 8, for one object or for all of them together.
pub fn relocate(t: &mut Teller, section: &Section<'_>) {
    let is_first_pass = section.events.iter().any(|e| matches!(e.kind, Kind::Relocation { .. }));
    let (fixes, others) = if is_first_pass { fixes(&section.events) } else { (Vec::new(), section.events.clone()) };
    if section.subject.is_none() {
        return others.iter().for_each(|event| overview(t, event));
    }
    if is_first_pass {
        let kinds = tally(fixes.iter().map(Fix::kind));
        let list: Vec<_> = kinds.iter().map(|(kind, n)| format!("{n} {}", short(kind))).collect();
        let bias = t.object(section).and_then(|object| object.bias);
        let bias = bias.map_or(String::new(), |bias| format!("  B = {bias}"));
        let line = format!("{}: {}", count(fixes.len() as u64, "relocation"), list.join(", "));
        if !t.is_brief(section) || !t.last_was_brief {
            t.page.gap_unless_labelled();
        }
        t.page.line(format!("{}{}", t.named(section, &line), dim(&bias)));
        text_rights(t, &others, ProtectReason::TextOpen);
        t.last_was_brief = t.is_brief(section);
        if t.is_brief(section) {
            shown_in_brief(t, &fixes);
        } else {
            let legend = "symbol, slot (r_offset), old value → new value = formula, where the new value points";
            t.page.line(dim(legend));
            let uses = section.subject.and_then(|object| Uses::of(&object.name, &slots(&fixes)));
            for (kind, n) in kinds {
                let of_kind: Vec<_> = fixes.iter().filter(|fix| fix.kind() == kind).collect();
                one_kind(t, kind, n, &of_kind, uses.as_ref());
            }
        }
        text_rights(t, &others, ProtectReason::TextShut);
    }
    lookup::left_for_calls(t, &others);
    let is_told = |e: &&Event| match e.kind {
        Kind::Protect { .. } => is_first_pass,
        Kind::LazyGot { .. } | Kind::LeftForCall { .. } => true,
        _ => false,
    };
    second_pass(t, section, &others.into_iter().filter(|e| !is_told(e)).collect::<Vec<_>>());
    if let Some(fix) = fixes.last().filter(|fix| fix.store.is_none() && fix.deferred.is_none()) {
        stopped(t, fix);
    }
}

/// The calls of mprotect(2) for `DT_TEXTREL` with this reason.
fn text_rights(t: &mut Teller, events: &[&Event], wanted: ProtectReason) {
    let note = if wanted == ProtectReason::TextOpen { "open text" } else { "shut text" };
    for event in events {
        match &event.kind {
            Kind::Protect { reason, .. } if *reason == wanted => {
                t.page.note(note);
                t.other(event);
            }
            _ => {}
        }
    }
}

/// Tells the last relocation of an object if it stored nothing: most likely the load failed there.
fn stopped(t: &mut Teller, fix: &Fix<'_>) {
    let Kind::Relocation { table, index, place, kind, name, .. } = &fix.event.kind else { return };
    let name = name.as_ref().map_or(String::new(), |name| format!(" for {}", symbol(name)));
    t.page.line(format!("the last one, {table}[{index}] {kind} at {place}{name}, stored nothing"));
}

/// The events about all objects: the scope and the passes.
fn overview(t: &mut Teller, event: &Event) {
    match &event.kind {
        Kind::Scope { global, local } => {
            t.page.prose(&format!("scope: {} (in the process since its start)", listed(t, global)), 2);
            t.page.prose(&format!("then {} (the opened library and its dependencies)", listed(t, local)), 2);
        }
        Kind::Pass { pass: 1, objects } => {
            let order =
                if objects.len() > 1 { format!(", dependencies first: {}", listed(t, objects)) } else { String::new() };
            t.page.prose(&format!("pass 1: the relocations that need no code of a new library{order}"), 2);
        }
        Kind::Pass { objects, .. } => {
            t.page.gap_unless_labelled();
            t.page.prose(
                &format!(
                    "pass 2: IFUNC resolvers of {} choose the functions that suit this processor",
                    listed(t, objects)
                ),
                2,
            );
        }
        _ => t.other(event),
    }
}

fn listed(t: &Teller, tags: &[Tag]) -> String {
    if tags.is_empty() { "nobody".into() } else { few(tags.iter().map(|tag| tag.short().into()), t.limit(8)) }
}

/// Whether the word that a relocation stores is no address, but a distance, which may be negative.
fn is_distance(kind: &str) -> bool {
    ["R_X86_64_TPOFF64", "R_X86_64_DTPOFF64"].contains(&kind)
}

/// `-0x2280`: not the bits of a negative number, `0xffffffffffffdd80`.
fn distance(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    format!("{sign}{:#x}", bytes.unsigned_abs())
}

/// `thread pointer - 0x2280`.
pub fn from_thread_pointer(offset: i64) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    format!("thread pointer {sign} {:#x}", offset.unsigned_abs())
}

/// The slots that code may read: those of the GOT.
fn slots(fixes: &[Fix<'_>]) -> HashSet<u64> {
    fixes.iter().filter(|fix| is_read_by_code(fix.kind())).filter_map(|fix| Some(fix.place()?.0)).collect()
}

/// A relocation type without its prefix: `RELATIVE`.
fn short(kind: &str) -> &str {
    kind.strip_prefix("R_X86_64_").unwrap_or(kind)
}

/// All relocations of one type: the formula, its purpose, and the first few relocations with their numbers.
fn one_kind(t: &mut Teller, kind: &str, n: usize, fixes: &[&Fix<'_>], uses: Option<&Uses>) {
    let formula = match fixes.first().map(|fix| &fix.event.kind) {
        Some(Kind::Relocation { formula, .. }) => formula,
        _ => "",
    };
    let purpose = words::of_relocation(kind);
    t.page.gap();
    t.page.sub(format!("{}  {formula}  {}", heading(kind), dim(&format!("{purpose:?} × {n}"))));
    // Nearly every library has these, and they are never what the reader looks for.
    let (of_start_up, fixes): (Vec<&Fix<'_>>, Vec<&Fix<'_>>) =
        fixes.iter().copied().partition(|fix| !t.view.all && fix.is_left_by_start_up_files());
    let n = n - of_start_up.len();
    let limit = t.limit(3);
    let mut table = Table::whole(t.view.all);
    for fix in fixes.iter().take(limit) {
        table.row(row(t, fix, if t.view.all { usize::MAX } else { 30 }));
    }
    let stories: Vec<_> = fixes.iter().take(limit).map(|fix| fix.search().map(|(c, _)| lookup::in_brief(c))).collect();
    // Neighbours with equal lookups show the lookup once.
    t.page.table_below(&table, 4, |at| {
        let story = if at > 0 && stories[at] == stories[at - 1] { None } else { stories[at].clone() };
        let way = fixes[at].place().zip(uses).map_or(Vec::new(), |(slot, uses)| uses.way_to(slot.0));
        story.into_iter().chain(way).collect()
    });
    if n > limit {
        t.page.sub(format!("  {}", dim(&format!("… {} more (--all)", n - limit))));
    }
    if kind == "R_X86_64_JUMP_SLOT" && fixes.iter().take(limit).any(|fix| fix.is_bound_to_itself()) {
        let line = "a slot for a function of its own: another object's may come first (dlscope explain interposition)";
        t.page.sub(format!("  {}", dim(line)));
    }
    if !of_start_up.is_empty() {
        let names = count(of_start_up.len() as u64, "weak name");
        let line = format!(
            "{names} of the compiler's start-up files, which nobody defines: 0 (dlscope explain __gmon_start__)"
        );
        t.page.sub(format!("  {}", dim(&line)));
    }
}

/// In a dependency, the slots of the symbols that the fixture is about.
fn shown_in_brief(t: &mut Teller, fixes: &[Fix<'_>]) {
    let fixes: Vec<_> =
        fixes.iter().filter(|fix| fix.name().is_some_and(|name| t.view.shows.contains(&name))).collect();
    let mut table = Table::whole(true);
    for fix in &fixes {
        table.row(row(t, fix, 30));
    }
    t.page.table_below(&table, 4, |at| {
        fixes[at].search().map(|(asked, _)| lookup::in_brief(asked)).into_iter().collect()
    });
}

/// The cells for one relocation: symbol, slot, value before, value after, formula in numbers, target.
fn row(t: &Teller, fix: &Fix<'_>, room: usize) -> Vec<String> {
    let Kind::Relocation { place, name, .. } = &fix.event.kind else { return Vec::new() };
    let name = name.as_ref().map_or(String::new(), |name| symbol(&shortened(name, room)));
    let (before, after) = match (fix.store, fix.deferred) {
        (Some((before, after)), _) if is_distance(fix.kind()) => {
            (before.to_string(), format!("→ {}", distance(after.0 as i64)))
        }
        (Some((before, after)), _) => (before.to_string(), format!("→ {after}")),
        (None, Some(_)) => (String::new(), "→ in pass 2".into()),
        (None, None) => (String::new(), "→ nothing stored".into()),
    };
    vec![name, place.to_string(), before, after, arithmetic(fix), target(t, fix)]
}

/// The formula with its numbers: `= 0x7f596ebe2000 + 0x4010`.
pub fn arithmetic(fix: &Fix<'_>) -> String {
    let Kind::Relocation { formula, b, s, a, .. } = &fix.event.kind else { return String::new() };
    let addend = if *a < 0 { format!("- {:#x}", a.unsigned_abs()) } else { format!("+ {a:#x}") };
    if fix.deferred.is_some() {
        return String::new();
    }
    match (*formula, s) {
        ("B + A", _) => format!("= {b} {addend}"),
        ("S + A", Some(s)) if *a != 0 => format!("= {s} {addend}"),
        // S stands for the answer of the resolver, not for its address.
        ("S" | "S + A", Some(_)) if fix.answer.is_some() => "= S()".into(),
        ("S" | "S + A", Some(_)) => "= S".into(),
        (formula, _) => format!("= {formula}, A = {a:#x}"),
    }
}

/// What the new value of the slot points to.
pub fn target(t: &Teller, fix: &Fix<'_>) -> String {
    if let Some(tag) = fix.deferred {
        return format!("an IFUNC resolver of {tag} has to be asked");
    }
    let stored = fix.store.map(|(_, after)| Addr(after.0));
    match fix.search() {
        Some((_, None)) => bad("undefined, but weak: 0 is allowed"),
        Some((_, Some(found))) => match fix.answer {
            Some((resolver, _)) => {
                let object = found.object.as_ref().map_or(String::new(), |o| t.atlas.of(o, resolver));
                format!("what the IFUNC resolver {object} answers")
            }
            None => lookup::definition(&t.atlas, found),
        },
        None => stored.and_then(|at| t.atlas.describe(at)).unwrap_or_default(),
    }
}

/// Pass 2: the answers of IFUNC resolvers, and the slots that got them.
fn second_pass(t: &mut Teller, section: &Section<'_>, events: &[&Event]) {
    let mut table = Table::whole(t.view.all);
    let mut answer = None;
    let mut rows = 0;
    let limit = if t.is_brief(section) { 1 } else { t.limit(5) };
    for event in events {
        match &event.kind {
            // What it has done is told.
            Kind::Call { .. } | Kind::Relocated { .. } => {}
            Kind::StaticTls { offset, length, align, left } => {
                let place = from_thread_pointer(*offset);
                let size = format!("{}, aligned to {align}", count(*length, "byte"));
                t.page.line(t.named(section, &format!("in every thread its thread-local variables lie at {place}")));
                t.page.prose(
                    &format!("{size}; {} of the room that dlscope keeps for this are left", count(*left, "byte")),
                    4,
                );
            }
            // No relocation follows this lookup, because the load failed there.
            Kind::Lookup { name, candidates, found, .. } => {
                t.page.line(format!("{}  {}", symbol(name), lookup::bound_to(&t.atlas, found.as_ref())));
                t.page.prose(&format!("asked: {}", lookup::in_brief(candidates)), 4);
            }
            Kind::Return { address, value } => answer = Some((*address, *value)),
            Kind::Store { address, before, after, .. } => {
                let (slot, resolver) = (*address, answer.take().map(|(resolver, _)| resolver));
                rows += 1;
                if rows <= limit {
                    table.row(answered(t, slot, *before, *after, resolver));
                }
            }
            _ => t.other(event),
        }
    }
    if rows > 0 {
        let line = format!("{} answered", count(rows as u64, "resolver"));
        t.page.line(t.named(section, &line));
        t.page.table(&table, 2);
        t.more(rows.saturating_sub(limit), "");
    }
}

fn answered(t: &Teller, slot: Addr, before: Word, after: Word, resolver: Option<Addr>) -> Vec<String> {
    let put_off = t.atlas.put_off(slot);
    let name = put_off.and_then(|p| p.name.as_deref()).map_or_else(
        || put_off.map_or(String::new(), |p| short(&p.kind).to_string()),
        |name| symbol(&shortened(name, 30)),
    );
    let place = t.atlas.inside(slot.0).unwrap_or_else(|| slot.to_string());
    let asked = resolver.and_then(|resolver| t.atlas.inside(resolver.0));
    let asked = asked.map_or(String::new(), |resolver| format!("asked {resolver}"));
    let answer = t.atlas.describe(Addr(after.0)).unwrap_or_default();
    vec![name, place, before.to_string(), format!("→ {after}"), answer, dim(&asked)]
}
