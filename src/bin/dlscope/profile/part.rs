//! The parts into which the time of a load is divided.

use std::fmt;

use dlscope::event::Stage;
use serde::{Deserialize, Serialize};

/// A part of the work of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The work before the request: taking the lock, and listing the objects of the host.
    Host,
    /// Stages 1, 2 and 6: from names to open files with checked headers, also for dependencies.
    Search,
    /// Stages 3 and 4: the plan and the mappings.
    Map,
    /// Stage 5: reading and checking the tables.
    Dynamic,
    /// Stage 7: the needed versions.
    Versions,
    /// The lookups of symbols in stage 8, with making the scope and its filter.
    Lookup,
    /// The rest of stage 8: formulas and stores.
    Relocate,
    /// Stage 9: RELRO becomes read-only.
    Seal,
    /// Stage 10, with the order of constructors and the caller's handle.
    Publish,
    /// Stage 11: the library's own code.
    Constructors,
    /// Requests that constructors make, except for opens, which are divided into parts like any load.
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

    /// The part to which the loader's own work in a stage belongs.
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
            // Lookups, first calls, closes.
            _ => Part::Nested,
        }
    }

    /// The name of its column or row.
    pub fn name(self) -> &'static str {
        self.words()[0]
    }

    /// What the loader does there, in a few words.
    pub fn about(self) -> &'static str {
        self.words()[1]
    }

    /// Its colour in a picture.
    pub fn colour(self) -> &'static str {
        self.words()[2]
    }

    fn words(self) -> [&'static str; 3] {
        match self {
            Part::Host => ["host", "what is in the process already", "#9a9fa6"],
            Part::Search => ["search", "names to files, headers", "#4f8fd0"],
            Part::Map => ["map", "plan, reserve, mmap, zero", "#2f6fb0"],
            Part::Dynamic => ["dynamic", "dynamic section, tables checked", "#6ab0a8"],
            Part::Versions => ["versions", "needed versions", "#8fbf6a"],
            Part::Lookup => ["lookup", "scope, symbols by name", "#e0a030"],
            Part::Relocate => ["relocate", "formulas and stores", "#d9662e"],
            Part::Seal => ["seal", "RELRO read-only", "#a0522d"],
            Part::Publish => ["publish", "namespace, order, handle", "#b7a4cf"],
            Part::Constructors => ["constructors", "the library's own code", "#8a4fb0"],
            Part::Nested => ["nested", "dlsym, dlclose of constructors", "#c06fa8"],
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
