//! Decides which events get a row of their own, and which share one: no browser can show a page with 400,000
//! relocations.

use std::collections::HashMap;
use std::ops::Range;

use dlscope::event::{Kind, Stage};

use crate::narrate::tally;
use crate::page::{count, thousands};
use crate::walk::Walk;

/// The rows of the timeline. Most have one event, some a run of relocations.
pub fn rows(walk: &Walk, most: usize) -> Vec<Range<usize>> {
    let folded = folded(walk, most);
    let mut rows: Vec<Range<usize>> = Vec::with_capacity(walk.len());
    for at in 0..walk.len() {
        match rows.last_mut() {
            Some(last) if folded[at] && folded[last.start] && same_object(walk, last.start, at) => last.end = at + 1,
            _ => rows.push(at..at + 1),
        }
    }
    rows
}

/// For each event whether it belongs to a relocation beyond the first `most` of its object.
fn folded(walk: &Walk, most: usize) -> Vec<bool> {
    let mut told: HashMap<u32, usize> = HashMap::new();
    let mut folded = vec![false; walk.len()];
    for (at, event) in walk.events.iter().enumerate().filter(|(_, event)| event.stage == Stage::Relocate) {
        let told = told.entry(event.object.as_ref().map_or(0, |object| object.id)).or_default();
        folded[at] = match &event.kind {
            Kind::Relocation { .. } | Kind::LeftForCall { .. } => {
                *told += 1;
                *told > most
            }
            // The relocation that the lookup is for comes next.
            Kind::Lookup { .. } => *told >= most,
            Kind::Store { .. } => walk.link(at).cause.is_some_and(|cause| folded[cause]),
            Kind::Deferred { .. } => *told > most,
            _ => false,
        };
    }
    folded
}

fn same_object(walk: &Walk, one: usize, other: usize) -> bool {
    let object = |at: usize| walk.events[at].object.as_ref().map(|object| object.id);
    object(one) == object(other)
}

/// The sentence for a row with several events.
pub fn sentence(walk: &Walk, row: &Range<usize>) -> String {
    let relocations = row.clone().filter(|&at| matches!(walk.events[at].kind, Kind::Relocation { .. }));
    let types = tally(relocations.map(|at| walk.relocation_type(at).unwrap_or_default()));
    let all = types.iter().map(|(_, number)| *number as u64).sum();
    let each: Vec<_> = types.iter().map(|(kind, number)| format!("{} {kind}", thousands(*number as u64))).collect();
    let object = walk.events[row.start].object.as_ref().map_or("the object", |object| object.short());
    let more = count(all, "more relocation");
    format!("{more} of {object}, carried out in one step here ({}); with --all each is told.", each.join(", "))
}
