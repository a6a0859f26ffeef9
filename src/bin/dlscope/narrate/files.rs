//! Stages 1 and 2 (find, read): the paths that the loader tried, and the headers of the file.

use dlscope::event::{Asked, Kind, Outcome};

use super::Teller;
use crate::page::{Table, bad, count, dim, good, heading, thousands};
use crate::story::Section;
use crate::walk::same;

/// Stage 1, find.
pub fn find(t: &mut Teller, section: &Section<'_>) {
    if let Some((name, by)) = section.wanted {
        let text = format!("{}, needed by {}", heading(name), by.short());
        t.page.line(text);
    }
    for event in &section.events {
        match &event.kind {
            Kind::Begin { request, name, caller } => {
                let line = asked(*request, name, caller.as_ref().map(|c| c.short()), section);
                t.page.line(line);
            }
            Kind::Known { name, by } => {
                let object = event.object.as_ref().map_or("an object", |o| &*o.name);
                let line = format!("{name:?} is already in this process: {object} ({})", same(*by));
                t.page.line(line);
            }
            Kind::Search { .. } | Kind::Rule { .. } | Kind::Try { .. } => {}
            kind if kind.strace().is_some() => {}
            _ => t.other(event),
        }
    }
    tries(t, section);
    if t.is_brief(section) {
        return;
    }
    // The table has the missing paths already, so their calls of openat(2) are left out.
    let all = t.view.all;
    let is_told = |kind: &Kind| kind.strace().is_some() && (all || !matches!(kind, Kind::Open { fd: Err(_), .. }));
    for event in section.events.iter().filter(|e| is_told(&e.kind)) {
        t.other(event);
    }
}

fn asked(request: Asked, name: &str, caller: Option<&str>, section: &Section<'_>) -> String {
    let nested = match section.parent {
        Some(parent) => format!("  (request {}, made by code that request {} runs)", section.load.0, parent.0),
        None => String::new(),
    };
    let how = if name.contains('/') {
        "has a '/', so it is a path: nothing is searched".to_string()
    } else {
        let by = caller.map_or(String::new(), |caller| format!(" on behalf of {caller}"));
        format!("has no '/', so it is searched{by}")
    };
    let only = if request == Asked::Prepare { "; none of its code will run" } else { "" };
    format!("{name:?} {how}{only}{}", dim(&nested))
}

/// A table of rules, outcomes and paths. The missing builds for newer processors of one directory share a line.
fn tries(t: &mut Teller, section: &Section<'_>) {
    let mut table = Table::whole(t.view.all);
    let mut last_rule = String::new();
    let mut rule_cell = |rule: String| {
        if rule == last_rule {
            return String::new();
        }
        last_rule.clone_from(&rule);
        rule
    };
    let mut misses: Vec<&str> = Vec::new();
    for event in &section.events {
        match &event.kind {
            Kind::Rule { rule, dirs } if dirs.is_empty() => table.row([rule_cell(rule.to_string()), dim("none")]),
            Kind::Try { path, rule, outcome: Outcome::Missing(_) } if path.contains("/glibc-hwcaps") && !t.view.all => {
                // Missing builds that follow each other share a row, which gets its paths at their end.
                if misses.is_empty() {
                    table.row([rule_cell(rule.to_string()), dim("not there")]);
                }
                misses.push(path);
            }
            Kind::Try { path, rule, outcome } => {
                finish_misses(&mut table, &mut misses);
                let (verdict, why) = told(outcome);
                table.row([rule_cell(rule.to_string()), verdict, format!("{path}{why}")]);
            }
            _ => {}
        }
    }
    finish_misses(&mut table, &mut misses);
    t.page.table(&table, 2);
}

fn finish_misses(table: &mut Table, misses: &mut Vec<&str>) {
    if !misses.is_empty() {
        table.amend_last([together(misses)]);
        misses.clear();
    }
}

