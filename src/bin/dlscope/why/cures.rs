//! Cures: what would make the library load, a sentence or two for each problem.

use std::path::{Path, PathBuf};

use super::graph::Node;
use super::problem::{OtherLibc, Problem, ProblemKind};
use crate::bytes::{path_of, shown};
use crate::page::count;

mod not_found;
mod refused;
mod search_path;
mod shell;
mod static_tls;
mod symbols;
mod system;
mod version;

pub use search_path::is_of_glibc;
pub use shell::{in_quotes, quoted};
use static_tls::late_runtime;

/// All cures, and what in them can be carried out as it stands.
#[derive(Default)]
pub struct Cures {
    /// A paragraph each.
    pub texts: Vec<String>,
    /// Shell commands that change files.
    pub commands: Vec<String>,
    /// `NAME=value` for the environment of the program.
    pub environment: Vec<String>,
}

/// What is known for all problems together: one command may have to mend several.
struct Maker<'m> {
    problems: &'m [Problem],
    nodes: Vec<&'m Node>,
    /// The folder that is the root of the other system, as this one names it.
    root: Option<&'m Path>,
    made: Cures,
}

impl Cures {
    /// The cures for these problems, in their order. If the library is one of another system below `root`, the commands
    /// are for this one: their paths lead into `root`.
    pub fn of<'n>(problems: &'n [Problem], nodes: impl Iterator<Item = &'n Node>, root: Option<&'n Path>) -> Cures {
        let mut maker = Maker { problems, nodes: nodes.collect(), root, made: Cures::default() };
        for problem in problems {
            let texts = match &problem.kind {
                ProblemKind::Symbols { symbols, .. } => maker.symbol_cures(problem, symbols),
                _ => vec![maker.cure(problem)],
            };
            for text in texts {
                if !text.is_empty() && !maker.made.texts.contains(&text) {
                    maker.made.texts.push(text);
                }
            }
        }
        maker.made
    }
}

impl<'m> Maker<'m> {
    fn cure(&mut self, problem: &Problem) -> String {
        let user = problem.whose();
        match &problem.kind {
            ProblemKind::NotFound { .. } => self.not_found(problem),
            ProblemKind::Unsuitable { library, is_asked, path, reason, .. } => {
                self.refused(reason, (library, *is_asked), path)
            }
            ProblemKind::Version { .. } => self.version(problem),
            ProblemKind::Symbols { .. } => String::new(),
            // The runtimes of sanitizers are made for the start of a program.
            ProblemKind::StaticTls { .. } if user.starts_with("libtsan.so") => {
                late_runtime("thread", "libtsan.so", user)
            }
            ProblemKind::StaticTls { .. } if user.starts_with("liblsan.so") => late_runtime("leak", "liblsan.so", user),
            ProblemKind::StaticTls { asked, size, .. } => format!(
                "Compile {user} without -ftls-model=initial-exec (-fPIC alone, or -mtls-dialect=gnu2), so that its \
                 variables can be made when a thread first uses them; or let the program have {user} from its start: \
                 link it to the program, or LD_PRELOAD it. dlscope itself sets aside {} a thread; \
                 DLSCOPE_TLS_ARENA changes that when it is built. {}",
                count(*size, "byte"),
                self.tunable(*asked),
            ),
            ProblemKind::OtherLibc { libc, .. } => match libc {
                OtherLibc::Musl => format!(
                    "Build {user} for glibc, or install the build for it (a Python wheel with manylinux in its name instead of \
                     musllinux; of a Rust target *-gnu instead of *-musl). Or run it where musl is the C library, as in \
                     Alpine. Two C libraries cannot work in one process, so no search path helps."
                ),
                OtherLibc::Bionic | OtherLibc::FreeBsd => format!(
                    "Build {user} for Linux with glibc, or install the build for it. Two C libraries cannot work in one process, \
                     so no search path helps."
                ),
            },
            ProblemKind::NoLongerNeeded { library, lies_in } => {
                if lies_in.is_empty() {
                    return format!(
                        "Say again that {user} needs it: {}. And install the package that has {library}.",
                        self.command(format!(
                            "patchelf --add-needed {} {}",
                            in_quotes(library),
                            self.file_of(&problem.object)
                        ))
                    );
                }
                let add = self.command(format!(
                    "patchelf --add-needed {} {}",
                    in_quotes(library),
                    self.file_of(&problem.object)
                ));
                let path = self.also_set_rpath(problem);
                format!("Say again that {user} needs it: {add}.{path} Or link {user} anew.")
            }
            ProblemKind::PrivateGlibc { .. } => format!(
                "Build {user} without these symbols: they may change with each glibc. Otherwise it needs a build of its own \
                 for each."
            ),
            ProblemKind::TooOldGlibc { glibc, .. } => format!(
                "Build {user} on a system with glibc {glibc} or an older one, as the manylinux images are for Python."
            ),
            ProblemKind::AndroidRelocations => format!(
                "Link {user} without -Wl,--pack-dyn-relocs=android (or =android+relr). -Wl,--pack-dyn-relocs=relr is what glibc \
                 reads, since 2.36."
            ),
            ProblemKind::System { cause, .. } => self.system(problem, cause.as_ref()),
            ProblemKind::Other(told) => sentence(&told.advice),
        }
    }

