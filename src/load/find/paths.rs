//! Where files are looked for on behalf of an object: `DT_RPATH`, `DT_RUNPATH` and `$ORIGIN`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::tokens::{expand_list, origin_of};
use crate::elf::dynamic::{DF_1_NODEFLIB, Dynamic};
use crate::host;
use crate::lock::made_once;
use crate::object::{Object, SearchPaths};

/// Those of an object of the host, or of one of ours, for which [`note_search_paths`] was called.
pub(crate) fn search_paths(object: &Object) -> &SearchPaths {
    made_once(&object.paths, || {
        let program = object.host.as_ref().filter(|h| h.program).map(|_| host::program_path(true));
        expanded(object, program.as_deref().unwrap_or(object.path()), None)
    })
}

/// Notes the search paths of a new object, which the object `loaded_by` needs, while they can still be known: the current
/// directory changes, and the loading object may go.
pub(crate) fn note_search_paths(object: &Object, loaded_by: Option<&Object>) {
    let inherits = !that_count(loaded_by).rpath.is_empty();
    if inherits || object.path().as_bytes().first() != Some(&b'/') {
        let _ = object.paths.set(expanded(object, object.path(), loaded_by));
    }
}

/// The search paths of whoever needs a file. Those of a host's object that names no folder are not made, for its
/// `$ORIGIN` alone would cost a system call.
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
    // glibc: an object with a DT_RUNPATH has no DT_RPATH.
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
