//! Questions about order: which constructors run first, and who may go when a library is closed?

use std::collections::{BTreeSet, HashMap, HashSet};

use dlscope::event::{Arrival, Asked, Kind, Purpose, Stage, Tag};

use super::{Answer, Choice, Concept, MOST_OPTIONS, Question, mixed, places};
use crate::walk::Walk;

/// Before the constructors of the first load run: in which order?
pub fn of_constructors(walk: &Walk) -> Option<Question> {
    let order = |kind: &Kind| matches!(kind, Kind::Order { .. });
    let at = walk.events.iter().position(|event| event.stage == Stage::Init && order(&event.kind))?;
    let Kind::Order { objects } = &walk.events[at].kind else { return None };
    if objects.len() > 1 { of_objects(walk, at, objects) } else { of_one_object(walk, at) }
}

/// The objects with their constructors: dependencies first.
fn of_objects(walk: &Walk, at: usize, objects: &[Tag]) -> Option<Question> {
    let needs = needs(walk);
    let shown: Vec<&Tag> = objects.iter().take(MOST_OPTIONS).collect();
    let right: Vec<String> = shown.iter().map(|tag| tag.short().to_string()).collect();
    if right.iter().collect::<HashSet<_>>().len() < right.len() {
        return None;
    }
    let options = mixed(&right);
    let place = places(&options, &right);
    let mut rules = Vec::new();
    for (before, first) in shown.iter().enumerate() {
        for (after, second) in shown.iter().enumerate().skip(before + 1) {
            if reaches(&needs, second.id, first.id) {
                let why = format!("{second} needs {first}, so the constructors of {first} run first.");
                rules.push((place[before], place[after], why));
            }
        }
    }
    let who = if shown.len() < objects.len() { format!("the first {} of them", shown.len()) } else { "them".into() };
    (!rules.is_empty()).then(|| Question {
        at,
        concept: Concept::Order,
        text: format!("Now the constructors run, object by object. Put {who} in order."),
        given: needed_lines(walk, &shown),
        answer: Answer::Order { options, right: place, rules },
        because: format!(
            "The constructors of what an object needs run before its own. The loader's order: {}.",
            right.join(", ")
        ),
    })
}

/// The constructors of the only object: `DT_INIT`, then `DT_INIT_ARRAY` from its first entry on.
fn of_one_object(walk: &Walk, at: usize) -> Option<Question> {
    let load = walk.events[at].load;
    let calls = walk.events[at..].iter().take_while(|event| event.stage == Stage::Init || event.load != load);
    let purposes = calls.filter(|event| event.load == load).filter_map(|event| match &event.kind {
        Kind::Call { purpose: purpose @ (Purpose::Init | Purpose::InitArray(_)), .. } => Some(purpose.to_string()),
        _ => None,
    });
    let right: Vec<String> = purposes.take(MOST_OPTIONS).collect();
    if right.len() < 2 {
        return None;
    }
    let mut options = mixed(&right);
    options.rotate_left(1);
    let place = places(&options, &right);
    let rules = (1..right.len()).map(|n| {
        let why = if right[n - 1] == "DT_INIT" {
            "DT_INIT runs before everything in DT_INIT_ARRAY.".into()
        } else {
            format!("The array runs from its first entry to the last: {} before {}.", right[n - 1], right[n])
        };
        (place[n - 1], place[n], why)
    });
    let rules = rules.collect();
    Some(Question {
        at,
        concept: Concept::Order,
        text: "Now the constructors run. In which order?".into(),
        given: Vec::new(),
        answer: Answer::Order { options, right: place, rules },
        because: format!("The order is {}.", right.join(", ")),
    })
}

