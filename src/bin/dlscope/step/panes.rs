//! The text of each pane.

use dlscope::event::{Event, Stage};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::colours::{BAD, GOOD, HERE, QUIET, STRONG, SYMBOL, field};
use crate::walk::{Region, Scene, Trail, Walk, excerpt};
use crate::words::EventWords;

/// The pane that says what the event is.
pub fn what(scene: &Scene, event: &Event) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled(scene.sentence.clone(), STRONG)];
    lines.extend(scene.strace.iter().map(|call| Line::styled(call.clone(), SYMBOL)));
    lines.extend(scene.remarks.iter().map(|remark| Line::styled(format!("then {remark}"), GOOD)));
    lines.extend(record(scene));
    lines.extend(formula(scene));
    lines.extend(scene.ways.iter().map(|way| Line::styled(format!("  {way}"), SYMBOL)));
    let EventWords { what, why, reference } = scene.words;
    lines.push(Line::from(format!("{what} {why}")));
    lines.push(Line::styled(reference.to_string(), QUIET));
    if let Some(parent) = event.parent {
        lines.push(Line::styled(
            format!("request {}, made by code that request {} runs", event.load.0, parent.0),
            QUIET,
        ));
    }
    lines
}

fn record(scene: &Scene) -> Vec<Line<'static>> {
    let Some(record) = &scene.record else { return Vec::new() };
    let place = record.offset.map_or(String::new(), |offset| format!(" at offset {offset} of the file"));
    let mut lines = vec![Line::from(format!("{}{place}", record.name))];
    let width = record.fields.iter().map(|f| f.name.len()).max().unwrap_or(0);
    lines.extend(record.fields.iter().enumerate().map(|(n, f)| {
        let mut spans = vec![Span::from(format!("  {:<width$} ", f.name)), Span::styled(f.value.clone(), field(n))];
        if !f.note.is_empty() {
            spans.push(Span::styled(format!("  {}", f.note), QUIET));
        }
        Line::from(spans)
    }));
    lines
}

fn formula(scene: &Scene) -> Vec<Line<'static>> {
    let Some(formula) = &scene.formula else { return Vec::new() };
    let numbers = if formula.numbers == formula.letters { String::new() } else { format!(" = {}", formula.numbers) };
    let mut spans = vec![Span::from("  formula  "), Span::styled(format!("{}{numbers}", formula.letters), STRONG)];
    if !scene.purpose.is_empty() {
        spans.push(Span::styled(format!("  “{}”", scene.purpose), QUIET));
    }
    vec![Line::from(spans)]
}

/// The lookup of the symbol. Neighbouring objects that gave the same answer share a line.
pub fn trail(scene: &Scene) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut rest = &scene.trail[..];
    while let Some(first) = rest.first() {
        let alike = rest.iter().take_while(|t| t.said == first.said && !t.who.is_empty()).count().max(1);
        lines.push(said(&rest[..alike]));
        rest = &rest[alike..];
    }
    lines
}

fn said(trail: &[Trail]) -> Line<'static> {
    let names: Vec<_> = trail.iter().map(|t| t.who.as_str()).collect();
    let who = match names[..] {
        [""] => String::new(),
        [first, .., last] if names.len() > 3 => format!("{first} … {last} ({} objects): ", names.len()),
        _ => format!("{}: ", names.join(", ")),
    };
    let style = if trail[0].found { GOOD } else { QUIET };
    let style = if trail[0].who.is_empty() { STRONG } else { style };
    Line::from(vec![Span::from(who), Span::styled(trail[0].said.clone(), style)])
}

/// The lines of dlscope's source that emitted the event.
pub fn source(event: &Event, rows: u16) -> Vec<Line<'static>> {
    let before = u32::from(rows.saturating_sub(1) / 2);
    let lines = excerpt(event.source, before, u32::from(rows).saturating_sub(before + 1));
    let line = |(number, text): (u32, &str)| {
        let here = number == event.source.line;
        let (mark, style) = if here { ("▶", STRONG) } else { (" ", QUIET) };
        Line::from(vec![
            Span::styled(format!("{mark}{number:>4} "), if here { GOOD } else { QUIET }),
            Span::styled(text.replace('\t', "    "), style),
        ])
    };
    lines.into_iter().map(line).collect()
}

/// The address space, and the number of the line that the event is about. A narrow pane shows shortened addresses.
pub fn space(walk: &Walk, narrow: bool) -> (Vec<Line<'static>>, usize) {
    let touched = walk.touched(walk.at());
    let is_here = |region: &Region| {
        touched.is_some_and(|(from, length)| from.0 < region.end && region.start < from.0 + length.max(1))
    };
    let mut lines = Vec::new();
    let mut here = None;
    let mut last = None;
    for region in &walk.regions() {
        if region.object != last {
            let name = region.object.and_then(|id| walk.atlas.object(id)).map_or("?", |object| &object.name);
            lines.push(Line::styled(name.to_string(), STRONG));
            last = region.object;
        }
        if is_here(region) {
            here = here.or(Some(lines.len()));
        }
        lines.push(space_line(walk, region, is_here(region), narrow));
    }
    if lines.is_empty() {
        lines.push(Line::styled("no object is mapped", QUIET));
    }
    (lines, here.unwrap_or(0))
}

fn space_line(walk: &Walk, region: &Region, here: bool, narrow: bool) -> Line<'static> {
    let (mark, style) = if here { ("▶", HERE) } else { (" ", QUIET) };
    let pages = (region.end - region.start) / 4096;
    let (place, pages) = match narrow {
        true => (format!("{mark}…{:06x} ", region.start & 0xff_ffff), String::new()),
        false => (format!("{mark}{:012x} ", region.start), format!("{pages:>4} ")),
    };
    Line::from(vec![
        Span::styled(place, style),
        Span::from(format!("{} ", region.prot)),
        Span::styled(pages, QUIET),
        Span::from(walk.contents(region)),
    ])
}

/// The place of a stage's name in its line: its first column, and its width.
pub type StagePlace = (usize, usize, Stage);

/// The pipeline with a mark at the current stage. A stage outside of the pipeline stands behind it.
pub fn stages(here: Stage, separator: &'static str) -> (Line<'static>, Vec<StagePlace>) {
    let outside = here.number().is_none().then_some(here);
    let mut line = Line::default();
    let mut places = Vec::new();
    for stage in Stage::PIPELINE.into_iter().chain(outside) {
        match stage {
            Stage::Find => {}
            _ if Some(stage) == outside => line.push_span(Span::styled(" · ", QUIET)),
            _ => line.push_span(Span::styled(separator, QUIET)),
        }
        let name = stage.to_string();
        places.push((line.width(), name.len(), stage));
        line.push_span(Span::styled(name, if stage == here { HERE } else { Style::default() }));
    }
    (line, places)
}

/// At the last event of a failed load: that it failed.
pub fn failure(walk: &Walk) -> Option<Line<'static>> {
    let failed = walk.error.is_some() && walk.at() + 1 == walk.len();
    failed.then(|| Line::styled("the load failed here; the whole message follows when you quit", BAD))
}
