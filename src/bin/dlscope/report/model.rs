//! Everything that the page shows, as data: words from [`words`](crate::words) and the walk's sentences, numbers from
//! events.
//!
//! Lists that have an entry for every row are kept apart by field, and what many rows share is kept once.

use std::collections::BTreeMap;

use serde::Serialize;

use super::effects::Effects;
use super::objects::{Edge, Object, Relocations, Symbol};
use super::texts::Text;

/// The data of a report.
#[derive(Serialize)]
pub struct Model {
    pub(super) title: String,
    pub(super) version: &'static str,
    /// Why the load failed.
    pub(super) error: Option<String>,
    /// How many events there were; rows can be fewer.
    pub(super) events: usize,
    pub(super) texts: Vec<String>,
    pub(super) stages: Vec<Stage>,
    pub(super) kinds: Vec<[&'static str; 3]>,
    pub(super) references: Vec<[&'static str; 4]>,
    pub(super) requests: Vec<Request>,
    pub(super) sections: Vec<Section>,
    pub(super) sources: Vec<Excerpt>,
    /// Which events are alike: kind, and type of relocation.
    pub(super) types: Vec<[String; 2]>,
    pub(super) rows: Rows,
    pub(super) records: Vec<Structure>,
    pub(super) formulas: Vec<[Text; 3]>,
    /// For each lookup its lines: who, what it said, whether it was found there.
    pub(super) trails: Vec<Vec<(Text, Text, bool)>>,
    /// `p_flags` in letters.
    pub(super) rights: Vec<String>,
    pub(super) regions: Vec<(u64, u64, u32, Option<u32>, Text)>,
    /// The address space, by numbers of regions.
    pub(super) layouts: Vec<Vec<usize>>,
    pub(super) effects: Effects,
    pub(super) objects: Vec<Object>,
    pub(super) edges: Vec<Edge>,
    pub(super) symbols: Vec<Symbol>,
    pub(super) relocations: Relocations,
    /// Rows, and the hash of memory after them.
    pub(super) checks: Vec<(usize, u32)>,
}

#[derive(Serialize)]
pub(super) struct Stage {
    pub(super) name: String,
    /// In the pipeline, from 1.
    pub(super) number: Option<usize>,
    pub(super) words: &'static str,
}

#[derive(Serialize)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) text: Text,
}

/// Rows one after another of one request, stage and object.
#[derive(Serialize)]
pub(super) struct Section {
    /// Which of `requests`.
    pub(super) request: usize,
    /// Which of `stages`.
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

/// A structure of a file: where it lies, and for each field name, value, note, start and end.
#[derive(Serialize)]
pub(super) struct Structure {
    pub(super) name: Text,
    /// Which of the files.
    pub(super) file: usize,
    pub(super) offset: Option<u64>,
    pub(super) address: Option<u64>,
    pub(super) length: usize,
    pub(super) fields: Vec<(Text, Text, Text, usize, usize)>,
}

/// One entry for each row; numbers refer to the lists of the same name, -1 to nothing.
#[derive(Default, Serialize)]
pub(super) struct Rows {
    /// The number of its event, from 1.
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
    /// The first byte that it is about, and how many; 0 and 0 for none.
    pub(super) address: Vec<u64>,
    pub(super) length: Vec<u64>,
    /// How many effects have been done after it.
    pub(super) effects: Vec<usize>,
    pub(super) strace: BTreeMap<usize, Text>,
    pub(super) remarks: BTreeMap<usize, Vec<Text>>,
}
