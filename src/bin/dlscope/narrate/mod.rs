//! The text of `trace`: tells the events of a load in their order. Each stage has a renderer of its own.

use std::collections::{HashMap, HashSet};

use dlscope::event::{Event, Kind, LoadId, Stage, Tag};

use crate::atlas::{Atlas, KnownObject};
use crate::page::{Page, bad, dim, heading, symbol as symbol_style};
use crate::story::{self, Section};
use crate::words::{self, EventWords};

mod dynamic;
mod files;
pub mod lookup;
mod mapping;
mod relocate;
mod running;
mod symbol;

/// What the user wants to see.
#[derive(Clone, Default)]
pub struct View {
    /// Every relocation and every event, also of dependencies.
    pub all: bool,
    /// Only what concerns this symbol.
    pub symbol: Option<String>,
    /// The symbols whose slots are told in dependencies, too.
    pub shows: &'static [&'static str],
    /// An explanation of each kind of event where it first appears.
    pub explain: bool,
}

/// Tells events, and remembers what it told.
pub struct Teller {
    /// The output.
    pub page: Page,
    view: View,
    atlas: Atlas,
    /// The library that was opened. It is told in full, its dependencies in brief.
    main: Option<Tag>,
    /// Whether the load maps several objects, so that lines must name theirs.
    several: bool,
    /// The width of the longest name of an object.
    name_width: usize,
    last: Option<(Stage, LoadId)>,
    last_was_brief: bool,
    /// Whether the events that are being told contain calls of constructors.
    constructors: bool,
    introduced: HashSet<Stage>,
    explained: HashSet<&'static str>,
    /// How many lookups and relocations of the symbol in `--symbol` there were.
    pub told_about_symbol: usize,
}

impl Teller {
    /// A teller that has told nothing.
    pub fn new(page: Page, view: View) -> Teller {
        Teller {
            page,
            view,
            atlas: Atlas::default(),
            main: None,
            several: false,
            name_width: 0,
            last: None,
            last_was_brief: false,
            constructors: false,
            introduced: HashSet::new(),
            explained: HashSet::new(),
            told_about_symbol: 0,
        }
    }

    /// Tells `events`, which follow the events that were told before.
    pub fn tell(&mut self, events: &[Event]) {
        self.atlas.note(events);
        if self.main.is_none() {
            self.main = story::opened(events).cloned();
            self.several = events.iter().filter(|e| matches!(e.kind, Kind::Planned { .. })).count() > 1;
        }
        let planned = events.iter().filter(|e| matches!(e.kind, Kind::Planned { .. }));
        let widths = planned.filter_map(|e| Some(e.object.as_ref()?.short().chars().count()));
        self.name_width = widths.chain([self.name_width]).max().unwrap_or(0);
        self.constructors = events.iter().any(|e| e.stage == Stage::Init && matches!(e.kind, Kind::Call { .. }));
        if let Some(name) = self.view.symbol.clone() {
            self.told_about_symbol += symbol::tell(self, events, &name);
            return;
        }
        for section in story::sections(events) {
            if self.page.is_closed() {
                return;
            }
            self.section(&section);
        }
    }

    fn section(&mut self, section: &Section<'_>) {
        self.begin(section);
        match section.stage {
            Stage::Find => files::find(self, section),
            Stage::Read => files::read(self, section),
            Stage::Plan => mapping::plan(self, section),
            Stage::Map => mapping::map(self, section),
            Stage::Dynamic => dynamic::dynamic(self, section),
            Stage::Needed => dynamic::needed(self, section),
            Stage::Versions => dynamic::versions(self, section),
            Stage::Relocate => relocate::relocate(self, section),
            Stage::Seal => running::seal(self, section),
            Stage::Publish => running::publish(self, section),
            Stage::Init => running::init(self, section),
            Stage::Lookup | Stage::Bind => lookup::section(self, section),
            Stage::Close => running::close(self, section),
            Stage::Host => running::host(self, section),
            // A stage that the library has gained since.
            _ => {}
        }
        if self.view.explain {
            self.explain(section);
        }
    }

    /// Names the stage in the margin, with an empty line before it.
    fn begin(&mut self, section: &Section<'_>) {
        let (stage, load) = (section.stage, section.load);
        let ends = section.events.iter().all(|e| matches!(e.kind, Kind::End { .. }));
        if ends || self.last == Some((stage, load)) {
            return;
        }
        // The early stages of a dependency take one line each: no empty lines between them.
        let early = stage.number().is_some_and(|n| (2..=5).contains(&n)) && self.is_brief(section);
        let settled = stage == Stage::Needed && self.last_was_brief;
        if !early && !settled {
            self.page.gap();
        }
        let name = match stage.number() {
            Some(number) => format!("{number} {stage}"),
            None => stage.to_string(),
        };
        self.page.label(name);
        if self.introduced.insert(stage) && stage.number().is_some() {
            self.page.line(dim(words::of_stage(stage)));
        }
        self.last = Some((stage, load));
        self.last_was_brief = self.is_brief(section);
    }

