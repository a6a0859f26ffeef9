//! Another C library.

use super::{Evidence, OtherLibc, Problem, ProblemKind};
use crate::compare::file::ElfFile;
use crate::page::short;

impl Evidence<'_> {
    /// Says of objects that need the C library of another system, that it is this which is wrong with them.
    pub(super) fn other_libc(&self, problems: &mut Vec<Problem>) {
        let mut known: Vec<String> = Vec::new();
        problems.retain_mut(|problem| {
            let (ProblemKind::NotFound { library, .. } | ProblemKind::Unsuitable { library, .. }) = &problem.kind
            else {
                return true;
            };
            let Some(user) = self.graph.nodes.iter().find(|node| *node.tag.name == *problem.object) else {
                return true;
            };
            let needs: Vec<&str> = user.needs.iter().map(|need| need.name.as_str()).collect();
            let Some(libc) = other_libc(library, &needs) else { return true };
            let is_new = !known.contains(&problem.object);
            known.push(problem.object.clone());
            problem.kind = ProblemKind::OtherLibc { libc, library: library.clone(), without_it: Vec::new() };
            is_new
        });
    }
}

/// The C library of other systems that goes by this name there.
fn other_libc(library: &str, needs: &[&str]) -> Option<OtherLibc> {
    let needs_one_of = |names: &[&str]| needs.iter().any(|need| names.contains(need));
    match short(library) {
        name if name.starts_with("libc.musl-") || name.starts_with("ld-musl-") => Some(OtherLibc::Musl),
        "libc.so" if needs_one_of(&["libdl.so", "libm.so", "liblog.so", "libandroid.so"]) => Some(OtherLibc::Bionic),
        "libc.so" => Some(OtherLibc::Musl),
        "liblog.so" | "libandroid.so" => Some(OtherLibc::Bionic),
        "libc.so.7" => Some(OtherLibc::FreeBsd),
        _ => None,
    }
}

/// The C library of another system that this file was built for, or is.
pub fn libc_of(file: &ElfFile) -> Option<OtherLibc> {
    let needed = file.needed();
    let needs: Vec<&str> = needed.iter().map(String::as_str).collect();
    let soname = file.soname();
    // Only the name of a C library says for certain which one it is.
    let is_libc = |name: &&str| name.starts_with("libc.") || name.starts_with("ld-musl-");
    let mut names = soname.as_deref().into_iter().chain(needs.iter().copied()).filter(is_libc);
    names.find_map(|name| other_libc(name, &needs))
}
