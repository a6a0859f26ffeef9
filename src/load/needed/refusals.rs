//! Objects that are found, and that a load may not have all the same. glibc refuses them when it maps them, and so names
//! them as they were asked for.

use super::Target;
use crate::elf::addr::FileOffset;
use crate::elf::image::DF_1_PIE;
use crate::error::{Error, ErrorKind, Where};
use crate::event::Stage;
use crate::object::Object;

/// A library with `DF_1_NOOPEN`, opened or needed.
pub(super) fn not_to_be_opened(name: &str) -> Error {
    let kind = ErrorKind::Policy {
        what: "DT_FLAGS_1".into(),
        found: "DF_1_NOOPEN".into(),
        reason: "the library says that it must be there when the program starts (linked with -z nodlopen); link the program with it".into(),
    };
    kind.of(name, Stage::Needed)
}

/// A position-independent program: it is `ET_DYN` like a library, but it is none.
pub(super) fn program(object: &Object, name: &str) -> Error {
    let kind = ErrorKind::Unsuitable {
        field: "DT_FLAGS_1".into(),
        at: Where::Memory(object.image.dynamic().map_or_else(Default::default, |s| s.vaddr)),
        found: "DF_1_PIE, a program".into(),
        expected: "a shared library".into(),
        reason: "a position-independent executable cannot be loaded as a library; run it instead".into(),
    };
    kind.of(name, Stage::Needed)
}

/// The running program, opened by the name of its file. glibc does not know that name, and refuses the file as it refuses
/// any other program.
pub(super) fn own_program(target: Target<'_>, root: &Object) -> Error {
    if root.dynamic.flags_1 & DF_1_PIE != 0 {
        return program(root, target.name());
    }
    let kind = ErrorKind::Unsuitable {
        field: "e_type".into(),
        at: Where::File(FileOffset(16)),
        found: "EXEC (2)".into(),
        expected: "ET_DYN (3)".into(),
        reason: "this is the running program; its symbols are found without a name".into(),
    };
    kind.of(target.name(), Stage::Needed)
}
