//! The layout of the screen, for every size of the terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Wrap};

use super::app::{App, Mode};
use super::colours::{BAD, HERE, QUIET, STRONG};
use super::help::KEYS;
use super::quiz::Quiz;
use super::{hex, panes};
use crate::walk::Scene;
use crate::words::glossary::Word;

/// On a smaller screen nothing would be readable.
const SMALLEST: (u16, u16) = (40, 10);
/// On a narrower screen the pane of the address space is shortened.
const NARROW: u16 = 96;

/// Draws the whole screen.
pub fn draw(app: &mut App, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        frame.render_widget(Paragraph::new("too small; make the terminal larger").wrap(Wrap { trim: true }), area);
        return;
    }
    let [bar, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]).areas(area);
    stages(app, frame, bar);
    match app.mode {
        Mode::Memory(top) => memory(app, frame, body, top),
        Mode::Details(top) => details(app, frame, body, top),
        Mode::Words(top) => words(app, frame, body, top),
        Mode::Question => question(app, frame, body),
        _ => walk(app, frame, body),
    }
    footer(app, frame, foot);
    if matches!(app.mode, Mode::Help) {
        help(frame, area);
    }
}

/// The pipeline with a mark at the current stage.
fn stages(app: &mut App, frame: &mut Frame<'_>, area: Rect) {
    let fits = |separator| {
        let (line, places) = panes::stages(app.walk.event().stage, separator);
        (line.width() <= usize::from(area.width)).then_some((line, places))
    };
    let (line, places) = fits(" ─ ").unwrap_or_else(|| panes::stages(app.walk.event().stage, " "));
    let place = |(start, width, stage): (usize, usize, _)| {
        let start = area.x.saturating_add(start as u16);
        (Rect { x: start, y: area.y, width: width as u16, height: 1 }.intersection(area), stage)
    };
    app.stage_places = places.into_iter().map(place).collect();
    frame.render_widget(line, area);
}

/// The panes about the current event.
fn walk(app: &mut App, frame: &mut Frame<'_>, area: Rect) {
    let scene = app.walk.scene();
    let bytes = hex::lines(&app.walk, &scene, area.width);
    let trail = panes::trail(&scene);
    let heights = heights(area.height, &scene, bytes.len(), wrapped(&trail, area.width));
    let [top, bytes_area, trail_area, source_area] = Layout::vertical(heights.map(Constraint::Length)).areas(area);

    let right = if top.width < NARROW { 27 } else { (top.width * 2 / 5).min(60) };
    let [left, right] = Layout::horizontal([Constraint::Min(1), Constraint::Length(right)]).areas(top);
    what(app, frame, left, &scene);
    space(app, frame, right);
    pane(frame, bytes_area, "bytes", Text::from(bytes), false);
    pane(frame, trail_area, "how it was found", Text::from(trail), true);
    let source = app.walk.event().source;
    let lines = panes::source(app.walk.event(), source_area.height.saturating_sub(1));
    pane(frame, source_area, &format!("{}:{}", source.file, source.line), Text::from(lines), false);
}

/// How many rows each pane gets, its title included: words and address space, bytes, lookup, source.
fn heights(room: u16, scene: &Scene, bytes: usize, trail: usize) -> [u16; 4] {
    let titled = |rows: usize, most: u16| if rows == 0 { 0 } else { (rows as u16).min(most) + 1 };
    let roomy = room >= 34;
    let bytes = titled(bytes, if roomy { 8 } else { 4 });
    let trail = titled(trail, if roomy { 10 } else { 3 });
    let least_words = 9.min(room);
    let source = room.saturating_sub(least_words + bytes + trail).clamp(0, if roomy { 10 } else { 6 });
    let fields = scene.record.as_ref().map_or(0, |record| record.fields.len() as u16);
    let wanted = 11 + fields;
    // The source gets the rows that the words do not need.
    let words = room.saturating_sub(bytes + trail + source);
    let spare = words.saturating_sub(wanted.max(14));
    [words - spare, bytes, trail, source + spare]
}

fn what(app: &App, frame: &mut Frame<'_>, area: Rect, scene: &Scene) {
    let mut lines = panes::what(scene, app.walk.event());
    lines.extend(panes::failure(&app.walk));
    pane(frame, area, &event_title(app), Text::from(lines), true);
}

fn space(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let (lines, here) = panes::space(&app.walk, frame.area().width < NARROW);
    let rows = usize::from(area.height.saturating_sub(1));
    // Scroll so that the line that the event is about is visible, with the name of its object above it.
    let first = if lines.len() <= rows { 0 } else { (here + 1).saturating_sub(rows / 2).min(lines.len() - rows) };
    let lines: Vec<_> = lines.into_iter().skip(first).collect();
    pane(frame, area, "address space", Text::from(lines), false);
}

fn memory(app: &mut App, frame: &mut Frame<'_>, area: Rect, top: u64) {
    let [words, bytes] = Layout::vertical([Constraint::Length(3), Constraint::Min(2)]).areas(area);
    let sentence = Line::styled(app.walk.sentence(app.walk.at()), STRONG);
    pane(frame, words, &event_title(app), Text::from(sentence), true);
    app.rows = bytes.height.saturating_sub(1);
    let place = app.walk.atlas.inside(top).unwrap_or_else(|| format!("{top:#x}"));
    let lines = hex::page(&mut app.walk, top, app.rows);
    pane(frame, bytes, &format!("memory from {place}"), Text::from(lines), false);
}

