//! Events, in the order in which they happened, cut into sections: one stage of one object each.
//!
//! The cuts are made where the stage, the object or the request changes. Three kinds of event are told where they
//! make sense and not a few lines later: a path's outcome beside the path, a file's headers with the object that
//! they become, a known dependency beside whoever needs it.

use dlscope::event::{Event, Kind, LoadId, Stage, Tag};

/// A run of events about one stage of one object.
pub struct Section<'e> {
    /// The stage.
    pub stage: Stage,
    /// The request.
    pub load: LoadId,
    /// The request it is nested in.
    pub parent: Option<LoadId>,
    /// The object that all of it is about; for files, the object that they become.
    pub subject: Option<&'e Tag>,
    /// For a file that is searched for a dependency: the name wanted, and who needs it.
    pub wanted: Option<(&'e str, &'e Tag)>,
    /// The events.
    pub events: Vec<&'e Event>,
}

/// The events in sections.
pub fn sections(events: &[Event]) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let (stage, subject) = belongs(events, at);
        let same = |s: &Section<'_>| s.stage == stage && s.load == event.load && s.subject == subject;
        // The outcome of a path comes after the headers were read; it is told with the path.
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

/// A request begins or ends, or the file of a dependency is looked for: never part of what was before.
fn is_boundary(kind: &Kind) -> bool {
    matches!(kind, Kind::Begin { .. } | Kind::End { .. } | Kind::Search { needed_by: Some(_), .. })
}

/// The stage and object to tell event `at` under.
fn belongs(events: &[Event], at: usize) -> (Stage, Option<&Tag>) {
    let event = &events[at];
    let of_load = || events[at + 1..].iter().filter(|next| next.load == event.load);
    match &event.kind {
        Kind::End { .. } => (event.stage, None),
        // What is known is needed by someone, who is told right after it.
        Kind::Known { .. } => match of_load().next() {
            Some(Event { kind: Kind::Needed { .. }, object, .. }) => (Stage::Needed, object.as_ref()),
            _ => (Stage::Find, None),
        },
        // The host's objects are told together.
        Kind::Adopt { .. } => (event.stage, None),
        _ if event.object.is_some() => (event.stage, event.object.as_ref()),
        _ if matches!(event.stage, Stage::Find | Stage::Read) => {
            // Until the next search of the same load, everything is about the file that is being looked at.
            let planned =
                of_load().take_while(|next| !is_boundary(&next.kind) && !matches!(next.kind, Kind::Needed { .. }));
            let mut planned = planned.filter(|next| matches!(next.kind, Kind::Planned { .. }));
            (event.stage, planned.next().and_then(|next| next.object.as_ref()))
        }
        _ => (event.stage, None),
    }
}

/// The dependency that the search at event `at` is for; `None` for the library that was asked for.
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

/// The object that a load is about: the first that it plans to map.
pub fn opened(events: &[Event]) -> Option<&Tag> {
    events.iter().find(|event| matches!(event.kind, Kind::Planned { .. }))?.object.as_ref()
}
