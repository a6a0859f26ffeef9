//! From a walk to the [`Model`]: goes through it once, row by row, and keeps what is shared once.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use dlscope::event::{Event, Kind, LoadId, Source};

use super::effects::{Effects, Origins};
use super::model::{Excerpt, Model, Request, Rows, Section, Stage, Structure};
use super::texts::{Text, Texts};
use super::{fold, objects};
use crate::Failure;
use crate::walk::{self, Formula, Record, Walk};
use crate::words;

/// How many bytes of a long range are shown.
const MOST_SHOWN: u64 = 64;
/// How many lines of source are shown before and after the one that did it.
const LINES: u32 = 4;
/// At so many rows the report says what memory's hash must be.
const CHECKS: usize = 48;

/// The data of the walk, and the bytes that go with it. At most `most` relocations of an object are told one by one.
pub fn model(walk: &mut Walk, most: usize) -> (Model, Vec<u8>) {
    let rows = fold::rows(walk, most);
    let mut builder = Builder { effects: Effects::new(), ..Builder::default() };
    builder.effects = Effects::new();
    for row in &rows {
        for at in row.clone() {
            walk.go(at);
            builder.effect(walk, at);
        }
        builder.row(walk, row.start, row.len());
        if row.len() > 1 {
            let text = fold::sentence(walk, row);
            let last = builder.rows.text.len() - 1;
            builder.rows.text[last] = builder.texts.add(&text);
        }
    }
    let bytes = builder.effects.bytes(walk);
    let checks = checks(walk, &rows, &builder.effects);
    (builder.finish(walk, &rows, checks), bytes)
}

/// What memory's hash is after some of the rows.
fn checks(walk: &mut Walk, rows: &[Range<usize>], effects: &Effects) -> Vec<(usize, u32)> {
    let every = (rows.len() / CHECKS).max(1);
    let mut origins = Origins::default();
    let mut checks = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        for at in row.clone() {
            walk.go(at);
            origins.follow(&walk.event().kind);
        }
        if number % every == 0 || number + 1 == rows.len() {
            checks.push((number, effects.hash(walk, &origins)));
        }
    }
    checks
}

