//! A question before pages become read-only: which?

use dlscope::elf::addr::PAGE;
use dlscope::elf::image::Segment;
use dlscope::event::{Kind, ProtectReason, Tag};

use super::{Answer, Choice, Concept, Question};
use crate::walk::Walk;

/// A question about the RELRO pages of the opened library.
pub fn question(walk: &Walk, opened: &Tag) -> Option<Question> {
    let is_seal = |kind: &Kind| matches!(kind, Kind::Protect { reason: ProtectReason::Relro, .. });
    let at = walk.events.iter().position(|e| is_seal(&e.kind) && e.object.as_ref() == Some(opened))?;
    let Kind::Protect { address, length, .. } = walk.events[at].kind else { return None };
    let object = walk.atlas.object(opened.id)?;
    let start = object.bias?.vaddr(address).0;
    let sealed = (start, start + length);
    let relro = object.segments.iter().find(|segment| segment.type_name() == "PT_GNU_RELRO")?;
    let mut options: Vec<((u64, u64), Choice)> = Vec::new();
    let mut offer = |pages: (u64, u64), rights: &str, what: &str, right: bool, why: String| {
        if pages.0 < pages.1 && options.iter().all(|(known, _)| *known != pages) {
            let text = format!("{:#x} … {:#x}  {rights}  {what}", pages.0, pages.1);
            options.push((pages, Choice { text, right, why }));
        }
    };
    let holds = object.contents(relro).join(", ");
    offer(sealed, "RW-", &holds, true, format!("PT_GNU_RELRO covers {:#x} … {:#x}.", sealed.0, sealed.1));
    for load in object.loads() {
        let pages = pages_of(load);
        let what = object.contents(load).join(", ");
        let rights = load.flags.to_string();
        if !load.flags.writable() {
            offer(
                pages,
                &rights,
                &what,
                false,
                format!("{:#x} … {:#x} is not writable, and never was.", pages.0, pages.1),
            );
            continue;
        }
        let why = "Variables and bss must stay writable.";
        offer(pages, &rights, &what, false, why.into());
        if pages.0 <= sealed.1 && sealed.1 < pages.1 {
            offer((sealed.1, pages.1), &rights, "what lies behind it: data, bss", false, why.into());
        }
    }
    options.sort_by_key(|(pages, _)| *pages);
    let (first, end) = (relro.vaddr.0, relro.vaddr.0 + relro.memsz);
    (options.len() > 1).then(|| Question {
        at,
        concept: Concept::Relro,
        text: format!("The relocations of {opened} are done. Which pages become read-only now?"),
        given: vec![format!("PT_GNU_RELRO  p_vaddr {first:#x}, p_memsz {:#x}: up to {end:#x}", relro.memsz)],
        answer: Answer::Some { options: options.into_iter().map(|(_, choice)| choice).collect(), one: true },
        because: format!(
            "The loader seals the whole pages from {:#x} to {:#x}: {holds}. Only the loader had to write there.",
            sealed.0, sealed.1
        ),
    })
}

/// The pages of a segment: its first address, and the one behind it.
fn pages_of(load: &Segment) -> (u64, u64) {
    (load.vaddr.0 & !(PAGE - 1), (load.vaddr.0 + load.memsz).next_multiple_of(PAGE))
}
