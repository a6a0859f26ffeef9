//! Makes the [`Model`] from the record of a load, row by row. What several rows share is stored once.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use dlscope::event::{Event, Kind, LoadId, Source};
use dlscope::replay::{Change, Effect};

use super::effects::Effects;
use super::model::{EventKind, Excerpt, Model, Request, RowGroup, Rows, StageWords, Structure};
use super::texts::{Text, Texts};
use super::{chapters, fold, objects};
use crate::Failure;
use crate::walk::{self, Formula, Record, Walk};
use crate::words::glossary::Word;
use crate::words::{self, EventWords};

/// At most so many bytes of a long range are shown.
const MOST_SHOWN: u64 = 64;
/// How many lines of source are shown before and after the line that emitted the event.
const LINES: u32 = 4;
/// The report has a hash of the memory at about so many rows.
const CHECKS: usize = 48;

/// The model, and the bytes that go with it. It has rows for at most `most` relocations of each object.
pub fn model(walk: &mut Walk, most: usize) -> (Model, Vec<u8>) {
    let rows = fold::rows(walk, most);
    let mut builder = Builder { effects: Effects::new(), ..Builder::default() };
    builder.effects = Effects::new();
    for row in &rows {
        for at in row.clone() {
            // Both before and after the event, which may unmap the pages that it is about.
            builder.keep(walk, at);
            walk.go(at);
            builder.keep(walk, at);
            builder.effect(walk, at);
        }
        builder.row(walk, row.start, row.len());
        if row.len() > 1 {
            let text = fold::sentence(walk, row);
            let last = builder.rows.text.len() - 1;
            builder.rows.text[last] = builder.texts.add(&text);
        }
    }
    let bytes = builder.effects.bytes(walk.memory());
    let checks = checks(walk, &rows, &builder.effects);
    (builder.finish(walk, &rows, checks), bytes)
}

/// The hashes of the memory after some of the rows.
fn checks(walk: &mut Walk, rows: &[Range<usize>], effects: &Effects) -> Vec<(usize, u32)> {
    let every = (rows.len() / CHECKS).max(1);
    let checked = rows.iter().enumerate().filter(|(number, _)| number % every == 0 || number + 1 == rows.len());
    let check = |(number, row): (usize, &Range<usize>)| {
        walk.go(row.end - 1);
        (number, effects.hash(walk.memory()))
    };
    checked.map(check).collect()
}