/// Everything about the current event on one page.
fn details(app: &mut App, frame: &mut Frame<'_>, area: Rect, top: u16) {
    let scene = app.walk.scene();
    let mut lines = panes::what(&scene, app.walk.event());
    let mut section = |title: &str, more: Vec<Line<'static>>| {
        if !more.is_empty() {
            lines.push(Line::default());
            lines.push(Line::styled(title.to_string(), QUIET));
            lines.extend(more);
        }
    };
    section("bytes", hex::lines(&app.walk, &scene, area.width));
    section("how it was found", panes::trail(&scene));
    let source = app.walk.event().source;
    section(&format!("{}:{}", source.file, source.line), panes::source(app.walk.event(), 20));
    let top = text_page(app, frame, area, top, lines);
    app.mode = Mode::Details(top);
}

/// What the words of the current event mean, on one page.
fn words(app: &mut App, frame: &mut Frame<'_>, area: Rect, top: u16) {
    let mut lines = Vec::new();
    for word in Word::of_event(&app.walk.event().kind) {
        lines.push(Line::styled(word.names[0], STRONG));
        lines.push(Line::from(word.text));
        lines.extend(word.picture.iter().map(|line| Line::styled(format!("    {line}"), QUIET)));
        lines.push(Line::default());
    }
    if lines.is_empty() {
        lines.push(Line::from("No word of this event needs an explanation. `dlscope explain` lists all words."));
    }
    let top = text_page(app, frame, area, top, lines);
    app.mode = Mode::Words(top);
}

/// A question, and once it is answered what there is to say about the answer.
fn question(app: &App, frame: &mut Frame<'_>, area: Rect) {
    if let Some(quiz) = &app.quiz {
        pane(frame, area, &quiz.title(), Text::from(quiz.lines()), true);
    }
}

/// A page of text about the current event, from the line `top` on. Returns where it begins, if the text is not so long.
fn text_page(app: &mut App, frame: &mut Frame<'_>, area: Rect, top: u16, lines: Vec<Line<'static>>) -> u16 {
    app.rows = area.height.saturating_sub(1);
    let last = (wrapped(&lines, area.width) as u16).saturating_sub(app.rows);
    let top = top.min(last);
    let block = titled(&event_title(app));
    let paragraph = Paragraph::new(lines).block(block).wrap(Wrap { trim: false }).scroll((top, 0));
    frame.render_widget(paragraph, area);
    top
}

fn event_title(app: &App) -> String {
    format!("{} · event {} of {}", app.walk.title, app.walk.at() + 1, app.walk.len())
}

/// A pane: a title with a rule, and text below it.
fn pane(frame: &mut Frame<'_>, area: Rect, title: &str, text: Text<'_>, wrap: bool) {
    let paragraph = Paragraph::new(text).block(titled(title));
    let paragraph = if wrap { paragraph.wrap(Wrap { trim: false }) } else { paragraph };
    let room = Rect { width: area.width.saturating_sub(1), ..area };
    frame.render_widget(paragraph, room);
}

fn titled(title: &str) -> Block<'static> {
    Block::new().borders(Borders::TOP).border_style(QUIET).title(Span::styled(format!("─ {title} "), QUIET))
}

fn footer(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let asked = match app.mode {
        Mode::Search => Some("/"),
        Mode::Go => Some("go to event or address: "),
        Mode::Question if app.message.is_none() && app.quiz.as_ref().is_some_and(Quiz::is_open) => Some("answer: "),
        _ => None,
    };
    if let Some(prompt) = asked {
        let line = Line::from(vec![Span::styled(prompt, STRONG), Span::from(app.input.value())]);
        let column = prompt.chars().count() + app.input.visual_cursor();
        frame.set_cursor_position((area.x + (column as u16).min(area.width - 1), area.y));
        return frame.render_widget(line, area);
    }
    let line = match &app.message {
        Some(message) => Line::styled(message.clone(), BAD),
        None => Line::styled(keys(app, area.width), QUIET),
    };
    frame.render_widget(line, area);
}

fn keys(app: &App, width: u16) -> String {
    let walking = matches!(app.mode, Mode::Walk);
    if let Some(quiz) = app.quiz.as_ref().filter(|_| walking) {
        return format!("← → event · {} · w words · m memory · ? help · q", quiz.left());
    }
    let keys = match app.mode {
        Mode::Question => "Enter, → on to the event",
        Mode::Memory(_) => "↑ ↓ scroll · ← → event · m what was touched · Esc back to the event",
        Mode::Details(_) | Mode::Words(_) => "↑ ↓ scroll · ← → event · Esc back",
        _ if width >= 104 => {
            "← → event · [ ] stage · n N of this type · / search · g go to · Enter all · w words · m memory · ? help"
        }
        _ => "← → event · [ ] stage · n type · / find · g go · Enter all · w words · ? help",
    };
    keys.into()
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let width = KEYS.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    let line = |(key, meaning): &(&'static str, &'static str)| {
        Line::from(vec![Span::styled(format!("{key:<width$}  "), STRONG), Span::from(*meaning)])
    };
    let lines: Vec<_> = KEYS.iter().map(line).collect();
    let size = (lines.iter().map(Line::width).max().unwrap_or(0) as u16 + 4, lines.len() as u16 + 2);
    let left = area.width.saturating_sub(size.0) / 2;
    let top = area.height.saturating_sub(size.1) / 2;
    let place = Rect { x: area.x + left, y: area.y + top, width: size.0, height: size.1 }.intersection(area);
    frame.render_widget(Clear, place);
    frame.render_widget(Block::bordered().title(Span::styled(" keys ", HERE)), place);
    frame.render_widget(Paragraph::new(lines), place.inner(Margin { horizontal: 2, vertical: 1 }));
}

/// How many rows the lines take when they are wrapped.
fn wrapped(lines: &[Line<'_>], width: u16) -> usize {
    let width = usize::from(width.max(2) - 1);
    lines.iter().map(|line| line.width().div_ceil(width).max(1)).sum()
}
