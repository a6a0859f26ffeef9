//! Stage 7, versions: whether every version that a new object needs is defined, before any relocation is applied.
//!
//! LSB "Symbol Versioning", "Startup Sequence"; glibc `_dl_check_map_versions`. The check gives an early and readable
//! refusal: "needs GLIBC_2.38" says more than the first symbol that would be missing.

use crate::elf::version::Need;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Kind, Report, Stage, VersionOutcome};
use crate::load::batch::{Batch, Mapped, Node};
use crate::object::Object;
use crate::policy::Policy;

/// Checks the `DT_VERNEED` of every new object against the `DT_VERDEF` of the objects that it names.
///
/// # Errors
/// [`ErrorKind::MissingVersion`] for the first version that its provider does not define, unless the need is weak.
/// [`ErrorKind::Malformed`] for a `vn_file` that names none of the dependencies.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn check(batch: &Batch<Mapped>, policy: &Policy, report: Report<'_>) -> Result<()> {
    let (nodes, report) = (&batch.nodes, report.at(Stage::Versions));
    for node in nodes.iter().filter(|n| n.is_new()) {
        let object = &*node.object;
        for need in &object.symbols().versions.needs {
            // The provider need not be a direct dependency of the object: glibc looks among all objects, too.
            let direct = node.needs.iter().map(|&at| &nodes[at]);
            let Some(provider) = direct.chain(nodes).find(|n| is_called(n, need.file)) else {
                // A `DT_NEEDED` object that is missing is a fault of its own, which stage 6 has noted.
                if !object.wants().needed.iter().any(|name| name.as_bytes() == need.file) {
                    policy.fault(nobody_called(object, need), report.about(&object.tag))?;
                }
                continue;
            };
            let outcome = outcome(&provider.object, need);
            report.about(&object.tag).tell(|| Kind::Version {
                version: text(need.name.text),
                provider: provider.object.tag.clone(),
                outcome,
            });
            if outcome == VersionOutcome::Missing {
                policy.fault(missing(object, &provider.object, need), report.about(&object.tag))?;
            }
        }
    }
    Ok(())
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
    String::from_utf8_lossy(bytes).into_owned()
}