/// What events of one kind have in common: the kind's name, the two lines about it, and [`Word::special`].
type KindKey = ([&'static str; 3], Option<String>);

#[derive(Default)]
struct Builder {
    texts: Texts,
    stages: Once<dlscope::event::Stage>,
    kinds: Once<KindKey>,
    /// The words of each kind.
    kind_words: Vec<Vec<usize>>,
    references: Once<[&'static str; 4]>,
    requests: Once<LoadId>,
    sections: Vec<RowGroup>,
    sources: Once<(&'static str, u32)>,
    types: Once<[String; 2]>,
    rows: Rows,
    records: ByEvent<Structure>,
    formulas: ByEvent<[Text; 3]>,
    trails: ByEvent<Vec<(Text, Text, bool)>>,
    regions: Once<(u64, u64, u32, Option<u32>, String)>,
    layouts: Vec<Vec<usize>>,
    effects: Effects,
}

impl Builder {
    /// Keeps the pages of files that the report shows for event `at`.
    fn keep(&mut self, walk: &Walk, at: usize) {
        if let Some((address, length)) = walk.touched(at) {
            self.effects.keep(walk.memory(), address, length.min(MOST_SHOWN));
        }
    }

    /// Adds the effect of event `at` on memory, and the new layout of the address space if it changed.
    fn effect(&mut self, walk: &Walk, at: usize) {
        let effect = Effect::of(&walk.events[at].kind);
        effect.iter().for_each(|effect| self.effects.add(effect, walk.memory()));
        let moved = effect.is_some_and(|effect| !matches!(effect.change, Change::Bytes { .. }));
        if moved || self.layouts.is_empty() {
            self.layout(walk);
        }
    }

    fn layout(&mut self, walk: &Walk) {
        let regions = walk.regions();
        let mut numbers = Vec::with_capacity(regions.len());
        for region in &regions {
            let contents = walk.contents(region);
            numbers.push(self.regions.add((region.start, region.end, region.prot.0, region.object, contents)));
        }
        self.layouts.push(numbers);
    }

    /// Adds a row for `length` events, the first of which is event `at`.
    fn row(&mut self, walk: &Walk, at: usize, length: usize) {
        let event = &walk.events[at];
        let one = length == 1;
        let EventWords { what, why, reference } = words::of_event(&event.kind, event.stage);
        let kind = self.kind(&event.kind, what, why);
        let section = self.section(event);
        let rows = &mut self.rows;
        rows.number.push(at + 1);
        rows.kind.push(kind);
        rows.section.push(section);
        let reference = [reference.spec, reference.glibc, reference.musl, reference.chapter];
        rows.reference.push(self.references.add(reference));
        rows.source.push(self.sources.add((event.source.file, event.source.line)));
        let alike = walk.relocation_type(at).unwrap_or_default().to_string();
        rows.alike.push(self.types.add([event.kind.name().into(), alike]));
        rows.text.push(self.texts.add(&walk.sentence(at)));
        rows.layout.push(self.layouts.len() - 1);
        rows.effects.push(self.effects.len());
        let (address, bytes) = walk.touched(at).filter(|_| one).map_or((0, 0), |(from, length)| (from.0, length));
        rows.address.push(address);
        rows.length.push(bytes);
        let row = rows.number.len() - 1;
        if let Some(strace) = event.kind.strace() {
            rows.strace.insert(row, self.texts.add(&strace));
        }
        let ways = walk.ways.get(&at).filter(|_| one).into_iter().flatten();
        let remarks = (at..at + length).filter_map(|at| walk.remarks.get(&at)).flatten();
        let remarks: Vec<_> = ways.chain(remarks).collect();
        if !remarks.is_empty() {
            rows.remarks.insert(row, remarks.into_iter().map(|remark| self.texts.add(remark)).collect());
        }
        let (record, formula, trail) =
            if one { (self.record(walk, at), self.formula(walk, at), self.trail(walk, at)) } else { (-1, -1, -1) };
        self.rows.record.push(record);
        self.rows.formula.push(formula);
        self.rows.trail.push(trail);
    }

    fn kind(&mut self, kind: &Kind, what: &'static str, why: &'static str) -> usize {
        let number = self.kinds.add(([kind.name(), what, why], Word::special(kind).map(String::from)));
        if number == self.kind_words.len() {
            self.kind_words.push(Word::of_event(kind).into_iter().map(Word::number).collect());
        }
        number
    }

    fn section(&mut self, event: &Event) -> usize {
        let request = self.requests.add(event.load);
        let stage = self.stages.add(event.stage);
        // All objects of the host share one group.
        let object = event.object.as_ref().filter(|_| event.stage != dlscope::event::Stage::Host);
        let (object, name) = (object.map(|tag| tag.id), object.map_or(String::new(), |tag| tag.short().into()));
        let same = |last: &RowGroup| (last.request, last.stage, last.object) == (request, stage, object);
        if !self.sections.last().is_some_and(same) {
            self.sections.push(RowGroup { request, stage, object, name });
        }
        self.sections.len() - 1
    }

    fn record(&mut self, walk: &Walk, at: usize) -> i64 {
        let cause = walk.link(at).cause.unwrap_or(at);
        if let Some(known) = self.records.number(cause) {
            return known;
        }
        let structure = walk.record_of(cause).map(|record| self.structure(walk, &record));
        self.records.add(cause, structure)
    }

    fn structure(&mut self, walk: &Walk, record: &Record) -> Structure {
        let file = self.effects.file(&record.path);
        let length = record.length as u64;
        if let Some(offset) = record.offset {
            self.effects.keep_of_file(file, offset.0, length);
        } else if let Some(address) = record.address {
            self.effects.keep(walk.memory(), address, length);
        }
        let texts = &mut self.texts;
        let fields = record.fields.iter().map(|field| {
            let (name, value, note) = (texts.add(field.name), texts.add(&field.value), texts.add(&field.note));
            (name, value, note, field.bytes.start, field.bytes.end)
        });
        let fields = fields.collect();
        let (offset, address) = (record.offset.map(|at| at.0), record.address.map(|at| at.0));
        Structure { name: texts.add(&record.name), file, offset, address, length: record.length, fields }
    }

    fn formula(&mut self, walk: &Walk, at: usize) -> i64 {
        let cause = walk.link(at).cause.unwrap_or(at);
        if let Some(known) = self.formulas.number(cause) {
            return known;
        }
        let purpose = words::of_relocation(walk.relocation_type(cause).unwrap_or_default());
        let texts = |formula: Formula| [&*formula.letters, &*formula.numbers, purpose].map(|text| self.texts.add(text));
        self.formulas.add(cause, walk.formula_of(cause).map(texts))
    }

    fn trail(&mut self, walk: &Walk, at: usize) -> i64 {
        let Some(lookup) = walk.link(at).lookup else { return -1 };
        if let Some(known) = self.trails.number(lookup) {
            return known;
        }
        let line = |line: walk::Trail| (self.texts.add(&line.who), self.texts.add(&line.said), line.found);
        self.trails.add(lookup, Some(walk.trail(at).into_iter().map(line).collect()))
    }

    fn finish(mut self, walk: &Walk, rows: &[Range<usize>], checks: Vec<(usize, u32)>) -> Model {
        let row_of: Vec<usize> =
            rows.iter().enumerate().flat_map(|(number, row)| std::iter::repeat_n(number, row.len())).collect();
        let told = |at: usize| rows[row_of[at]].len() == 1;
        let edges = objects::edges(walk, &row_of, &mut self.texts);
        let symbols = objects::symbols(walk, &row_of, &mut self.texts);
        let relocations = objects::relocations(walk, &row_of, told, &mut self.texts);
        let requests = self.requests.all.iter().map(|load| request(walk, *load, &mut self.texts)).collect();
        let texts = &mut self.texts;
        let regions = self.regions.all.into_iter();
        let regions = regions.map(|(start, end, prot, object, what)| (start, end, prot, object, texts.add(&what)));
        let regions = regions.collect();
        let stage = |stage: &dlscope::event::Stage| StageWords {
            name: stage.to_string(),
            number: stage.number(),
            words: words::of_stage(*stage),
        };
        let kinds = self.kinds.all.into_iter().zip(self.kind_words);
        let kinds = kinds.map(|(([name, what, why], _), words)| EventKind { name, what, why, words });
        Model {
            title: walk.title.clone(),
            version: env!("CARGO_PKG_VERSION"),
            error: walk.error.as_ref().map(Failure::to_string),
            events: walk.len(),
            stages: self.stages.all.iter().map(stage).collect(),
            words: chapters::words(),
            chapters: chapters::all(),
            kinds: kinds.collect(),
            references: self.references.all,
            requests,
            sections: self.sections,
            sources: self.sources.all.into_iter().map(excerpt).collect(),
            types: self.types.all,
            rows: self.rows,
            records: self.records.all,
            formulas: self.formulas.all,
            trails: self.trails.all,
            rights: (0..8).map(|flags| dlscope::elf::image::Prot(flags).to_string()).collect(),
            regions,
            layouts: self.layouts,
            effects: self.effects,
            objects: objects::objects(walk, &row_of),
            edges,
            symbols,
            relocations,
            checks,
            texts: self.texts.templates(),
        }
    }
}

fn request(walk: &Walk, load: LoadId, texts: &mut Texts) -> Request {
    let begins = |event: &Event| event.load == load && matches!(event.kind, Kind::Begin { .. });
    let begin = walk.events.iter().position(begins);
    let parent = begin.and_then(|at| walk.events[at].parent);
    let text = begin.map_or(String::new(), |at| walk.sentence(at));
    Request { id: load.0, parent: parent.map(|parent| parent.0), text: texts.add(&text) }
}

fn excerpt((file, line): (&'static str, u32)) -> Excerpt {
    Excerpt { file, line, lines: walk::excerpt(Source { file, line }, LINES, LINES) }
}

/// A list with at most one entry for each event.
struct ByEvent<T> {
    all: Vec<T>,
    numbers: HashMap<usize, i64>,
}

impl<T> Default for ByEvent<T> {
    fn default() -> ByEvent<T> {
        ByEvent { all: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T> ByEvent<T> {
    /// The number of the event's entry, -1 for an event without one; `None` if the event was not added yet.
    fn number(&self, event: usize) -> Option<i64> {
        self.numbers.get(&event).copied()
    }

    fn add(&mut self, event: usize, entry: Option<T>) -> i64 {
        let number = entry.as_ref().map_or(-1, |_| self.all.len() as i64);
        self.all.extend(entry);
        self.numbers.insert(event, number);
        number
    }
}

/// A list without repetitions.
struct Once<T> {
    all: Vec<T>,
    known: HashMap<T, usize>,
}

impl<T> Default for Once<T> {
    fn default() -> Once<T> {
        Once { all: Vec::new(), known: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Once<T> {
    /// The index of `item` in the list; appends it if it is new.
    fn add(&mut self, item: T) -> usize {
        if let Some(known) = self.known.get(&item) {
            return *known;
        }
        self.known.insert(item.clone(), self.all.len());
        self.all.push(item);
        self.all.len() - 1
    }
}