/// Before the opened library is closed: which objects are unmapped?
pub fn of_close(walk: &Walk, opened: &Tag) -> Option<Question> {
    let is_close = |kind: &Kind| matches!(kind, Kind::Begin { request: Asked::Close, .. });
    let of_opened = |at: &usize| {
        let load = walk.events[*at].load;
        walk.events[*at..].iter().any(|event| event.load == load && event.object.as_ref() == Some(opened))
    };
    let closes = walk.events.iter().enumerate().filter(|(_, event)| is_close(&event.kind)).map(|(at, _)| at);
    let at = closes.rev().find(of_opened)?;
    let load = walk.events[at].load;
    let rest = || walk.events[at..].iter().filter(|event| event.load == load);
    let gone_before: HashSet<u32> = unmapped(walk.events[..at].iter());
    let gone = unmapped(rest());
    let mapped = walk.events[..at].iter().filter(|event| matches!(event.kind, Kind::Planned { .. }));
    let mapped = mapped.filter_map(|event| event.object.as_ref()).filter(|tag| !gone_before.contains(&tag.id));
    let mut adopted = walk.events[..at].iter().filter_map(|event| match &event.kind {
        Kind::Needed { object, how: Arrival::Adopted, .. } => Some(object),
        _ => None,
    });
    let why_it_stays = |tag: &Tag| {
        let reasons = rest().filter(|event| event.object.as_ref() == Some(tag));
        let mut reason = reasons.filter_map(|event| match &event.kind {
            Kind::Stays { why } => Some(why.to_string()),
            Kind::Release { opens } if *opens > 0 => Some(format!("it was opened {opens} more time(s)")),
            _ => None,
        });
        let reason = reason.next_back().unwrap_or_else(|| "something that stays needs it".into());
        format!("{tag} stays: {reason}.")
    };
    let mut options = Vec::new();
    for tag in mapped.take(MOST_OPTIONS - 1) {
        let right = gone.contains(&tag.id);
        let why = if right { format!("Nothing needs {tag} any more.") } else { why_it_stays(tag) };
        options.push(Choice { text: tag.short().into(), right, why });
    }
    if let Some(tag) = adopted.next_back() {
        let why = format!("{tag} was in the process before dlscope came, and others use it.");
        options.push(Choice { text: tag.short().into(), right: false, why });
    }
    let of = |right: bool| options.iter().filter(move |option| option.right == right);
    let names: Vec<_> = of(true).map(|option| option.text.as_str()).collect();
    let names =
        if names.is_empty() { "Nothing is unmapped.".into() } else { format!("Unmapped: {}.", names.join(", ")) };
    let stay: BTreeSet<_> = of(false).map(|option| option.why.clone()).collect();
    let because = [names].into_iter().chain(stay).collect::<Vec<_>>().join(" ");
    (options.len() > 1).then(|| Question {
        at,
        concept: Concept::Close,
        text: format!("{opened} is closed. Which objects are unmapped?"),
        given: Vec::new(),
        answer: Answer::Some { options, one: false },
        because,
    })
}

fn unmapped<'e>(events: impl Iterator<Item = &'e dlscope::Event>) -> HashSet<u32> {
    let unmaps = events.filter(|event| matches!(event.kind, Kind::Unmap { .. }));
    unmaps.filter_map(|event| Some(event.object.as_ref()?.id)).collect()
}

/// Which objects each object needs, by `DT_NEEDED`.
fn needs(walk: &Walk) -> HashMap<u32, Vec<u32>> {
    let mut needs: HashMap<u32, Vec<u32>> = HashMap::new();
    for event in &walk.events {
        if let (Some(user), Kind::Needed { object, .. }) = (&event.object, &event.kind) {
            needs.entry(user.id).or_default().push(object.id);
        }
    }
    needs
}

/// Whether `from` needs `to`, perhaps by way of others.
fn reaches(needs: &HashMap<u32, Vec<u32>>, from: u32, to: u32) -> bool {
    let (mut seen, mut waiting) = (HashSet::from([from]), vec![from]);
    while let Some(next) = waiting.pop() {
        for &needed in needs.get(&next).into_iter().flatten() {
            if needed == to {
                return true;
            }
            if seen.insert(needed) {
                waiting.push(needed);
            }
        }
    }
    false
}

/// `libtop.so needs libleft.so, libright.so`, for the objects that are shown.
fn needed_lines(walk: &Walk, shown: &[&Tag]) -> Vec<String> {
    let needs = needs(walk);
    let line = |tag: &&Tag| {
        let of = needs.get(&tag.id)?;
        let names: Vec<_> = shown.iter().filter(|other| of.contains(&other.id)).map(|other| other.short()).collect();
        (!names.is_empty()).then(|| format!("{tag} needs {}", names.join(", ")))
    };
    // By name, so that the lines do not give the order away.
    let mut lines: Vec<_> = shown.iter().filter_map(line).collect();
    lines.sort();
    lines
}
