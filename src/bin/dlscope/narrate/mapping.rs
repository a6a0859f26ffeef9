//! Stages 3 and 4 (plan, map): the plan of the address space, and the mappings.

use dlscope::elf::addr::{Bias, PAGE};
use dlscope::elf::image::Segment;
use dlscope::elf::plan::Plan;
use dlscope::event::{Event, Kind, ProtectReason};

use super::Teller;
use crate::page::{Table, count, dim};
use crate::story::Section;

/// Stage 3, plan.
pub fn plan(t: &mut Teller, section: &Section<'_>) {
    for event in &section.events {
        let Kind::Planned { plan } = &event.kind else {
            t.other(event);
            continue;
        };
        let loads = loads(t, section);
        let what = format!(
            "{} span {} … {}: {}, {:#x} bytes, in one reservation{}",
            count(loads.len() as u64, "PT_LOAD segment"),
            plan.span.start,
            plan.span.end,
            count(plan.length() / PAGE, "page"),
            plan.length(),
            if plan.align > PAGE { format!(", at a multiple of {:#x}", plan.align) } else { String::new() },
        );
        t.page.line(what);
        if t.is_brief(section) {
            t.page.line(picture(plan, &loads, t.page.room()));
        } else {
            t.page.gap();
            segments(t, section, &loads);
            t.page.gap();
            t.page.sub(picture(plan, &loads, t.page.room() - 2));
        }
    }
}

fn loads(t: &Teller, section: &Section<'_>) -> Vec<Segment> {
    t.object(section).into_iter().flat_map(|object| object.loads()).cloned().collect()
}

/// A row for each `PT_LOAD`: its numbers, and its contents.
fn segments(t: &mut Teller, section: &Section<'_>, loads: &[Segment]) {
    let Some(object) = t.object(section) else { return };
    let mut table = Table::whole(t.view.all);
    table.row(["p_vaddr", "p_offset", "file", "memory", "flags", "what lies there"].map(dim));
    for load in loads {
        let [vaddr, offset, file, memory] =
            [load.vaddr.0, load.offset.0, load.filesz, load.memsz].map(|n| format!("{n:#x}"));
        table.row([vaddr, offset, file, memory, load.flags.to_string(), object.contents(load).join(", ")]);
        if load.memsz > load.filesz {
            let bss = format!("{} of bss: zeros that are not in the file", count(load.memsz - load.filesz, "byte"));
            table.row(["", "", "", "", "", &bss]);
        }
        if let Some(relro) = object.relro_in(load) {
            let (from, to) = (relro.vaddr.0, relro.vaddr.0 + relro.memsz);
            let sealed = format!("{from:#x} … {to:#x} becomes read-only later (PT_GNU_RELRO)");
            table.row(["", "", "", "", "", &sealed]);
        }
    }
    t.page.table(&table, 2);
}

/// A picture of the whole object in one line. The width of a segment stands for its length; short ones are widened so
/// that they can be seen.
///
/// `0x0 ├R-┼────X────┼─R─┼W┤ 0x1d000`
fn picture(plan: &Plan, loads: &[Segment], room: usize) -> String {
    let (start, end) = (plan.span.start.0, plan.span.end.0);
    let room = room.saturating_sub(24).min(72) as u64;
    let width = |bytes: u64| ((bytes * room).div_ceil(end - start) as usize).max(3);
    let mut line = format!("{start:#x} ");
    let mut at = start;
    for load in loads {
        let from = load.vaddr.page_down().0;
        let to = pages_end(load);
        line.push(if from == start { '├' } else { '┼' });
        if from > at {
            line.push_str(&" ".repeat(width(from - at)));
            line.push('┼');
        }
        let letters = load.flags.to_string();
        let bar = width(to - from).max(letters.len());
        line.push_str(&format!("{letters:─^bar$}"));
        at = to;
    }
    line.push_str(&format!("┤ {end:#x}"));
    line
}

fn pages_end(load: &Segment) -> u64 {
    (load.vaddr.0 + load.memsz).next_multiple_of(PAGE)
}

/// Stage 4, map. The margin says what a system call is for.
pub fn map(t: &mut Teller, section: &Section<'_>) {
    let brief = t.is_brief(section);
    let mut left = 0;
    for event in &section.events {
        match &event.kind {
            Kind::Reserve { .. } | Kind::MapWhole { .. } => {
                t.page.note(if matches!(event.kind, Kind::Reserve { .. }) { "reserve" } else { "whole" });
                let call = event.kind.strace().unwrap_or_default();
                t.page.line(call);
            }
            Kind::Placed { .. } if brief => {}
            Kind::Placed { bias, .. } => {
                t.page.note("B");
                t.page.line(format!("load bias = {bias}: p_vaddr + load bias = address"));
                in_place(t, section, *bias);
            }
            _ if brief => left += 1,
            Kind::Zero { address, length } => {
                t.page.note("zero");
                let line = format!("{} at {address} set to 0", count(*length, "byte"));
                let remark = zero_remark(t, section, event);
                t.page.remarked(&line, 0, &remark);
            }
            kind => match kind.strace() {
                Some(call) => {
                    let note = note(t, section, kind);
                    t.page.note(&note);
                    t.page.line(call);
                }
                None => t.other(event),
            },
        }
    }
    t.more(left, if left == 1 { " step" } else { " steps" });
}

/// The segments that the mapping of the whole file has put into place, so that no call follows for them.
fn in_place(t: &mut Teller, section: &Section<'_>, bias: Bias) {
    if !section.events.iter().any(|event| matches!(event.kind, Kind::MapWhole { .. })) {
        return;
    }
    let is_mapped_later = |load: &Segment| {
        let start = bias + load.vaddr.page_down();
        section.events.iter().any(|event| matches!(event.kind, Kind::Map { address, .. } if address == start))
    };
    for load in loads(t, section).into_iter().filter(|load| !is_mapped_later(load)) {
        t.page.note(&format!("{} {}", load.index, load.flags));
        t.page.line("in place already: the first mapping has its pages, with these rights");
    }
}

/// What a system call is for, short enough for the margin.
fn note(t: &Teller, section: &Section<'_>, kind: &Kind) -> String {
    let Some(bias) = t.object(section).and_then(|object| object.bias) else { return String::new() };
    let of = |address: u64| {
        let at = address.wrapping_sub(bias.0);
        loads(t, section).into_iter().find(|load| load.vaddr.page_down().0 <= at && at < pages_end(load))
    };
    match kind {
        Kind::Map { address, prot, .. } => match of(address.0) {
            Some(load) if load.flags != *prot => format!("{} for now", load.index),
            Some(load) => format!("{} {}", load.index, load.flags),
            None => String::new(),
        },
        Kind::MapZero { address, .. } => of(address.0).map_or(String::new(), |load| format!("{} bss", load.index)),
        Kind::Protect { reason: ProtectReason::Plan, prot, .. } => prot.to_string(),
        Kind::Unmap { .. } => "left over".into(),
        _ => String::new(),
    }
}

/// Why bytes were zeroed.
fn zero_remark(t: &Teller, section: &Section<'_>, event: &Event) -> String {
    let Kind::Zero { address, .. } = &event.kind else { return String::new() };
    let Some(bias) = t.object(section).and_then(|object| object.bias) else { return String::new() };
    let at = bias.vaddr(*address);
    let load = loads(t, section).into_iter().find(|load| load.vaddr.0 + load.filesz == at.0);
    load.map_or(String::new(), |load| {
        format!("to the end of the page: p_memsz {:#x} > p_filesz {:#x}", load.memsz, load.filesz)
    })
}
