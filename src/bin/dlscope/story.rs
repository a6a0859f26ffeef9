//! The events of a load, cut into sections: each section is one stage of one object.
//!
//! A new section begins where the stage, the object or the request changes. Three kinds of event go to another section
//! than the one in which they happened: the outcome of a path goes to the search for the file, the headers of a file to
//! the object that it becomes, and a known dependency to the object that needs it.

use dlscope::event::{Event, Kind, LoadId, Stage, Tag};

/// A run of events about one stage of one object.
pub struct Section<'e> {
    /// The stage.
    pub stage: Stage,
    /// The request.
    pub load: LoadId,
    /// The request that the request is nested in.
    pub parent: Option<LoadId>,
    /// The object that the events are about; for events about a file, the object that the file becomes.
    pub subject: Option<&'e Tag>,
    /// In the search for a dependency: its name, and the object that needs it.
    pub wanted: Option<(&'e str, &'e Tag)>,
    /// The events.
    pub events: Vec<&'e Event>,
}

/// Cuts events into sections.
pub fn sections(events: &[Event]) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let (stage, subject) = belongs(events, at);
        let same = |s: &Section<'_>| s.stage == stage && s.load == event.load && s.subject == subject;
        // The outcome of a path is known only after the headers were read; it belongs to the search.
        let late = matches!(event.kind, Kind::Try { .. });
        let open = match sections.iter().rposition(|s| late && same(s)) {
            Some(earlier) => Some(earlier),
            None => sections.len().checked_sub(1).filter(|&last| same(&sections[last]) && !is_boundary(&event.kind)),
        };
        match open {
            Some(section) => sections[section].events.push(event),
            None => {
                let is_search = stage == Stage::Find && !matches!(event.kind, Kind::Begin { .. } | Kind::End { .. });
                let wanted = if is_search { wanted(events, at) } else { None };
                let (load, parent) = (event.load, event.parent);
                sections.push(Section { stage, load, parent, subject, wanted, events: vec![event] });
            }
        }
    }
    sections
}

/// Whether an event begins a new section: a request begins or ends, or the search for a dependency begins.
fn is_boundary(kind: &Kind) -> bool {
    matches!(kind, Kind::Begin { .. } | Kind::End { .. } | Kind::Search { needed_by: Some(_), .. })
}

/// The stage and the object of the section for event `at`.
fn belongs(events: &[Event], at: usize) -> (Stage, Option<&Tag>) {
    let event = &events[at];
    let of_load = || events[at + 1..].iter().filter(|next| next.load == event.load);
    match &event.kind {
        Kind::End { .. } => (event.stage, None),
        // The event after it says which object needs the known one.
        Kind::Known { .. } => match of_load().next() {
            Some(Event { kind: Kind::Needed { .. }, object, .. }) => (Stage::Needed, object.as_ref()),
            _ => (Stage::Find, None),
        },
        // All objects of the host share one section.
        Kind::Adopt { .. } => (event.stage, None),
        _ if event.object.is_some() => (event.stage, event.object.as_ref()),
        _ if matches!(event.stage, Stage::Find | Stage::Read) => {
            // Up to the next search of the same request, all events are about one file.
            let planned =
                of_load().take_while(|next| !is_boundary(&next.kind) && !matches!(next.kind, Kind::Needed { .. }));
            let mut planned = planned.filter(|next| matches!(next.kind, Kind::Planned { .. }));
            (event.stage, planned.next().and_then(|next| next.object.as_ref()))
        }
        _ => (event.stage, None),
    }
}

/// The dependency that the search at event `at` is for; `None` if it is for the library that the user named.
fn wanted(events: &[Event], at: usize) -> Option<(&str, &Tag)> {
    let load = events[at].load;
    let mut before = events[..=at].iter().rev().filter(|event| event.load == load);
    before
        .find_map(|event| match &event.kind {
            Kind::Search { name, needed_by } => Some((name.as_str(), needed_by.as_ref())),
            _ => None,
        })
        .and_then(|(name, needed_by)| Some((name, needed_by?)))
}

/// The object of the library that was opened: the first one that the loader plans to map.
pub fn opened(events: &[Event]) -> Option<&Tag> {
    events.iter().find(|event| matches!(event.kind, Kind::Planned { .. }))?.object.as_ref()
}
