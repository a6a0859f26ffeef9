//! Stage 7, versions: whether every version that a new object needs is defined, before any relocation is applied.
//!
//! LSB "Symbol Versioning", "Startup Sequence"; glibc `_dl_check_map_versions` and `dl_isa_level_check`. The check gives
//! an early and readable refusal: "needs GLIBC_2.38" says more than the first symbol that would be missing.

use std::sync::Arc;

use crate::elf::version::Need;
use crate::error::{Error, ErrorKind, Result, Where};
use crate::event::{Kind, Report, Stage, VersionOutcome};
use crate::host::cpu::cpu_level;
use crate::load::batch::{Batch, Mapped, Node};
use crate::load::needed::{Here, object_of_name};
use crate::object::Object;
use crate::text::escape;

/// The version by which a library says that its loader must know `DT_RELR`.
const RELR: &[u8] = b"GLIBC_ABI_DT_RELR";

/// Checks the `DT_VERNEED` of every new object against the `DT_VERDEF` of the objects that it names.
///
/// # Errors
/// [`ErrorKind::MissingVersion`] for the first version that its provider does not define, unless the need is weak.
/// [`ErrorKind::Unsuitable`] for a library that needs a better processor, or has `DT_RELR` without saying so.
/// [`ErrorKind::Malformed`] for a `vn_file` that names none of the dependencies.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn check(batch: &Batch<Mapped>, here: &Here<'_>, report: Report<'_>) -> Result<()> {
    let (nodes, report) = (&batch.nodes, report.at(Stage::Versions));
    for node in nodes.iter().filter(|n| n.is_new()) {
        let object = &*node.object;
        for need in &object.symbols().versions.needs {
            let Some(provider) = provider(node, need.file, nodes, here) else {
                // A `DT_NEEDED` object that is missing is a fault of its own, which stage 6 has noted.
                if !object.wants().needed.iter().any(|name| name.as_bytes() == need.file) {
                    here.policy().fault(nobody_called(object, need), report.about(&object.tag))?;
                }
                continue;
            };
            let outcome = outcome(&provider, need);
            report.about(&object.tag).tell(|| Kind::Version {
                version: text(need.name.text),
                provider: provider.tag.clone(),
                outcome,
            });
            if outcome == VersionOutcome::Missing {
                here.policy().fault(missing(object, &provider, need), report.about(&object.tag))?;
            }
        }
        if object.dynamic.relr.is_some() && is_relr_unsaid(node, nodes, here) {
            here.policy().fault(relr_unsaid(object), report.about(&object.tag))?;
        }
    }
    for node in nodes.iter().filter(|n| n.is_new()) {
        if let Some(error) = better_processor(&node.object) {
            here.policy().fault(error, report.about(&node.object.tag))?;
        }
    }
    Ok(())
}

/// The object that a version is needed from: a dependency, or whatever goes by that name. glibc looks among all objects
/// of the namespace, so the name need not be in `DT_NEEDED` (`patchelf --remove-needed` leaves such files).
fn provider(node: &Node, file: &[u8], nodes: &[Node], here: &Here<'_>) -> Option<Arc<Object>> {
    let direct = node.needs.iter().map(|&at| &nodes[at]);
    let of_load = direct.chain(nodes).find(|n| is_called(n, file)).map(|n| n.object.shared());
    of_load.or_else(|| Some(object_of_name(std::str::from_utf8(file).ok()?, here)?.0))
}

/// Whether a library with `DT_RELR` needs a C library that has a version for such libraries, but not that version of it.
fn is_relr_unsaid(node: &Node, nodes: &[Node], here: &Here<'_>) -> bool {
    let needs = &node.object.symbols().versions.needs;
    let has_it = |o: Arc<Object>| o.symbols().versions.defined.iter().any(|version| version.text == RELR);
    let offers = |need: &Need<'_>| provider(node, need.file, nodes, here).is_some_and(has_it);
    !needs.iter().any(|need| need.name.text == RELR)
        && needs.iter().any(|need| need.file.starts_with(b"libc.so.") && offers(need))
}

fn relr_unsaid(object: &Object) -> Error {
    let kind = ErrorKind::Unsuitable {
        field: "DT_RELR".into(),
        at: Where::Memory(object.dynamic.relr.map_or_else(Default::default, |table| table.at)),
        found: "there, but GLIBC_ABI_DT_RELR is not among the versions needed from the C library".into(),
        expected: "both".into(),
        reason:
            "an older loader would skip the table, so glibc asks for the version; link with -z pack-relative-relocs"
                .into(),
    };
    kind.of(object.label(), Stage::Versions)
}

/// What is wrong if the object's property note asks for more than this processor has.
fn better_processor(object: &Object) -> Option<Error> {
    let (needed, at) = object.isa_needed()?;
    let has = (1 << (cpu_level() as u32 + 1)) - 1;
    if needed & !has == 0 {
        return None;
    }
    let kind = ErrorKind::Unsuitable {
        field: "GNU_PROPERTY_X86_ISA_1_NEEDED".into(),
        at: Where::Memory(at),
        found: format!("{needed:#x}, x86-64-v{}", u32::BITS - needed.leading_zeros()),
        expected: format!("at most {has:#x}, x86-64-v{}, which is what this processor has", cpu_level() as u32 + 1),
        reason: "the library was built for a newer processor; install or build one for this".into(),
    };
    Some(kind.of(object.label(), Stage::Versions))
}

fn is_called(node: &Node, name: &[u8]) -> bool {
    node.object.soname.as_deref().is_some_and(|s| s.as_bytes() == name)
        || node.names.iter().any(|n| n.as_bytes() == name)
}

fn outcome(provider: &Object, need: &Need<'_>) -> VersionOutcome {
    let versions = &provider.symbols().versions;
    if !versions.has_definitions {
        VersionOutcome::ProviderHasNone
    } else if versions.defined.iter().any(|v| v.same(&need.name)) {
        VersionOutcome::Provided
    } else if need.weak {
        VersionOutcome::WeakAndMissing
    } else {
        VersionOutcome::Missing
    }
}

fn missing(object: &Object, provider: &Object, need: &Need<'_>) -> Error {
    let offered: Vec<_> = provider.symbols().versions.defined.iter().map(|v| text(v.text)).collect();
    let kind = ErrorKind::MissingVersion {
        version: text(need.name.text),
        provider: text(need.file),
        path: provider.label(),
        offered: if offered.is_empty() { "none".into() } else { offered.join(", ") },
    };
    kind.of(object.label(), Stage::Versions)
}

fn nobody_called(object: &Object, need: &Need<'_>) -> Error {
    let expected = "the soname of one of its dependencies";
    let kind =
        ErrorKind::malformed("DT_VERNEED: vn_file", need.at, text(need.file), expected, "LSB, \"Symbol Versioning\"");
    kind.of(object.label(), Stage::Versions)
}

fn text(bytes: &[u8]) -> String {
    escape(bytes).into_owned()
}