    /// Notes a command, and gives it back.
    fn command(&mut self, command: String) -> String {
        if !self.made.commands.contains(&command) {
            self.made.commands.push(command.clone());
        }
        command
    }

    /// Notes a setting, and gives it back. One for another system helps only there, so it is not noted.
    fn setting(&mut self, setting: String) -> String {
        if let Some(root) = self.root {
            return format!("{setting} (for a program that runs inside {})", shown(root));
        }
        if !self.made.environment.contains(&setting) {
            self.made.environment.push(setting.clone());
        }
        setting
    }

    /// The file of an object, for a command: behind symbolic links, and quoted where it must be.
    fn file_of(&self, object: &str) -> String {
        let path = path_of(object);
        let file = if path.is_symlink() { path.canonicalize().ok() } else { None };
        self.quoted_path(&file.unwrap_or(path))
    }

    /// A path for a command.
    fn quoted_path(&self, path: &Path) -> String {
        quoted(&shown(self.as_seen_here(path)))
    }

    /// A path as this system names it. Absolute links on the way to a file of another system would lead out of that, so
    /// the path goes around them.
    fn as_seen_here(&self, path: &Path) -> PathBuf {
        let Some(root) = self.root else { return path.into() };
        let inside = std::path::absolute(path).unwrap_or_else(|_| path.into());
        let parent = inside.parent().and_then(|parent| parent.canonicalize().ok());
        let inside = match (parent, inside.file_name()) {
            (Some(parent), Some(name)) => parent.join(name),
            _ => inside,
        };
        root.join(inside.strip_prefix("/").unwrap_or(&inside))
    }

    fn node(&self, problem: &Problem) -> Option<&'m Node> {
        self.nodes.iter().copied().find(|node| *node.tag.name == *problem.object)
    }
}

/// Who owns a file, its mode, and who we are.
pub fn permission(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let user =
        |id: u32| nix::unistd::User::from_uid(id.into()).ok().flatten().map_or(format!("uid {id}"), |user| user.name);
    let me = user(nix::unistd::geteuid().as_raw());
    match std::fs::metadata(path) {
        Ok(file) => format!(
            "{} belongs to {} and has the mode {:04o}; this process runs as {me}",
            shown(path),
            user(file.uid()),
            file.mode() & 0o7777
        ),
        Err(_) => format!("This process runs as {me}"),
    }
}

/// Makes a sentence of a text: with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map_or(String::new(), |c| c.to_uppercase().to_string());
    let end = if text.is_empty() || text.ends_with('.') { "" } else { "." };
    first + letters.as_str() + end
}
