//! The steps of a search, for those who watch.

/// One step of a search in one object, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case", tag = "step"))]
pub enum Probing {
    /// The bloom filter says no: certain.
    BloomNo,
    /// The table has no buckets.
    EmptyTable,
    /// The bloom filter says maybe; this bucket is searched.
    Bucket {
        /// `hash % nbuckets`.
        bucket: u32,
        /// The symbol index that it holds, 0 for none.
        first: u32,
    },
    /// A symbol of the bucket was looked at.
    Chain {
        /// Its index.
        symbol: u32,
        /// Whether its hash is the wanted one (the older table does not keep hashes).
        same_hash: bool,
    },
    /// The hash is the same, the name another.
    OtherName {
        /// Its index.
        symbol: u32,
    },
    /// The name is right, but the entry is a reference, not a definition.
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
    /// Found, but it is local or hidden: not for others.
    NotExported {
        /// Its index.
        symbol: u32,
    },
    /// This is it.
    Found {
        /// Its index.
        symbol: u32,
        /// The version it has, if any.
        version: Option<String>,
    },
}

/// Takes note of the steps of a search; `()` does not, and costs nothing.
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
