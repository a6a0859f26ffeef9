//! A profile as text.

use std::io;

use super::merge::{ObjectProfile, PartTime, Profile};
use super::part::Part;
use crate::page::{Page, count, dim, heading, shortened, symbol, thousands, warm, width_of};
use crate::words;

/// How many rows of a long table are shown, without and with `--all`.
const FEW: usize = 10;
const MANY: usize = 100;

/// Writes the profile to standard output.
pub fn profile(profile: &Profile, all: bool) -> io::Result<()> {
    let mut page = Page::stdout();
    let width = page.width().min(110);
    headline(&mut page, profile);
    parts(&mut page, profile, width);
    objects(&mut page, profile, all, width);
    relocations(&mut page, profile, width);
    symbols(&mut page, profile, all, width);
    beside_glibc(&mut page, profile, width);
    page.finish()
}

fn headline(page: &mut Page, profile: &Profile) {
    let mut parts: Vec<&PartTime> = profile.parts.iter().collect();
    parts.sort_by(|a, b| b.nanoseconds.total_cmp(&a.nanoseconds));
    let share = |time: &&PartTime| format!("{} {}", time.part, percent(time.nanoseconds, profile.whole));
    let most: Vec<String> = parts.iter().take(3).map(share).collect();
    page.raw(&format!("{}: {}, of which {}", heading(&profile.library), duration(profile.silent), most.join(", ")));
    let mapped = profile.count(|counts| counts.mapped.into());
    let numbers = [
        count(mapped, "object") + " mapped",
        count(profile.count(|counts| counts.relocated()), "relocation"),
        count(profile.count(|counts| counts.lookups), "lookup"),
        count(profile.count(|counts| counts.calls), "constructor"),
    ];
    page.raw(&dim(&numbers.join(" · ")));
    page.raw(&dim(&profile.opened));
    page.gap();
}

fn parts(page: &mut Page, profile: &Profile, width: usize) {
    page.raw(&heading(&format!("{:<14}{:>10}{:>8}{:>8}", "stage", "µs", "share", "faults")));
    let longest = profile.parts.iter().map(|time| time.nanoseconds).fold(0.0, f64::max);
    // A narrow terminal has no room for the words about each part.
    let room = if width >= 100 { 26 } else { width - 44 };
    for time in &profile.parts {
        let faults = match time.faults {
            Some(faults) => thousands(faults),
            None => "↓".into(),
        };
        let about = if width >= 100 { time.part.about() } else { "" };
        let bar = bar(time.nanoseconds, time.faulting.unwrap_or(0.0), longest, room);
        let gap = room.saturating_sub(width_of(&bar)) + 2;
        let share = percent(time.nanoseconds, profile.whole);
        let numbers = format!("{:<14}{:>10}{share:>8}{faults:>8}", time.part, micros(time.nanoseconds));
        page.raw(&format!("{numbers}  {bar}{:gap$}{}", "", dim(about)));
    }
    let sum: f64 = profile.parts.iter().map(|time| time.nanoseconds).sum();
    let faults = profile.parts.iter().filter_map(|time| time.faults).sum();
    let share = percent(sum, profile.whole);
    page.raw(&heading(&format!("{:<14}{:>10}{share:>8}{:>8}", "sum", micros(sum), thousands(faults))));
    page.raw(&format!("{:<14}{:>10}{}", "whole call", micros(profile.whole), dim("  watched at the ends of stages")));
    let cost = format!("  nobody watching: {}", cost_of_watching(profile));
    page.raw(&format!("{:<14}{:>10}{}", "silent", micros(profile.silent), dim(&cost)));
    page.raw(&match profile.faulting() {
        Some(time) => {
            let less = format!("{} µs less with all pages in memory beforehand", micros(time));
            format!("{} work   {} page faults: {less}", symbol("█"), warm("░"))
        }
        None => format!("{} work; what page faults cost cannot be tried on this kernel", symbol("█")),
    });
    let runs = count(profile.runs as u64, "run");
    page.raw(&dim(&format!("↓ counted in the next row; {runs} of each sort, each in a process of its own")));
    page.gap();
}

