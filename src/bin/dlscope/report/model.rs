//! Everything that the page shows, as data.
//!
//! Lists with an entry for each row are kept apart by field, and what many rows share is stored once.

use std::collections::BTreeMap;

use serde::Serialize;

use super::chapters::{Chapter, GlossaryWord};
use super::effects::Effects;
use super::objects::{BoundSymbol, Edge, Object, Relocations};
use super::texts::Text;

/// The data of a report.
#[derive(Serialize)]
pub struct Model {
    pub(super) title: String,
    pub(super) version: &'static str,
    /// Why the load failed.
    pub(super) error: Option<String>,
    /// The number of events. There may be fewer rows.
    pub(super) events: usize,
    pub(super) texts: Vec<String>,
    pub(super) stages: Vec<StageWords>,
    /// The glossary.
    pub(super) words: Vec<GlossaryWord>,
    pub(super) chapters: Vec<Chapter>,
    pub(super) kinds: Vec<EventKind>,
    pub(super) references: Vec<[&'static str; 4]>,
    pub(super) requests: Vec<Request>,
    pub(super) sections: Vec<RowGroup>,
    pub(super) sources: Vec<Excerpt>,
    /// The types of events for the keys `n` and `N`: kind, and relocation type.
    pub(super) types: Vec<[String; 2]>,
    pub(super) rows: Rows,
    pub(super) records: Vec<Structure>,
    pub(super) formulas: Vec<[Text; 3]>,
    /// The lines about each lookup: the object, what its hash table said, whether its definition was taken.
    pub(super) trails: Vec<Vec<(Text, Text, bool)>>,
    /// The letters for each value of `p_flags`.
    pub(super) rights: Vec<String>,
    pub(super) regions: Vec<(u64, u64, u32, Option<u32>, Text)>,
    /// Each layout of the address space, as indexes in `regions`.
    pub(super) layouts: Vec<Vec<usize>>,
    pub(super) effects: Effects,
    pub(super) objects: Vec<Object>,
    pub(super) edges: Vec<Edge>,
    pub(super) symbols: Vec<BoundSymbol>,
    pub(super) relocations: Relocations,
    /// Some rows, and the hash of the memory after each of them.
    pub(super) checks: Vec<(usize, u32)>,
}

/// A kind of event.
#[derive(Serialize)]
pub(super) struct EventKind {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) why: &'static str,
    /// The words of the glossary that it has to do with, by their index in `words`.
    pub(super) words: Vec<usize>,
}

#[derive(Serialize)]
pub(super) struct StageWords {
    pub(super) name: String,
    /// The number in the pipeline, from 1.
    pub(super) number: Option<usize>,
    pub(super) words: &'static str,
}

#[derive(Serialize)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) text: Text,
}

/// Neighbouring rows of one request, stage and object.
#[derive(Serialize)]
pub(super) struct RowGroup {
    /// The index in `requests`.
    pub(super) request: usize,
    /// The index in `stages`.
    pub(super) stage: usize,
    pub(super) object: Option<u32>,
    pub(super) name: String,
}

#[derive(Serialize)]
pub(super) struct Excerpt {
    pub(super) file: &'static str,
    pub(super) line: u32,
    pub(super) lines: Vec<(u32, &'static str)>,
}

/// A structure of a file: its place, and for each field its name, value, note, start and end.
#[derive(Serialize)]
pub(super) struct Structure {
    pub(super) name: Text,
    /// The index of the file.
    pub(super) file: usize,
    pub(super) offset: Option<u64>,
    pub(super) address: Option<u64>,
    pub(super) length: usize,
    pub(super) fields: Vec<(Text, Text, Text, usize, usize)>,
}

/// The rows, each field a list with an entry for each row. Numbers are indexes in the lists of the same name; -1 stands
/// for nothing.
#[derive(Default, Serialize)]
pub(super) struct Rows {
    /// The number of the event, from 1.
    pub(super) number: Vec<usize>,
    pub(super) kind: Vec<usize>,
    pub(super) section: Vec<usize>,
    pub(super) reference: Vec<usize>,
    pub(super) source: Vec<usize>,
    #[serde(rename = "type")]
    pub(super) alike: Vec<usize>,
    pub(super) text: Vec<Text>,
    pub(super) record: Vec<i64>,
    pub(super) formula: Vec<i64>,
    pub(super) trail: Vec<i64>,
    pub(super) layout: Vec<usize>,
    /// The memory that the row is about: the first address, and how many bytes; 0 and 0 for none.
    pub(super) address: Vec<u64>,
    pub(super) length: Vec<u64>,
    /// How many effects there are up to this row.
    pub(super) effects: Vec<usize>,
    pub(super) strace: BTreeMap<usize, Text>,
    pub(super) remarks: BTreeMap<usize, Vec<Text>>,
}
