//! The parts that the time of a load is divided into.

use std::fmt;

use dlscope::event::Stage;
use serde::{Deserialize, Serialize};

/// A part of the work of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Before the request begins: the lock, and what is in the process already.
    Host,
    /// Stages 1, 2 and 6: from names to open files with checked headers, dependencies too.
    Search,
    /// Stages 3 and 4: the plan, and the mappings.
    Map,
    /// Stage 5: the tables are read and checked.
    Dynamic,
    /// Stage 7.
    Versions,
    /// Of stage 8 the search for symbols, with the scope and its filter.
    Lookup,
    /// The rest of stage 8: formulas and stores.
    Relocate,
    /// Stage 9.
    Seal,
    /// Stage 10, and what is kept of constructors and of the caller's handle.
    Publish,
    /// Stage 11: the library's own code.
    Constructors,
    /// What constructors asked of the loader, but for opens, whose parts count with all others.
    Nested,
}

impl Part {
    /// All parts in the order of a load.
    pub const ALL: [Part; 11] = [
        Part::Host,
        Part::Search,
        Part::Map,
        Part::Dynamic,
        Part::Versions,
        Part::Lookup,
        Part::Relocate,
        Part::Seal,
        Part::Publish,
        Part::Constructors,
        Part::Nested,
    ];

    /// The part that the loader's own work in a stage is of.
    pub fn of_stage(stage: Stage) -> Part {
        match stage {
            Stage::Host => Part::Host,
            Stage::Find | Stage::Read | Stage::Needed => Part::Search,
            Stage::Plan | Stage::Map => Part::Map,
            Stage::Dynamic => Part::Dynamic,
            Stage::Versions => Part::Versions,
            Stage::Relocate => Part::Relocate,
            Stage::Seal => Part::Seal,
            Stage::Publish | Stage::Init => Part::Publish,
            Stage::Lookup | Stage::Bind | Stage::Close => Part::Nested,
        }
    }

    /// The column or row that it stands in.
    pub fn name(self) -> &'static str {
        match self {
            Part::Host => "host",
            Part::Search => "search",
            Part::Map => "map",
            Part::Dynamic => "dynamic",
            Part::Versions => "versions",
            Part::Lookup => "lookup",
            Part::Relocate => "relocate",
            Part::Seal => "seal",
            Part::Publish => "publish",
            Part::Constructors => "constructors",
            Part::Nested => "nested",
        }
    }

    /// What is done there, in a few words.
    pub fn about(self) -> &'static str {
        match self {
            Part::Host => "what is in the process already",
            Part::Search => "names to files, headers",
            Part::Map => "plan, reserve, mmap, zero",
            Part::Dynamic => "dynamic section, tables checked",
            Part::Versions => "needed versions",
            Part::Lookup => "scope, symbols by name",
            Part::Relocate => "formulas and stores",
            Part::Seal => "RELRO read-only",
            Part::Publish => "namespace, order, handle",
            Part::Constructors => "the library's own code",
            Part::Nested => "dlsym, dlclose of constructors",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
