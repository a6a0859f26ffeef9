//! What an object says about other files: which it needs, and where they are looked for.

use std::sync::Arc;

use crate::elf::addr::Vaddr;
use crate::elf::dynamic::{Dynamic, StrOffset};
use crate::elf::symbol::SymbolTable;
use crate::error::ErrorKind;
use crate::event::Tag;
use crate::text::escape;

/// Where files are looked for on behalf of an object: in its own paths, then in those of the object that loaded it.
/// glibc: the chain of `l_loader`.
#[derive(Clone, Debug, Default)]
pub(crate) struct SearchPaths {
    /// Each `DT_RPATH` with its object, the object's own first. Objects with a `DT_RUNPATH` are left out, because their
    /// `DT_RPATH` does not count.
    pub rpath: Vec<(Tag, Vec<String>)>,
    /// The object's own `DT_RUNPATH`.
    pub runpath: Option<Vec<String>>,
    /// The directory of the object. The string is shared with the object that loaded it, if that one lies in the same
    /// directory.
    pub origin: Option<Arc<str>>,
    /// `DF_1_NODEFLIB`.
    pub no_default_dirs: bool,
}

/// What an object says about other files: the strings of its dynamic section, as they stand there.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    /// `DT_NEEDED`, in order.
    pub needed: Vec<Arc<str>>,
    /// `DT_FILTER` (`true`) and `DT_AUXILIARY`, by name.
    pub filters: Vec<(Arc<str>, bool)>,
    pub rpath: Option<Arc<str>>,
    pub runpath: Option<Arc<str>>,
}

impl Wants {
    /// Reads the strings of `dynamic` by `string`, which is told the offset and the tag.
    pub(super) fn new(
        dynamic: &Dynamic,
        string: &dyn Fn(StrOffset, &'static str) -> Result<Arc<str>, ErrorKind>,
    ) -> Result<Wants, ErrorKind> {
        let needed = dynamic.needed.iter().map(|&n| string(n, "DT_NEEDED")).collect::<Result<_, _>>()?;
        let filters = dynamic.filters.iter().map(|&(n, must)| Ok((string(n, "DT_FILTER")?, must)));
        let filters = filters.collect::<Result<_, _>>()?;
        let rpath = dynamic.rpath.map(|s| string(s, "DT_RPATH")).transpose()?;
        let runpath = dynamic.runpath.map(|s| string(s, "DT_RUNPATH")).transpose()?;
        Ok(Wants { needed, filters, rpath, runpath })
    }
}

impl SearchPaths {
    /// The directory that `$ORIGIN` stands for. Empty if it was never determined, because no path of the object needs
    /// it.
    pub(crate) fn origin(&self) -> &str {
        self.origin.as_deref().unwrap_or_default()
    }
}

/// A string whose offset stands in the dynamic section.
pub(super) fn string(
    symbols: &SymbolTable<'_>,
    offset: StrOffset,
    field: &'static str,
    section: Vaddr,
) -> Result<Arc<str>, ErrorKind> {
    symbols.string(offset.0).map(|bytes| escape(bytes).into()).ok_or_else(|| {
        let expected = "an offset of a string in DT_STRTAB";
        ErrorKind::malformed(field, section, format!("{:#x}", offset.0), expected, "gABI, \"Dynamic Section\"")
    })
}
