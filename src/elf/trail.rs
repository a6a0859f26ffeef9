//! The steps of a symbol search, for probes that listen closely.

/// One step of a symbol search in one object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case", tag = "step"))]
pub enum Probing {
    /// The bloom filter says no: the name is certainly not in this object.
    BloomNo,
    /// The hash table has no buckets.
    EmptyTable,
    /// The bloom filter says maybe; this bucket is searched.
    Bucket {
        /// `hash % nbuckets`.
        bucket: u32,
        /// The symbol index that the bucket holds, 0 if it is empty.
        first: u32,
    },
    /// A symbol of the bucket was looked at.
    Chain {
        /// Its index.
        symbol: u32,
        /// Whether its hash is the wanted one. `DT_HASH` keeps no hashes, so there it is always true.
        same_hash: bool,
    },
    /// The hash is the wanted one, the name is another.
    OtherName {
        /// Its index.
        symbol: u32,
    },
    /// The entry cannot serve as a definition: it is only a reference, or has no value.
    NotADefinition {
        /// Its index.
        symbol: u32,
    },
    /// The name is right, but the version is not the wanted one.
    OtherVersion {
        /// Its index.
        symbol: u32,
        /// The version it has.
        has: String,
    },
    /// The definition is local or hidden, so other objects may not use it.
    NotExported {
        /// Its index.
        symbol: u32,
    },
    /// This symbol is the definition.
    Found {
        /// Its index.
        symbol: u32,
        /// The version it has, if any.
        version: Option<String>,
    },
}

/// Records the steps of a search. `()` records nothing, and costs nothing.
pub trait Trail {
    /// One step.
    fn step(&mut self, step: impl FnOnce() -> Probing);
}

impl Trail for () {
    #[inline(always)]
    fn step(&mut self, _: impl FnOnce() -> Probing) {}
}

impl Trail for Vec<Probing> {
    fn step(&mut self, step: impl FnOnce() -> Probing) {
        self.push(step());
    }
}