fn cost_of_watching(profile: &Profile) -> String {
    match (profile.whole / profile.silent - 1.0) * 100.0 {
        cost if cost < 0.5 => "what watching costs is lost in the noise of this machine".into(),
        cost => format!("the watching cost {cost:.0} %"),
    }
}

fn objects(page: &mut Page, profile: &Profile, all: bool, width: usize) {
    let columns = ["µs", "search", "map", "lookup", "relocate", "constr.", "relocs", "copied"];
    let name_room = width.saturating_sub(62).clamp(18, 40);
    let mut line = format!("{:<name_room$}", "object");
    let widths = [8, 8, 7, 7, 9, 8, 8, 7];
    for (column, width) in columns.iter().zip(widths) {
        line += &format!("{column:>width$}");
    }
    page.raw(&heading(&line));
    let shown = if all { usize::MAX } else { FEW };
    for object in profile.objects.iter().take(shown) {
        let mut line = format!("{:<name_room$}", shortened(object.short(), name_room - 1));
        for (cell, width) in cells(object).iter().zip(widths) {
            line += &format!("{cell:>width$}");
        }
        page.raw(&line);
    }
    left_out(page, profile.objects.len(), shown);
    pages(page, profile);
}

/// The cells of an object's row. The first one, the whole time, includes parts that have no column.
fn cells(object: &ObjectProfile) -> [String; 8] {
    let sum = |parts: &[Part]| parts.iter().map(|part| object.part(*part)).sum::<f64>();
    let micros = |time: f64| if time == 0.0 { "·".into() } else { micros(time) };
    let or_dot = |number: Option<u64>| number.filter(|n| *n > 0).map_or("·".into(), thousands);
    [
        micros(object.nanoseconds),
        micros(sum(&[Part::Search])),
        micros(sum(&[Part::Map, Part::Dynamic, Part::Seal])),
        micros(sum(&[Part::Lookup])),
        micros(sum(&[Part::Relocate])),
        micros(sum(&[Part::Constructors])),
        or_dot(object.counts.as_ref().map(|counts| counts.relocated())),
        or_dot(object.pages.as_ref().map(|pages| pages.ready.copied)),
    ]
}

fn pages(page: &mut Page, profile: &Profile) {
    let sum = |of: fn(&super::pages::ObjectPages) -> u64| {
        profile.objects.iter().filter_map(|object| object.pages.as_ref()).map(of).sum::<u64>()
    };
    let (span, resident) = (sum(|p| p.ready.span), sum(|p| p.ready.resident));
    let (copied, zeroed) = (sum(|p| p.ready.copied), sum(|p| p.ready.zeroed));
    let by_loader = sum(|p| p.published.copied);
    page.raw(&dim(&format!(
        "pages: {} spanned, {} in use, {} copied because they were written",
        thousands(span),
        thousands(resident),
        thousands(copied)
    )));
    page.raw(&dim(&format!(
        "       ({} of them before any constructor ran), {} zero at first and used",
        thousands(by_loader),
        thousands(zeroed)
    )));
    page.raw(&dim("map is with dynamic and seal; versions and publish are in the whole only"));
    page.gap();
}

fn relocations(page: &mut Page, profile: &Profile, width: usize) {
    let types = profile.relocations();
    let all: u64 = types.iter().map(|(_, count)| count).sum();
    let most = types.first().map_or(1, |(_, count)| *count);
    page.raw(&heading(&format!("{:<24}{:>10}{:>8}", "relocations", thousands(all), "share")));
    let room = 14;
    for (name, number) in &types {
        let bar = bar(*number as f64, 0.0, most as f64, room);
        let gap = room - width_of(&bar) + 2;
        let about = shortened(words::of_relocation(name), width.saturating_sub(44 + room + 2));
        let share = percent(*number as f64, all as f64);
        page.raw(&format!("{name:<24}{:>10}{share:>8}  {bar}{:gap$}{}", thousands(*number), "", dim(&about)));
    }
    page.gap();
}

