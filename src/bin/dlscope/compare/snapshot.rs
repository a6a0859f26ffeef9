//! What one loader made of a library: written by a child process, read by the command.
//!
//! Addresses differ from process to process, so nothing here is an address: a word that points into an object
//! is told as that object and the offset in it.

use serde::{Deserialize, Serialize};

/// How a child's attempt ended, if the child lived to tell.
#[derive(Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The library is there.
    Loaded(Snapshot),
    /// The loader refused it.
    Refused {
        /// In the loader's own words.
        reason: String,
        /// On purpose, though it could be loaded.
        policy: bool,
    },
}

/// A process after it loaded the library.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Everything that is mapped as a library: what was there before, then what was loaded, in order.
    pub objects: Vec<SeenObject>,
    /// What the lookup of each export gave (`Exports::of`, in its order); `None` where it found nothing.
    pub exports: Vec<Option<Word>>,
    /// The place of the opened library in `objects`.
    pub root: usize,
}

impl Snapshot {
    /// What stands for a path in the executable's [`SeenObject::path`]: the C library has no name for it.
    pub const PROGRAM: &str = "the program";
}

/// One object of the process.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenObject {
    /// Where it was found.
    pub path: String,
    /// Device and inode: two paths may lead to one file.
    pub file: Option<(u64, u64)>,
    /// How it came here.
    pub role: Role,
    /// What stands in each of its slots (`ElfFile::slots`, in its order).
    pub slots: Vec<Word>,
    /// The slots, by their place in `slots`, that constructors changed. Only dlscope can be watched before.
    pub changed: Vec<u32>,
    /// Its thread-local block, where it has one that could be found: the words (by offset) of this thread's that are
    /// not as its image has them.
    pub block: Option<Vec<u64>>,
    /// The protections of its pages, in ascending order.
    pub pages: Vec<Pages>,
}

/// How an object came into the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It was there before.
    #[default]
    Host,
    /// It was loaded.
    New,
    /// Not by the open itself: code of the library loaded it in turn.
    Nested,
}

/// Neighbouring pages of the same protection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// The `p_vaddr` of the first.
    pub start: u64,
    /// How many.
    pub count: u64,
    /// `r-x`, as `/proc/self/maps` has it; `unmapped` for a hole.
    pub rights: String,
}

/// One word by its meaning. The first number is always the place of an object in [`Snapshot::objects`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// An address in an object: its `p_vaddr` there.
    #[serde(rename = "o")]
    Object(u32, u64),
    /// A number.
    #[serde(rename = "v")]
    Value(u64),
    /// An address in memory that belongs to no object: heap, stack, a mapping of its own.
    #[serde(rename = "e")]
    Elsewhere,
    /// A thread-local variable: the offset in the block of an object.
    #[serde(rename = "t")]
    ThreadLocal(u32, u64),
    /// The id of an object's thread-local block.
    #[serde(rename = "m")]
    Module(u32),
    /// The slot was not bound yet: its first use would do it.
    #[serde(rename = "l")]
    Lazy,
    /// It cannot be read.
    #[serde(rename = "u")]
    Unreadable,
}