    /// Whether a section takes only a few lines: it is about a dependency, and the user did not ask for everything.
    fn is_brief(&self, section: &Section<'_>) -> bool {
        let of_main = section.subject.is_none_or(|subject| Some(subject) == self.main.as_ref());
        !self.view.all && !of_main
    }

    /// What is known about the object that the section is about.
    fn object(&self, section: &Section<'_>) -> Option<&KnownObject> {
        self.atlas.object(section.subject?.id)
    }

    /// Puts the object's name in front, if the load maps several.
    fn named(&self, section: &Section<'_>, text: &str) -> String {
        match section.subject {
            Some(subject) if self.several => format!("{}: {text}", heading(subject.short())),
            _ => text.into(),
        }
    }

    /// How many entries of a list to show.
    fn limit(&self, short: usize) -> usize {
        if self.view.all { usize::MAX } else { short }
    }

    /// `… 12 more (--all)`.
    fn more(&mut self, left: usize, what: &str) {
        if left > 0 {
            self.page.sub(dim(&format!("… {left} more{what} (--all)")));
        }
    }

    /// Tells an event for which the renderer of its stage has no words of its own, so that no event is left out.
    fn other(&mut self, event: &Event) {
        if let Some(call) = event.kind.strace() {
            self.page.line(call);
            return;
        }
        match &event.kind {
            Kind::End { error: Some(error) } => {
                self.page.gap();
                self.page.label("failed".into());
                self.page.line(bad(error.lines().next().unwrap_or_default()));
            }
            Kind::Begin { .. } | Kind::End { .. } => {}
            Kind::Changed { address, before, after } => {
                let place = self.atlas.inside(address.0).unwrap_or_else(|| address.to_string());
                let name =
                    self.atlas.name_at(*address).map_or(String::new(), |name| format!("  {}", symbol_style(name)));
                self.page.note("changed");
                let show = if is_text(&after.0) { text } else { bytes };
                self.page.line(format!("{place}: {} → {}{name}", show(&before.0), show(&after.0)));
            }
            kind => {
                let text = format!("{}: {}", kind.name(), words::of_event(kind, event.stage).what);
                self.page.line(text);
            }
        }
    }

    /// Explains each kind of event that was not explained before.
    fn explain(&mut self, section: &Section<'_>) {
        for event in &section.events {
            let EventWords { what, why, reference } = words::of_event(&event.kind, event.stage);
            if self.explained.insert(what) {
                self.page.sub(dim(&format!("{}: {what}", event.kind.name())));
                self.page.sub(dim(&format!("  {why}")));
                self.page.explanation(&format!("read on: {reference}"), 4);
            }
        }
    }
}

/// Whether bytes are a text: at least three letters, and zeros behind them.
fn is_text(bytes: &[u8]) -> bool {
    let letters = bytes.iter().take_while(|byte| **byte != 0).count();
    letters > 2 && bytes.iter().enumerate().all(|(at, b)| if at < letters { matches!(b, b' '..=b'~') } else { *b == 0 })
}

fn text(bytes: &[u8]) -> String {
    let letters: Vec<u8> = bytes.iter().copied().take_while(|byte| *byte != 0).collect();
    format!("{:?}", String::from_utf8_lossy(&letters))
}

/// Bytes as little-endian words; of a long range the first two.
fn bytes(bytes: &[u8]) -> String {
    let word = |word: &[u8]| format!("{:#x}", word.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte)));
    let words: Vec<_> = bytes.chunks(8).take(3).map(word).collect();
    match bytes.len() {
        0..=24 => words.join(" "),
        length => format!("{} … ({} bytes)", words[..2].join(" "), length),
    }
}

/// Counts equal items. The result is in the order of first appearance.
pub fn tally<'t>(items: impl Iterator<Item = &'t str>) -> Vec<(&'t str, usize)> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for item in items {
        let place = *places.entry(item).or_insert_with(|| {
            counts.push((item, 0));
            counts.len() - 1
        });
        counts[place].1 += 1;
    }
    counts
}

/// The names of objects, separated by commas.
fn names(tags: &[Tag]) -> String {
    tags.iter().map(Tag::short).collect::<Vec<_>>().join(", ")
}
