//! A snapshot of a process with a loaded library. A child writes it, the command reads it.
//!
//! Addresses differ from process to process, so a snapshot has none: a word that points into an object is stored as the
//! object and the offset in it.

use serde::{Deserialize, Serialize};

/// What came of the load in a child.
#[derive(Debug, Serialize, Deserialize)]
pub enum LoadResult {
    /// The library was loaded.
    Loaded(Snapshot),
    /// The loader refused it.
    Refused {
        /// The message of the loader.
        reason: String,
        /// Whether dlscope refused it by its policy, though it could load it.
        policy: bool,
    },
}

/// The process after the load.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// All objects: those of the host, then the loaded ones, in order.
    pub objects: Vec<SeenObject>,
    /// The result of each lookup of an export, in the order of `ElfFile::exports`; `None` if it found nothing.
    pub exports: Vec<Option<WordMeaning>>,
    /// The index of the opened library in `objects`.
    pub root: usize,
}

impl Snapshot {
    /// The [`SeenObject::path`] of the program itself, for which the C library has no path.
    pub const PROGRAM: &str = "the program";
}

/// One object of the process.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenObject {
    /// Its path.
    pub path: String,
    /// The device and inode of its file, because two paths may lead to one file.
    pub file: Option<(u64, u64)>,
    /// How it came into the process.
    pub role: Role,
    /// The words in its slots, in the order of `ElfFile::slots`.
    pub slots: Vec<WordMeaning>,
    /// The indexes of slots that constructors changed. This is known under dlscope only, whose probe sees the slots
    /// before.
    pub changed: Vec<u32>,
    /// The words of this thread's thread-local block, by offset, that differ from the block's image; `None` if the
    /// object has no block, or it was not found.
    pub block: Option<Vec<u64>>,
    /// The rights of its pages, in ascending order.
    pub pages: Vec<PageRun>,
}

/// How an object came into the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It was in the process before.
    #[default]
    Host,
    /// The load of the library brought it.
    New,
    /// Code of the library loaded it in turn.
    Nested,
}

/// Neighbouring pages with equal rights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRun {
    /// The `p_vaddr` of the first page.
    pub start: u64,
    /// How many pages.
    pub count: u64,
    /// The rights as in `/proc/self/maps`, such as `r-x`; `unmapped` for a hole.
    pub rights: String,
}

/// The meaning of a word. A number of type `u32` is an index in [`Snapshot::objects`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WordMeaning {
    /// An address in an object, by its `p_vaddr`.
    #[serde(rename = "o")]
    Object(u32, u64),
    /// A number.
    #[serde(rename = "v")]
    Value(u64),
    /// An address in memory that belongs to no object: heap, stack, another mapping.
    #[serde(rename = "e")]
    Elsewhere,
    /// A thread-local variable, by its offset in the block of an object.
    #[serde(rename = "t")]
    ThreadLocal(u32, u64),
    /// The module id of an object.
    #[serde(rename = "m")]
    Module(u32),
    /// The slot is not bound yet: the first call would bind it.
    #[serde(rename = "l")]
    Lazy,
    /// The word cannot be read.
    #[serde(rename = "u")]
    Unreadable,
}