/// Several paths as a shell would write them: `/lib/glibc-hwcaps/x86-64-v{3,2}/libz.so.1`.
fn together(paths: &[&str]) -> String {
    const LEVEL: &str = "/glibc-hwcaps/x86-64-v";
    let parts: Option<Vec<_>> = paths.iter().map(|path| path.split_once(LEVEL)).collect();
    match parts.as_deref() {
        Some([(dir, first), _, ..]) => {
            let levels: Vec<_> = parts.iter().flatten().filter_map(|(_, rest)| rest.split('/').next()).collect();
            let name = first.split_once('/').map_or("", |(_, name)| name);
            format!("{dir}{LEVEL}{{{}}}/{name}", levels.join(","))
        }
        _ => paths.join(", "),
    }
}

/// The outcome of a path, and the reason behind it if there is one.
fn told(outcome: &Outcome) -> (String, String) {
    match outcome {
        Outcome::Found => (good("found"), String::new()),
        Outcome::Missing(errno) if errno == "ENOENT" => (dim("not there"), String::new()),
        Outcome::Missing(errno) => (bad(errno), String::new()),
        Outcome::Passed(why) => (bad("passed over"), format!(": {why}")),
    }
}

/// Stage 2, read.
pub fn read(t: &mut Teller, section: &Section<'_>) {
    if t.is_brief(section) {
        return read_in_brief(t, section);
    }
    let mut table = Table::whole(true);
    table.row(["", "type", "p_offset", "p_vaddr", "p_filesz", "p_memsz", "flags", "p_align"].map(dim));
    for event in &section.events {
        match &event.kind {
            Kind::Stat { device, inode, .. } => {
                let identity = format!("device {}:{}, inode {inode}", major(*device), minor(*device));
                let call = event.kind.strace().unwrap_or_default();
                t.page.remarked(&call, 0, &identity);
            }
            Kind::Header { e_type, e_machine, e_phoff, e_phnum, .. } => {
                let line = format!("e_type {e_type} · e_machine {e_machine} · e_phoff {e_phoff} · e_phnum {e_phnum}");
                t.page.line(line);
            }
            Kind::ProgramHeader { name, segment: s, .. } => {
                let numbers = [s.offset.0, s.vaddr.0, s.filesz, s.memsz].map(|n| format!("{n:#x}"));
                let [offset, vaddr, filesz, memsz] = numbers;
                let (index, flags, align) = (s.index.to_string(), s.flags.to_string(), format!("{:#x}", s.align));
                table.row([index, name.to_string(), offset, vaddr, filesz, memsz, flags, align]);
            }
            _ => t.other(event),
        }
    }
    if section.events.iter().any(|e| matches!(e.kind, Kind::ProgramHeader { .. })) {
        t.page.gap();
        t.page.table(&table, 2);
    }
}

fn read_in_brief(t: &mut Teller, section: &Section<'_>) {
    let headers = section.events.iter().filter(|e| matches!(e.kind, Kind::ProgramHeader { .. })).count();
    let header = section.events.iter().find_map(|e| match &e.kind {
        Kind::Header { e_type, e_machine, file_length, .. } => Some((e_type, e_machine, file_length)),
        _ => None,
    });
    if let Some((e_type, e_machine, length)) = header {
        let headers = count(headers as u64, "program header");
        let line = format!("{} bytes · e_type {e_type} · e_machine {e_machine} · {headers}", thousands(*length));
        t.page.line(line);
    }
    for event in section.events.iter().filter(|e| matches!(e.kind, Kind::End { .. })) {
        t.other(event);
    }
}

/// The major number of a device, as glibc's `gnu_dev_major` takes it from the device number.
fn major(device: u64) -> u64 {
    (device >> 32 & 0xffff_f000) | (device >> 8 & 0xfff)
}

fn minor(device: u64) -> u64 {
    (device >> 12 & 0xffff_ff00) | (device & 0xff)
}
