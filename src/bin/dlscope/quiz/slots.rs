//! Questions before a store: which eight bytes will stand in the slot?

use dlscope::event::{Event, Kind, Tag};

use super::{Answer, Concept, Number, Question};
use crate::walk::Walk;
use crate::words;

/// The types that are asked about, once each.
const ASKED: [&str; 5] =
    ["R_X86_64_RELATIVE", "R_X86_64_GLOB_DAT", "R_X86_64_64", "R_X86_64_JUMP_SLOT", "R_X86_64_TPOFF64"];

/// A question about the first relocation of each type in the opened library, and one about a weak name that nobody
/// defines.
pub fn questions(walk: &Walk, opened: &Tag) -> Vec<Question> {
    let mut asked = Vec::new();
    let mut questions = Vec::new();
    for (at, event) in walk.events.iter().enumerate() {
        let Kind::Relocation { kind, name, s, .. } = &event.kind else { continue };
        let Some(&kind) = ASKED.iter().find(|known| *known == kind) else { continue };
        if name.as_ref().is_some_and(|name| words::OF_START_UP_FILES.contains(&name.as_str())) {
            continue;
        }
        let is_missing = name.is_some() && s.is_none_or(|s| s.0 == 0);
        if event.object.as_ref() != Some(opened) || asked.contains(&(kind, is_missing)) {
            continue;
        }
        if let Some(question) = question(walk, at, event) {
            asked.push((kind, is_missing));
            questions.push(question);
        }
    }
    questions
}

/// The store that carries out relocation `at`: what stood there, and what stands there after it.
fn store(walk: &Walk, at: usize) -> Option<(u64, u64)> {
    // A relocation that waits for pass 2 is followed by another event.
    let Kind::Store { before, after, size: 8, .. } = &walk.events.get(at + 1)?.kind else { return None };
    (walk.link(at + 1).cause == Some(at)).then_some((before.0, after.0))
}

fn question(walk: &Walk, at: usize, event: &Event) -> Option<Question> {
    let Kind::Relocation { kind, place, name, formula, b, s, a, .. } = &event.kind else { return None };
    let (before, after) = store(walk, at)?;
    let object = event.object.as_ref()?.short();
    let addend = *a as u64;
    let mut letters = vec![('B', Number(b.0)), ('A', Number(addend))];
    let mut given = vec![
        format!("{:<4} {:#x}  the load bias of {object}", "B", b.0),
        format!("{:<4} {}  r_addend", "A", signed(*a)),
        format!("{:<4} {:#x}  what stands in the slot now", "slot", before),
    ];
    let mut slips = vec![
        (*b + *place, "That is the address of the slot. Asked is what goes into it.".to_string()),
        (dlscope::elf::addr::Addr(b.0), "That is the load bias alone.".into()),
    ];
    let mut slips: Vec<(Number, String)> = slips.drain(..).map(|(value, why)| (Number(value.0), why)).collect();
    match (name, s) {
        (Some(name), Some(s)) => {
            letters.push(('S', Number(s.0)));
            let of = definer(walk, at).map_or(String::new(), |(object, _)| format!(" in {object}"));
            let what = if s.0 == 0 {
                "nobody defines it, and the reference is weak".into()
            } else {
                format!("the address of {name}{of}")
            };
            given.push(format!("{:<4} {:#x}  {what}", "S", s.0));
            slips.push((Number(s.0.wrapping_add(b.0)), "S is an address: the load bias is in it.".into()));
            slips.push((Number(s.0), format!("That is S alone; the addend {} is missing.", signed(*a))));
            if let Some((object, bias)) = definer(walk, at) {
                let why = format!("That is st_value, as it stands in the file; the load bias of {object} is missing.");
                slips.push((Number(s.0.wrapping_sub(bias)), why));
            }
        }
        (Some(name), None) => given.push(format!("{:<4} nobody defines {name}, and the reference is weak", "S")),
        (None, _) => {
            let why = "That is the value in the file, where the library begins at 0; B is missing.";
            slips.push((Number(addend), why.into()));
        }
    }
    slips.push((Number(before), "That stands in the slot now. The loader writes something else.".into()));
    slips.retain(|(value, _)| value.0 != after);
    let numbers = walk.formula_of(at).map_or(String::new(), |formula| formula.numbers);
    let is_said = numbers == *formula || numbers == format!("{after:#x}");
    let numbers = if is_said { String::new() } else { format!(" = {numbers}") };
    let symbol = name.as_ref().map_or(String::new(), |name| format!(" of {name}"));
    Some(Question {
        at,
        concept: Concept::Relocation,
        text: format!(
            "{kind}, “{}”: the slot{symbol} at {object}+{place}. Which eight bytes will stand there?",
            words::of_relocation(kind)
        ),
        given,
        answer: Answer::Word { value: Number(after), letters, slips },
        because: format!("The slot gets {formula}{numbers} = {after:#x}."),
    })
}

/// The object that defines the symbol of relocation `at`, and its load bias.
fn definer(walk: &Walk, at: usize) -> Option<(&str, u64)> {
    let lookup = &walk.events[walk.link(at).lookup?].kind;
    let Kind::Lookup { found: Some(found), .. } = lookup else { return None };
    let object = found.object.as_ref()?;
    Some((object.short(), walk.atlas.bias(object.id)?.0))
}

fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{:#x}", number.unsigned_abs())
}
