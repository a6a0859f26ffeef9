//! What an event says apart from addresses, sizes and numbers, in one sentence.

use dlscope::event::{Arrival, Asked, Binding, Candidate, Event, Kind, Outcome, Stage, Tag};

use super::Line;
use crate::story;
use crate::walk::Walk;
use crate::words::OF_START_UP_FILES;

/// The opened library, whatever its name is on this side.
const OPENED: &str = "the library";

/// The beginning of the sentence for a load that fails.
pub const FAILS: &str = "the load fails:";

/// The sentences for all events of a load. Events in a row that say the same are told once, with their number.
pub fn lines(walk: &Walk) -> Vec<Line> {
    let mut teller = Teller { opened: story::opened(&walk.events), searched: "" };
    let mut lines: Vec<Line> = Vec::new();
    let mut tell = |line: Line| match lines.last_mut() {
        Some(last) if last.stage == line.stage && last.text == line.text => last.times += 1,
        _ => lines.push(line),
    };
    for (at, event) in walk.events.iter().enumerate() {
        let stage = match event.stage.number() {
            Some(number) => format!("{number} {}", event.stage),
            None => event.stage.to_string(),
        };
        if let Some(text) = teller.sentence(event) {
            let routine_of = is_routine(&event.kind).then(|| subject(walk, at)).flatten();
            let routine_of = routine_of.map(|tag| teller.name(tag).to_string());
            tell(Line { stage, text, times: 1, routine_of });
        }
        for remark in walk.remarks.get(&at).into_iter().flatten() {
            tell(Line { stage: "call".into(), text: remark.clone(), times: 1, routine_of: None });
        }
    }
    // A load that fails unmaps what it has mapped. That is not what the other side does at its close.
    if lines.iter().any(Line::is_failure) {
        lines.retain(|line| !line.text.ends_with(UNMAPPED));
    }
    lines
}

/// The end of the sentence for an object that is unmapped.
const UNMAPPED: &str = "is unmapped";

/// The object that an event is about: of an event about a file that is being read, the object that it becomes.
fn subject(walk: &Walk, at: usize) -> Option<&Tag> {
    let events = &walk.events[at..];
    events[0].object.as_ref().or_else(|| {
        let planned = events.iter().find(|event| matches!(event.kind, Kind::Planned { .. }));
        planned.filter(|event| event.load == events[0].load)?.object.as_ref()
    })
}

/// Whether the event happens to nearly every object, so that it says nothing where the other side has no such object.
fn is_routine(kind: &Kind) -> bool {
    match kind {
        Kind::Lookup { name, .. } => name == "__cxa_finalize" || OF_START_UP_FILES.contains(&name.as_str()),
        Kind::DynamicEntry { tag, .. } => {
            !["DT_SYMBOLIC", "DT_RPATH", "DT_RUNPATH", "DT_FLAGS"].contains(&tag.as_str())
        }
        Kind::Header { .. }
        | Kind::ProgramHeader { .. }
        | Kind::Map { .. }
        | Kind::MapWhole { .. }
        | Kind::MapZero { .. }
        | Kind::Protect { .. }
        | Kind::Version { .. }
        | Kind::Relocation { .. }
        | Kind::Call { .. }
        | Kind::Release { .. }
        | Kind::Unmap { .. } => true,
        Kind::Needed { how, .. } => *how != Arrival::New,
        _ => false,
    }
}

struct Teller<'e> {
    opened: Option<&'e Tag>,
    /// The name that is being searched for.
    searched: &'e str,
}