fn symbols(page: &mut Page, profile: &Profile, all: bool, width: usize) {
    if profile.symbols.is_empty() {
        return;
    }
    let room = (width - 44).min(60);
    page.raw(&heading(&format!("{:<room$}{:>9}{:>8}  {}", "most looked up", "lookups", "asked", "found in")));
    let shown = if all { MANY } else { FEW };
    for found in profile.symbols.iter().take(shown) {
        let version = found.version.as_ref().map_or(String::new(), |version| format!("@{version}"));
        let name = shortened(&format!("{}{version}", found.name), room - 1);
        let gap = room - name.chars().count();
        let place = found.found.as_deref().map_or("nothing: weak".into(), |object| shortened(object, 24));
        let numbers = format!("{:>9}{:>8}", thousands(found.lookups), thousands(found.asked));
        page.raw(&format!("{}{:gap$}{numbers}  {place}", symbol(&name), ""));
    }
    let lookups = profile.count(|counts| counts.lookups);
    let (asked, no) = (profile.count(|counts| counts.asked), profile.count(|counts| counts.bloom_no));
    left_out(page, profile.symbols.len(), shown);
    let names = count(profile.symbols.len() as u64, "name");
    page.raw(&dim(&format!("{} by {names}; {} asked,", count(lookups, "lookup"), count(asked, "hash table"))));
    page.raw(&dim(&format!("of which {} said no by their bloom filter", thousands(no))));
    page.gap();
}

fn beside_glibc(page: &mut Page, profile: &Profile, width: usize) {
    let glibc = &profile.glibc;
    let relocating = profile.part(Part::Lookup) + profile.part(Part::Relocate);
    let relative = profile.relocations().iter().find(|(name, _)| name == "R_X86_64_RELATIVE").map_or(0, |(_, n)| *n);
    let time = |time: Option<f64>| time.map_or("–".into(), micros);
    let number = |number: Option<u64>| number.map_or("–".into(), thousands);
    let rows = [
        ("the call, silent, µs", micros(profile.silent), time(glibc.dlopen), "dlopen, nobody watching"),
        ("relocation, µs", micros(relocating), time(glibc.relocation), "time needed for relocation *"),
        ("symbols looked up", thousands(profile.count(|c| c.lookups)), number(glibc.lookups), "number of relocations"),
        (
            "the one before again",
            thousands(profile.count(|c| c.reused)),
            number(glibc.reused),
            "relocations from cache",
        ),
        ("relative relocations", thousands(relative), number(glibc.relative), "relative relocations *"),
    ];
    page.raw(&heading(&format!("{:<24}{:>10}{:>10}  {}", "beside glibc", "dlscope", "glibc", "LD_DEBUG=statistics")));
    for (name, ours, theirs, what) in rows {
        page.raw(&format!("{name:<24}{ours:>10}{theirs:>10}  {}", dim(&shortened(what, width - 46))));
    }
    page.raw(&dim("* as LD_PRELOAD at a program's start, less a start without it; see --help"));
}

fn left_out(page: &mut Page, all: usize, shown: usize) {
    if all > shown {
        page.raw(&dim(&format!(
            "… {} more{}",
            thousands((all - shown) as u64),
            if shown == FEW { " (--all)" } else { "" }
        )));
    }
}

// ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────

/// A time in microseconds: `12.3`, `1,234`.
fn micros(nanoseconds: f64) -> String {
    let tenths = (nanoseconds / 100.0).round() as u64;
    match tenths {
        10_000.. => thousands((tenths + 5) / 10),
        _ => format!("{}.{}", tenths / 10, tenths % 10),
    }
}

/// A time with its unit: `421 µs`, `5.12 ms`.
pub fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 1e6 => format!("{:.0} µs", n / 1e3),
        n => format!("{:.2} ms", n / 1e6),
    }
}

/// A share: `12 %`.
pub fn percent(part: f64, whole: f64) -> String {
    format!("{:.0} %", if whole > 0.0 { part / whole * 100.0 } else { 0.0 })
}

/// A bar of at most `room` columns for `value`. Its end, as long as `faults`, is drawn lighter.
fn bar(value: f64, faults: f64, longest: f64, room: usize) -> String {
    if longest <= 0.0 {
        return String::new();
    }
    let columns = |value: f64| (value / longest * room as f64).round() as usize;
    let (all, light) = (columns(value), columns(faults));
    let light = light.min(all);
    let work = symbol(&"█".repeat(all - light));
    if light == 0 { work } else { work + &warm(&"░".repeat(light)) }
}
