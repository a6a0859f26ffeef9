//! What an object says about other files: what it needs, and where that is looked for.

use std::ffi::OsStr;
use std::sync::Arc;

use super::Object;
use crate::elf::addr::Vaddr;
use crate::elf::dynamic::{DF_1_NODEFLIB, Dynamic, StrOffset};
use crate::elf::symbol::SymbolTable;
use crate::error::ErrorKind;
use crate::event::Tag;

/// Where a file is looked for on behalf of an object: its own paths, then those of the object that loaded it.
/// glibc: the chain of `l_loader`.
#[derive(Clone, Debug, Default)]
pub(crate) struct SearchPaths {
    /// `DT_RPATH`s with the name of their object, own first; those with a `DT_RUNPATH` are left out.
    pub rpath: Vec<(Tag, Vec<String>)>,
    /// Own `DT_RUNPATH`.
    pub runpath: Option<Vec<String>>,
    /// The directory of the object, shared with the object that loaded it if it lies in the same.
    origin: Option<Arc<str>>,
    /// `DF_1_NODEFLIB`.
    pub no_default_dirs: bool,
}

/// What an object says about other files.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    pub needed: Vec<Arc<str>>,
    /// `DT_FILTER` (`true`) and `DT_AUXILIARY`, by name.
    pub filters: Vec<(Arc<str>, bool)>,
    pub paths: SearchPaths,
}

impl Wants {
    /// `string` reads its string table.
    pub(super) fn new(
        dynamic: &Dynamic,
        string: &dyn Fn(StrOffset, &'static str) -> Result<Arc<str>, ErrorKind>,
        tag: &Tag,
        path: &OsStr,
        loaded_by: Option<&Object>,
    ) -> Result<Wants, ErrorKind> {
        let mut needed = Vec::with_capacity(dynamic.needed.len());
        for &name in &dynamic.needed {
            needed.push(string(name, "DT_NEEDED")?);
        }
        let filters = dynamic.filters.iter().map(|&(n, must)| Ok((string(n, "DT_FILTER")?, must)));
        let filters = filters.collect::<Result<_, _>>()?;
        let rpath = dynamic.rpath.map(|s| string(s, "DT_RPATH")).transpose()?;
        let runpath = dynamic.runpath.map(|s| string(s, "DT_RUNPATH")).transpose()?;
        let paths = SearchPaths::new(tag, path, rpath, runpath, dynamic.flags_1, loaded_by);
        Ok(Wants { needed, filters, paths })
    }
}

/// A string that the dynamic section names.
pub(super) fn string(
    symbols: &SymbolTable<'_>,
    offset: StrOffset,
    field: &'static str,
    section: Vaddr,
) -> Result<Arc<str>, ErrorKind> {
    symbols.string(offset.0).map(text).ok_or_else(|| {
        let expected = "an offset of a string in DT_STRTAB";
        ErrorKind::malformed(field, section, format!("{:#x}", offset.0), expected, "gABI, \"Dynamic Section\"")
    })
}

impl SearchPaths {
    /// Those of an object; of a host's object that names none, its `$ORIGIN` is left out: nobody would ask for it.
    pub(crate) fn of(object: Option<&Object>) -> &SearchPaths {
        static NONE: SearchPaths =
            SearchPaths { rpath: Vec::new(), runpath: None, origin: None, no_default_dirs: false };
        let names_some = |d: &Dynamic| d.rpath.is_some() || d.runpath.is_some() || d.flags_1 & DF_1_NODEFLIB != 0;
        let object = object.filter(|o| !o.is_host() || names_some(&o.dynamic));
        object.map_or(&NONE, |o| &o.wants().paths)
    }

    /// `$ORIGIN`; empty where nobody asks for it.
    pub(crate) fn origin(&self) -> &str {
        self.origin.as_deref().unwrap_or_default()
    }

    fn new(
        tag: &Tag,
        path: &OsStr,
        rpath: Option<Arc<str>>,
        runpath: Option<Arc<str>>,
        flags_1: u64,
        loaded_by: Option<&Object>,
    ) -> SearchPaths {
        let origin = crate::link::tokens::origin_of(path);
        let dirs = |list: &str| crate::link::tokens::expand_list(list, &origin);
        let mut chain = Vec::new();
        // glibc: an object with a DT_RUNPATH has no DT_RPATH.
        if let (Some(rpath), None) = (&rpath, &runpath) {
            chain.push((tag.clone(), dirs(rpath)));
        }
        let by = SearchPaths::of(loaded_by);
        chain.extend(by.rpath.iter().cloned());
        SearchPaths {
            rpath: chain,
            runpath: runpath.map(|list| dirs(&list)),
            no_default_dirs: flags_1 & DF_1_NODEFLIB != 0,
            origin: by.origin.clone().filter(|by| **by == *origin).or_else(|| Some(origin.into())),
        }
    }
}

fn text(bytes: &[u8]) -> Arc<str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes).into(),
    }
}
