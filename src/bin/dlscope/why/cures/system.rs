//! What only the system's loader refuses.

use super::super::problem::{Problem, SystemCause};
use super::Maker;
use super::static_tls::late_runtime;
use crate::bytes::{path_of, shown};

impl Maker<'_> {
    pub(super) fn system(&mut self, problem: &Problem, cause: Option<&SystemCause>) -> String {
        let user = problem.whose();
        match cause {
            Some(SystemCause::StaticTls { bytes, .. }) => format!(
                "Compile {user} without -ftls-model=initial-exec (-fPIC alone, or -mtls-dialect=gnu2); or let the program have \
                 it from its start: link it to the program, or LD_PRELOAD it. {}",
                self.tunable(*bytes)
            ),
            Some(SystemCause::NoVersions { library, path, version, lies_in }) => {
                let there = lies_in.iter().find(|there| **there != path_of(path));
                match there {
                    Some(there) => format!("{} has version {version}: put it in the place of {path}.", shown(there)),
                    None => format!(
                        "Install the {library} that {user} was linked with, which has version {version}, in the place of {path}; \
                         or link {user} anew with that one."
                    ),
                }
            }
            Some(SystemCause::LateRuntime { library, option, runtime }) => late_runtime(option, runtime, library),
            None => "The message of the system's loader says what it misses; dlscope does not ask for that.".into(),
        }
    }
}
