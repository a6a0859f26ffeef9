//! Where files are looked for on behalf of an object: `DT_RPATH`, `DT_RUNPATH` and `$ORIGIN`.

use std::ffi::OsStr;

use super::tokens::{expand_list, origin_of};
use crate::elf::dynamic::{DF_1_NODEFLIB, Dynamic};
use crate::host;
use crate::lock::made_once;
use crate::object::{Object, SearchPaths};

/// The search paths of an object. They are made at the first call, unless [`note_search_paths`] made them when the
/// object was mapped.
pub(crate) fn search_paths(object: &Object) -> &SearchPaths {
    made_once(&object.paths, || {
        let program = object.host.as_ref().filter(|h| h.program).map(|_| host::program_path(true));
        expanded(object, program.as_deref().unwrap_or(object.path()), None)
    })
}

/// Makes the search paths of a new object. They may depend on something that changes: on the current directory, and on
/// the `DT_RPATH` of `loaded_by`, which needs the object and may be unloaded before it.
pub(crate) fn note_search_paths(object: &Object, loaded_by: Option<&Object>) {
    let _ = object.paths.set(expanded(object, object.path(), loaded_by));
}

/// The search paths that count when `object` needs a file. For a host object that names no directories they are empty:
/// to find its `$ORIGIN` alone would cost a system call.
pub(super) fn that_count(object: Option<&Object>) -> &SearchPaths {
    static NONE: SearchPaths = SearchPaths { rpath: Vec::new(), runpath: None, origin: None, no_default_dirs: false };
    let names_some = |d: &Dynamic| d.rpath.is_some() || d.runpath.is_some() || d.flags_1 & DF_1_NODEFLIB != 0;
    let object = object.filter(|o| !o.is_host() || names_some(&o.dynamic));
    object.map_or(&NONE, search_paths)
}

fn expanded(object: &Object, path: &OsStr, loaded_by: Option<&Object>) -> SearchPaths {
    let wants = object.wants();
    let origin = origin_of(path);
    let dirs = |list: &str| expand_list(list, &origin);
    let mut chain = Vec::new();
    // As in glibc, a DT_RPATH beside a DT_RUNPATH is ignored.
    if let (Some(rpath), None) = (&wants.rpath, &wants.runpath) {
        chain.push((object.tag.clone(), dirs(rpath)));
    }
    let by = that_count(loaded_by);
    chain.extend(by.rpath.iter().cloned());
    SearchPaths {
        rpath: chain,
        runpath: wants.runpath.as_ref().map(|list| dirs(list)),
        no_default_dirs: object.dynamic.flags_1 & DF_1_NODEFLIB != 0,
        origin: by.origin.clone().filter(|by| **by == *origin).or_else(|| Some(origin.into())),
    }
}