impl<'e> Teller<'e> {
    /// The name of an object: the opened one has the same on both sides.
    fn name<'t>(&self, tag: &'t Tag) -> &'t str {
        if self.opened == Some(tag) { OPENED } else { tag.short() }
    }

    fn names(&self, tags: &[Tag]) -> String {
        tags.iter().map(|tag| self.name(tag)).collect::<Vec<_>>().join(", ")
    }

    /// The last part of a path, or what stands for the opened library.
    fn file<'p>(&self, path: &'p str) -> &'p str {
        match self.opened {
            Some(opened) if *opened.name == *path => OPENED,
            _ => crate::page::short(path),
        }
    }

    /// The sentence; `None` for an event that only has addresses or repeats what another one says.
    fn sentence(&mut self, event: &'e Event) -> Option<String> {
        if let Kind::Search { name, .. } = &event.kind {
            self.searched = name;
        }
        let of = event.object.as_ref().map_or(OPENED, |tag| self.name(tag));
        let text = match &event.kind {
            _ if matches!(event.stage, Stage::Host | Stage::Lookup) => return None,
            Kind::Begin { request: Asked::Bind, .. } => {
                format!("a function that {of} calls is bound at its first call")
            }
            Kind::Begin { .. } | Kind::End { error: None } => return None,
            Kind::End { error: Some(error) } => format!("{FAILS} {}", error.lines().next().unwrap_or_default()),
            Kind::Known { name, by } => format!("{} is known: {}", self.file(name), crate::walk::same(*by)),
            Kind::Search { name, needed_by } => {
                let by = needed_by.as_ref().map_or(String::new(), |by| format!(", which {} needs", self.name(by)));
                format!("{} is searched{by}", self.file(name))
            }
            Kind::Try { path, rule, outcome } => {
                let rule = rule.to_string();
                let rule = self.opened.map_or(rule.clone(), |opened| rule.replace(opened.short(), OPENED));
                match outcome {
                    Outcome::Found => format!("{} is taken ({rule})", self.file(path)),
                    Outcome::Missing(_) => format!("{} is not there ({rule})", self.file(self.searched)),
                    Outcome::Passed(why) => format!("{} is passed over: {why} ({rule})", self.file(path)),
                }
            }
            Kind::Header { e_type, e_machine, .. } => format!("a file header: {e_type}, {e_machine}"),
            Kind::ProgramHeader { name, segment, .. } => format!("{name} {}", segment.flags),
            Kind::Map { prot, .. } | Kind::MapWhole { prot, .. } => format!("pages of {of} are mapped {prot}"),
            Kind::MapZero { prot, .. } => format!("{of} gets pages of zeros, {prot}"),
            Kind::Protect { prot, reason, .. } => {
                format!("pages of {of} become {prot}: {}", crate::walk::protect(*reason))
            }
            Kind::DynamicEntry { tag, text: Some(text), .. } if tag != "DT_SONAME" => format!("{of}: {tag} “{text}”"),
            Kind::DynamicEntry { tag, value, .. } if tag.starts_with("DT_FLAGS") => format!("{of}: {tag} {value}"),
            Kind::DynamicEntry { tag, .. } => format!("{of}: {tag}"),
            Kind::Needed { object, how, .. } => {
                format!("{of} needs {}: {}", self.name(object), crate::walk::arrival(*how))
            }
            Kind::Version { version, provider, outcome } => {
                format!("{of} needs version {version} of {}: {}", self.name(provider), crate::walk::version(*outcome))
            }
            Kind::Scope { global, local } => {
                format!("the scope of {of}: {}; then {}", self.names(global), self.names(local))
            }
            Kind::Lookup { name, version, candidates, found, .. } => {
                let version = version.as_ref().map_or(String::new(), |version| format!("@{version}"));
                format!("{name}{version}, which {of} needs, {}", self.answer(candidates, found.as_ref()))
            }
            Kind::Relocation { kind, name: Some(name), .. } => {
                format!("{of}: the slot of {name} is filled in ({kind})")
            }
            Kind::Relocation { kind, name: None, .. } => format!("{of}: a slot is filled in ({kind})"),
            Kind::Deferred { resolver_of, .. } => {
                format!("{of}: a slot waits for a resolver of {}", self.name(resolver_of))
            }
            Kind::LazyGot { .. } => format!("{of}: GOT[1] and GOT[2] lead to the resolver of first calls"),
            Kind::LeftForCall { name, .. } => {
                format!("{of}: the slot of {} is left for its first call", name.as_deref().unwrap_or("a function"))
            }
            Kind::FirstCall { name, .. } => format!("{of}: {name} is called for the first time"),
            Kind::StaticTls { .. } => format!("{of} gets room in the static TLS block"),
            Kind::InstallTls { .. } => format!("the thread-local variables of {of} get their first values"),
            Kind::Order { objects } => format!("order of constructors: {}", self.names(objects)),
            Kind::Call { purpose, .. } => format!("{of}: {purpose} is called"),
            Kind::Release { opens } => format!("{of}: a use ends, {opens} left"),
            Kind::Stays { why } => format!("{of} stays: {why}"),
            Kind::Unneeded { objects } => format!("nothing needs {} any more", self.names(objects)),
            Kind::Unmap { .. } => format!("{of} {UNMAPPED}"),
            _ => return None,
        };
        Some(text)
    }

    /// The outcome of a lookup, and who was asked before.
    fn answer(&self, candidates: &[Candidate], found: Option<&Binding>) -> String {
        let asked = |candidates: &[Candidate]| {
            candidates.iter().map(|candidate| self.name(&candidate.object)).collect::<Vec<_>>().join(", ")
        };
        let Some(found) = found else { return "is found nowhere".into() };
        let place = found.object.as_ref().map_or("dlscope", |object| self.name(object));
        match candidates {
            [] | [_] => format!("is found in {place}"),
            [before @ .., _] => format!("is found in {place}, after {}", asked(before)),
        }
    }
}