#[derive(Default)]
struct Builder {
    texts: Texts,
    stages: Once<dlscope::event::Stage>,
    kinds: Once<[&'static str; 3]>,
    references: Once<[&'static str; 4]>,
    requests: Once<LoadId>,
    sections: Vec<Section>,
    sources: Once<(&'static str, u32)>,
    types: Once<[String; 2]>,
    rows: Rows,
    records: Vec<Structure>,
    formulas: Vec<[Text; 3]>,
    trails: Vec<Vec<(Text, Text, bool)>>,
    /// By event: what is already in the lists.
    known_records: HashMap<usize, i64>,
    known_formulas: HashMap<usize, i64>,
    known_trails: HashMap<usize, i64>,
    regions: Once<(u64, u64, u32, Option<u32>, String)>,
    layouts: Vec<Vec<usize>>,
    effects: Effects,
    origins: Origins,
}

impl Builder {
    /// What event `at`, the one that is looked at, does to memory.
    fn effect(&mut self, walk: &Walk, at: usize) {
        let kind = &walk.events[at].kind;
        let shown = walk.touched(at).map(|(address, length)| (address, length.min(MOST_SHOWN)));
        if let Some((address, length)) = shown {
            self.effects.keep(&self.origins, address, length);
        }
        self.effects.add(kind, &self.origins);
        self.origins.follow(kind);
        if let Some((address, length)) = shown {
            self.effects.keep(&self.origins, address, length);
        }
        let written = matches!(kind, Kind::Store { .. } | Kind::Changed { .. } | Kind::Zero { .. });
        let moved = walk::is_effect(kind) && !written;
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

    /// A row for event `at`, and `length - 1` more events.
    fn row(&mut self, walk: &Walk, at: usize, length: usize) {
        let event = &walk.events[at];
        let one = length == 1;
        let reference = words::reference(&event.kind, event.stage);
        let section = self.section(event);
        let [what, why] = words::of_kind(&event.kind);
        let rows = &mut self.rows;
        rows.number.push(at + 1);
        rows.kind.push(self.kinds.add([event.kind.name(), what, why]));
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
        let remarks: Vec<_> = (at..at + length).filter_map(|at| walk.remarks.get(&at)).flatten().collect();
        if !remarks.is_empty() {
            rows.remarks.insert(row, remarks.into_iter().map(|remark| self.texts.add(remark)).collect());
        }
        let (record, formula, trail) =
            if one { (self.record(walk, at), self.formula(walk, at), self.trail(walk, at)) } else { (-1, -1, -1) };
        self.rows.record.push(record);
        self.rows.formula.push(formula);
        self.rows.trail.push(trail);
    }

    fn section(&mut self, event: &Event) -> usize {
        let request = self.requests.add(event.load);
        let stage = self.stages.add(event.stage);
        // What was there before is one group, however many objects.
        let object = event.object.as_ref().filter(|_| event.stage != dlscope::event::Stage::Host);
        let (object, name) = (object.map(|tag| tag.id), object.map_or(String::new(), |tag| tag.short().into()));
        let same = |last: &Section| (last.request, last.stage, last.object) == (request, stage, object);
        if !self.sections.last().is_some_and(same) {
            self.sections.push(Section { request, stage, object, name });
        }
        self.sections.len() - 1
    }

    fn record(&mut self, walk: &Walk, at: usize) -> i64 {
        let cause = walk.link(at).cause.unwrap_or(at);
        if let Some(known) = self.known_records.get(&cause) {
            return *known;
        }
        let number = match walk.record_of(cause) {
            None => -1,
            Some(record) => {
                let structure = self.structure(&record);
                self.records.push(structure);
                self.records.len() as i64 - 1
            }
        };
        self.known_records.insert(cause, number);
        number
    }

    fn structure(&mut self, record: &Record) -> Structure {
        let file = self.effects.file(&record.path);
        let length = record.length as u64;
        if let Some(offset) = record.offset {
            self.effects.keep_of_file(file, offset.0, length);
        } else if let Some(address) = record.address {
            self.effects.keep(&self.origins, address, length);
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
        if let Some(known) = self.known_formulas.get(&cause) {
            return *known;
        }
        let number = match walk.formula_of(cause) {
            None => -1,
            Some(Formula { letters, numbers }) => {
                let purpose = words::of_relocation(walk.relocation_type(cause).unwrap_or_default());
                self.formulas.push([self.texts.add(&letters), self.texts.add(&numbers), self.texts.add(purpose)]);
                self.formulas.len() as i64 - 1
            }
        };
        self.known_formulas.insert(cause, number);
        number
    }

    fn trail(&mut self, walk: &Walk, at: usize) -> i64 {
        let Some(lookup) = walk.link(at).lookup else { return -1 };
        if let Some(known) = self.known_trails.get(&lookup) {
            return *known;
        }
        let texts = &mut self.texts;
        let line = |line: walk::Trail| (texts.add(&line.who), texts.add(&line.said), line.found);
        self.trails.push(walk.trail(at).into_iter().map(line).collect());
        let number = self.trails.len() as i64 - 1;
        self.known_trails.insert(lookup, number);
        number
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
        let stage = |stage: &dlscope::event::Stage| Stage {
            name: stage.to_string(),
            number: stage.number(),
            words: words::of_stage(*stage),
        };
        Model {
            title: walk.title.clone(),
            version: env!("CARGO_PKG_VERSION"),
            error: walk.error.as_ref().map(message),
            events: walk.len(),
            stages: self.stages.all.iter().map(stage).collect(),
            kinds: self.kinds.all,
            references: self.references.all,
            requests,
            sections: self.sections,
            sources: self.sources.all.into_iter().map(excerpt).collect(),
            types: self.types.all,
            rows: self.rows,
            records: self.records,
            formulas: self.formulas,
            trails: self.trails,
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

fn message(failure: &Failure) -> String {
    match failure {
        Failure::Load(error) => error.to_string(),
        Failure::Io(error) => error.to_string(),
        Failure::Usage(message) | Failure::Refused(message) => message.clone(),
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
    /// The place of `item` in the list.
    fn add(&mut self, item: T) -> usize {
        if let Some(known) = self.known.get(&item) {
            return *known;
        }
        self.known.insert(item.clone(), self.all.len());
        self.all.push(item);
        self.all.len() - 1
    }
}
