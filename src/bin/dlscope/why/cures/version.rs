//! A version that the library found does not have.

use std::path::PathBuf;

use dlscope::event::Rule;

use super::super::problem::Problem;
use super::super::words::offer;
use super::Maker;
use super::search_path::is_of_glibc;
use crate::bytes::shown;

impl Maker<'_> {
    pub(super) fn version(
        &mut self,
        problem: &Problem,
        (version, library): (&str, &str),
        offered: &[String],
        lies_in: &[PathBuf],
        found_by: Option<&Rule>,
    ) -> String {
        let user = problem.whose();
        let newer = lies_in.first().filter(|_| !is_of_glibc(library));
        if let Some(path) = newer {
            let setting = self.for_one_run();
            let Some(setting) = setting else {
                return format!("{} has it: link {user} with a path to it.", shown(path));
            };
            let mut text = format!("{} has it: set {setting}, or link {user} with a path to it.", shown(path));
            // The loader searches DT_RPATH before LD_LIBRARY_PATH.
            if let Some(Rule::Rpath(whose)) = found_by {
                text += &format!(" The DT_RPATH of {whose} comes before LD_LIBRARY_PATH, so it must go, too.");
                let node = self.nodes.iter().find(|node| node.tag.short() == whose.as_str());
                if let Some(node) = node {
                    let remove = format!("patchelf --remove-rpath {}", self.file_of(&node.tag.name));
                    text += &format!(" That is done by {remove}.");
                }
            }
            return text;
        }
        version_cure(version, library, offered, user)
    }
}

pub(super) fn version_cure(version: &str, library: &str, offered: &[String], user: &str) -> String {
    let offer = offer(version, offered);
    if version.starts_with("GLIBC_") {
        return format!(
            "{user} was built on a system with a newer C library than this one ({offer}). Build it here, or on the oldest \
             system that it shall run on; or run it on a newer system. libc itself cannot be exchanged for one library."
        );
    }
    if ["GLIBCXX_", "CXXABI_"].iter().any(|family| version.starts_with(family)) {
        return format!(
            "{user} was built with a newer GCC than this {library} belongs to. Install a newer {library} (it stays \
             compatible with older programs), or build {user} with this system's compiler."
        );
    }
    format!(
        "Install a {library} that has {version}, or set LD_LIBRARY_PATH to its folder; or build {user} anew against the one \
         that is there."
    )
}
