//! Stages 9 to 11 (seal, publish, init), close, and the host's objects.

use dlscope::event::{Event, Kind, ProtectReason};

use super::relocate::from_thread_pointer;
use super::{Teller, names};
use crate::page::{Table, bad, count, dim, heading, thousands, width_of};
use crate::story::Section;

/// Stage 9, seal.
pub fn seal(t: &mut Teller, section: &Section<'_>) {
    for event in &section.events {
        match &event.kind {
            Kind::Protect { reason: ProtectReason::Relro, .. } => {
                let call = event.kind.strace().unwrap_or_default();
                let remark = match section.subject {
                    Some(subject) if t.several => format!("RELRO of {subject}"),
                    _ => sealed(t, section),
                };
                t.page.remarked(&call, 0, &remark);
            }
            _ => t.other(event),
        }
    }
}

/// The contents of the pages that became read-only.
fn sealed(t: &Teller, section: &Section<'_>) -> String {
    let object = t.object(section);
    let relro = object.and_then(|object| object.segments.iter().find(|s| s.type_name() == "PT_GNU_RELRO"));
    let (Some(object), Some(relro)) = (object, relro) else { return String::new() };
    let mut contents = object.contents(relro);
    contents.retain(|what| what != "constants");
    format!("now read-only: {}", contents.join(", "))
}

/// Stage 10, publish.
pub fn publish(t: &mut Teller, section: &Section<'_>) {
    for event in &section.events {
        match &event.kind {
            Kind::InstallTls { offset, length, template, threads } => {
                let others = match threads {
                    0 => "no other thread is there yet".to_string(),
                    n => format!("{} had it written", count(*n as u64, "other thread")),
                };
                let place = from_thread_pointer(*offset);
                t.page.line(format!(
                    "thread-local variables get their first values: {} at {place}",
                    count(*length, "byte")
                ));
                t.page.prose(&format!("{others}; threads to come copy it from {template}"), 4);
            }
            Kind::Publish { objects } => t.page.prose(&format!("new in the namespace: {}", names(objects)), 2),
            _ => t.other(event),
        }
    }
}

/// Stage 11, init.
pub fn init(t: &mut Teller, section: &Section<'_>) {
    for (at, event) in section.events.iter().enumerate() {
        match &event.kind {
            Kind::Order { objects } if objects.len() > 1 => {
                t.page.prose(&format!("order: {}", names(objects)), 2);
            }
            Kind::Order { .. } if !t.constructors => t.page.line("there are no constructors"),
            Kind::Order { .. } => {}
            Kind::Call { .. } => called(t, section, event, "(argc, argv, envp)"),
            Kind::Return { .. } => returned(t, section, at),
            Kind::Changed { .. } => {}
            _ => t.other(event),
        }
    }
}

/// One call of foreign code.
fn called(t: &mut Teller, section: &Section<'_>, event: &Event, arguments: &str) {
    let Kind::Call { address, purpose } = &event.kind else { return };
    let what = format!("{purpose}{arguments}");
    let place = t.atlas.describe(*address).map_or(String::new(), |place| format!(" = {place}"));
    let name = match section.subject {
        Some(subject) if t.several => {
            format!("{}{:gap$}", heading(subject.short()), "", gap = t.name_width + 2 - width_of(subject.short()))
        }
        _ => String::new(),
    };
    t.page.line(format!("{name}{what:<34}  at {address}{}", dim(&place)));
}

/// The bytes that a call has changed; `at` is the place of its return in `section.events`. The return itself is told
/// only if other requests stand between it and its call.
fn returned(t: &mut Teller, section: &Section<'_>, at: usize) {
    let Kind::Return { address, .. } = &section.events[at].kind else { return };
    let is_its_call = |e: &&&Event| matches!(&e.kind, Kind::Call { address: called, .. } if called == address);
    if !section.events.iter().any(|e| is_its_call(&e)) {
        let place = t.atlas.inside(address.0).unwrap_or_else(|| address.to_string());
        t.page.line(format!("back from {place}"));
    }
    let changes = section.events[at + 1..].iter().take_while(|event| matches!(event.kind, Kind::Changed { .. }));
    let (changes, limit) = (changes.collect::<Vec<_>>(), t.limit(4));
    for change in changes.iter().take(limit) {
        t.other(change);
    }
    t.more(changes.len().saturating_sub(limit), " changes");
}

/// Close: destructors, and the unmapping.
pub fn close(t: &mut Teller, section: &Section<'_>) {
    for (at, event) in section.events.iter().enumerate() {
        match &event.kind {
            Kind::Begin { .. } => {}
            Kind::Return { .. } => returned(t, section, at),
            Kind::Changed { .. } => {}
            Kind::Release { opens: 0 } => {
                let line = t.named(section, "its last use has ended");
                t.page.line(line);
            }
            Kind::Release { opens } => {
                let line = t.named(section, &format!("one use has ended, {opens} left: it stays"));
                t.page.line(line);
            }
            Kind::Stays { why } => {
                let line = t.named(section, &format!("it stays: {why}"));
                t.page.line(line);
            }
            Kind::Unneeded { objects } => {
                t.page.prose(&format!("nothing needs {} any more", names(objects)), 2);
            }
            Kind::Call { .. } => called(t, section, event, "()"),
            Kind::Unmap { length, error, .. } => {
                let call = event.kind.strace().unwrap_or_default();
                let remark = match (error, section.subject) {
                    (Some(_), _) => bad("the kernel refused; tried again at the next open"),
                    (None, Some(subject)) => {
                        format!("{subject} is gone, {} bytes of address space", thousands(*length))
                    }
                    (None, None) => String::new(),
                };
                t.page.remarked(&call, 0, &remark);
            }
            _ => t.other(event),
        }
    }
}

/// The objects of the host.
pub fn host(t: &mut Teller, section: &Section<'_>) {
    let mut adopted = Table::default();
    for event in &section.events {
        match &event.kind {
            Kind::Host { objects } => {
                let line = format!(
                    "{} in the process since its start: {}",
                    count(objects.len() as u64, "object"),
                    names(objects)
                );
                t.page.prose(&line, 2);
            }
            Kind::Adopt { bias, tls_offset, .. } => {
                let name = event.object.as_ref().map_or("", |object| object.short());
                let tls =
                    tls_offset.map_or(String::new(), |o| format!("thread-local block {o:#x} below the thread pointer"));
                adopted.row([heading(name), format!("load bias {bias}"), tls]);
            }
            _ => t.other(event),
        }
    }
    t.page.table(&adopted, 2);
}
