//! What only the system's loader refuses.

use dlscope::event::{Kind, VersionOutcome};

use super::super::surprises::Surprises;
use super::super::symtab::{thread_locals, wants_static_tls};
use super::super::system::SystemSays;
use super::{Evidence, Problem, ProblemKind, SystemCause};
use crate::bytes::path_of;
use crate::page::short;

/// The problem that only the system's loader has with a library.
pub fn of_system(evidence: &Evidence<'_>, surprises: &Surprises, says: &SystemSays) -> Problem {
    let message = says.message.clone().unwrap_or_default();
    let node_of = |short: &str| evidence.graph.nodes.iter().find(|node| node.tag.short() == short);
    let cause = if message.contains("static TLS block") {
        let whose = message.split(':').next().map(short).and_then(node_of).or(evidence.graph.root());
        let users: Vec<_> = surprises.static_tls.iter().collect();
        let largest = users.iter().max_by_key(|user| user.bytes).and_then(|user| node_of(&user.object));
        whose.filter(|node| wants_static_tls(&path_of(&node.tag.name))).or(largest).map(|node| SystemCause::StaticTls {
            object: node.tag.name.to_string(),
            variables: thread_locals(&path_of(&node.tag.name)),
            bytes: users.iter().map(|user| user.bytes).sum(),
        })
    } else if message.contains("_dl_name_match_p") {
        evidence.events.iter().find_map(|event| match &event.kind {
            Kind::Version { version, provider, outcome: VersionOutcome::ProviderHasNone } => {
                let library = provider.short().to_string();
                Some(SystemCause::NoVersions {
                    lies_in: evidence.machine.offering(&library, version),
                    library,
                    path: provider.name.to_string(),
                    version: version.clone(),
                })
            }
            _ => None,
        })
    } else {
        None
    };
    let object = match &cause {
        Some(SystemCause::StaticTls { object, .. }) => object.clone(),
        _ => evidence.graph.root().map_or(evidence.asked.into(), |root| root.tag.name.to_string()),
    };
    Problem { object, kind: ProblemKind::System { message, cause } }
}
