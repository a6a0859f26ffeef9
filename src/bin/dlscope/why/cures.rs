//! Cures: what would make the library load, a sentence or two for each problem.

use std::mem::discriminant;
use std::path::{Path, PathBuf};

use dlscope::event::Rule;

use super::content::Content;
use super::graph::Node;
use super::machine::{DEFAULT_FOLDERS, Provider, is_in_ld_so_conf, name_of};
use super::paths::{from_origin, is_nonsense, separated};
use super::problem::{Obstacle, OtherLibc, Problem, ProblemKind, Refusal, SystemCause};
use super::symbols::{Missing, Nearest};
use super::symtab::Hidden;
use super::words::{folder, is_in, offer};
use crate::bytes::{path_of, shown};
use crate::demangle::demangled;
use crate::page::{count, few, short};

/// At most so many cures for undefined symbols are told for one object.
const MOST: usize = 5;

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
    asked: &'m str,
    nodes: Vec<&'m Node>,
    made: Cures,
}

impl Cures {
    /// The cures for these problems, in their order.
    pub fn of<'n>(problems: &'n [Problem], asked: &'n str, nodes: impl Iterator<Item = &'n Node>) -> Cures {
        let mut maker = Maker { problems, asked, nodes: nodes.collect(), made: Cures::default() };
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
            ProblemKind::Unsuitable { library, path, reason, .. } => self.refused(reason, library, path),
            ProblemKind::Version { version, library, offered, lies_in, found_by, .. } => {
                self.version(problem, (version, library), offered, lies_in, found_by.as_ref())
            }
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
                        self.command(format!("patchelf --add-needed '{library}' {}", file_of(&problem.object)))
                    );
                }
                let add = self.command(format!("patchelf --add-needed '{library}' {}", file_of(&problem.object)));
                let path = self.also_set_rpath(problem);
                format!("Say again that {user} needs it: {add}.{path} Or link {user} anew.")
            }
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

    /// Notes a setting, and gives it back.
    fn setting(&mut self, setting: String) -> String {
        if !self.made.environment.contains(&setting) {
            self.made.environment.push(setting.clone());
        }
        setting
    }

    fn not_found(&mut self, problem: &Problem) -> String {
        let ProblemKind::NotFound {
            library,
            lies_in,
            written,
            other_versions,
            other_names,
            spelt_alike,
            obstacle,
            searched,
            ..
        } = &problem.kind
        else {
            return String::new();
        };
        let name = short(library);
        let for_itself = name == short(self.asked);
        if let Some(obstacle) = obstacle {
            return self.obstacle(obstacle, name, lies_in, other_names);
        }
        if library.contains('/') {
            return match for_itself {
                true => "A name with a '/' is a path and is opened as it is, from the current directory.".into(),
                false => self.path_needed(problem, library, lies_in),
            };
        }
        // Only the link is missing, in a folder that is searched or in another one.
        let unlinked = other_names.first().filter(|path| lies_in.is_empty() || is_in(path, searched));
        let mut link = String::new();
        if let Some(path) = unlinked {
            let there = path.with_file_name(name);
            let made = self.command(format!("ln -s {} {}", quoted(&name_of(path)), quoted(&shown(&there))));
            link = format!("Make the link of that name: {made} (`ldconfig -n {}` makes it, too).", folder(path));
            if is_in(path, searched) {
                return link;
            }
        }
        let no_default = self.node(problem).is_some_and(|node| node.no_default_dirs);
        if let Some(path) = lies_in.first().filter(|path| !no_default && path.parent().is_some_and(is_in_ld_so_conf)) {
            return format!(
                "Run ldconfig (as root): {} is a folder of /etc/ld.so.conf, and /etc/ld.so.cache was made before {name} came.",
                folder(path)
            );
        }
        if let (false, Some(path), Some(written)) = (for_itself, lies_in.first().or(unlinked), written) {
            let relink = self.relink(problem, path, written);
            return if link.is_empty() { relink } else { format!("{link} {relink}") };
        }
        if let Some(path) = lies_in.first().or(unlinked) {
            let run = self.for_one_run().map_or(String::new(), |setting| format!(", or set {setting}"));
            return format!("{link} Ask for {}{run}.", shown(path)).trim_start().into();
        }
        if let Some(path) = other_versions.first() {
            if shown(path).contains(&format!("{name}.")) {
                return format!(
                    "{name} is the name for the linker, without a number; the library itself is {}: ask for that, \
                     or install the development package.",
                    shown(path)
                );
            }
            let names = few(other_versions.iter().map(shown), 3);
            return format!(
                "There is {names}, but another number behind .so means another interface: install the \
                 package that has {library}, or build {} anew against {}.",
                problem.whose(),
                short(&shown(path))
            );
        }
        if !spelt_alike.is_empty() {
            return format!("Is {} meant?", spelt_alike.join(", or "));
        }
        format!(
            "Install the package that has {library} (Debian: apt-file search {library}), or, if it lies \
             somewhere else, set LD_LIBRARY_PATH to its folder."
        )
    }

    fn obstacle(&mut self, obstacle: &Obstacle, name: &str, lies_in: &[PathBuf], other_names: &[PathBuf]) -> String {
        match obstacle {
            Obstacle::Dangling { link, .. } | Obstacle::Loop { link } => {
                let parent = link.parent().and_then(|parent| parent.canonicalize().ok()).unwrap_or_default();
                let beside = other_names.iter().find(|path| path.parent() == Some(&parent));
                let to = match beside {
                    Some(path) => name_of(path),
                    None => match lies_in.iter().chain(other_names).next() {
                        Some(path) => shown(path),
                        None => {
                            return format!(
                                "Put the file back to which {} should lead, or install the package that has {name} again; a \
                                 link to nothing can go.",
                                shown(link)
                            );
                        }
                    },
                };
                let link = quoted(&shown(link));
                format!("Make the link anew: {}.", self.command(format!("ln -sfn {} {link}", quoted(&to))))
            }
            Obstacle::Forbidden { path, is_folder } => {
                let right = if *is_folder { "a+x" } else { "a+r" };
                let change = self.command(format!("chmod {right} {}", quoted(&shown(path))));
                format!(
                    "Give this user the permission to {}, as its owner: {change}.",
                    if *is_folder { "pass through the folder" } else { "read the file" }
                )
            }
            Obstacle::Other { path, errno } => {
                format!("See open(2) for {errno}: the kernel says it about {}.", shown(path))
            }
        }
    }

    /// The cure for a `DT_NEEDED` that is a path.
    fn path_needed(&mut self, problem: &Problem, library: &str, lies_in: &[PathBuf]) -> String {
        let user = problem.whose();
        let again = format!(
            "Or give the library a soname (-Wl,-soname,{}), and link {user} anew: then {user} needs that name, which is searched.",
            short(library)
        );
        let (Some(path), Some(node)) = (lies_in.first(), self.node(problem)) else {
            return format!("Start the program in the folder from which {library} can be reached. {again}");
        };
        let to = format!("{}/{}", from_origin(node, path), name_of(path));
        let change = self.command(format!("patchelf --replace-needed '{library}' '{to}' {}", file_of(&problem.object)));
        format!("Say in the file where the library is: {change}. {again}")
    }

    fn node(&self, problem: &Problem) -> Option<&'m Node> {
        self.nodes.iter().copied().find(|node| *node.tag.name == *problem.object)
    }

    /// The folders that are to be added to the search path of the object that has this problem, as they are written in
    /// it: for all problems of that object.
    fn additions(&self, problem: &Problem) -> Vec<String> {
        let Some(node) = self.node(problem) else { return Vec::new() };
        let mut added = Vec::new();
        for other in self.problems.iter().filter(|other| other.object == problem.object) {
            let new: Vec<String> = match &other.kind {
                ProblemKind::NotFound {
                    library,
                    obstacle: None,
                    written: Some(written),
                    searched,
                    other_names,
                    lies_in,
                    ..
                } if !library.contains('/') && short(library) != short(self.asked) => {
                    let is_linked = other_names.first().is_some_and(|path| is_in(path, searched));
                    if is_linked || (lies_in.is_empty() && other_names.is_empty()) {
                        vec![]
                    } else {
                        vec![written.clone()]
                    }
                }
                ProblemKind::NoLongerNeeded { lies_in, .. } => {
                    let first = lies_in.first().filter(|path| !self.is_searched(node, path));
                    first.map(|path| from_origin(node, path)).into_iter().collect()
                }
                ProblemKind::Symbols { symbols, .. } => {
                    let providers = symbols.iter().filter_map(|missing| match missing.nearest.first() {
                        Some(Nearest::OtherLibrary(provider)) => Some(&provider.path),
                        _ => None,
                    });
                    providers.filter(|path| !self.is_searched(node, path)).map(|path| from_origin(node, path)).collect()
                }
                _ => vec![],
            };
            for written in new {
                if !added.contains(&written) {
                    added.push(written);
                }
            }
        }
        added
    }

    /// Whether the loader would find the file at `path` by its name, for the object `node`.
    fn is_searched(&self, node: &Node, path: &Path) -> bool {
        let Some(folder) = path.parent().and_then(|folder| folder.canonicalize().ok()) else { return false };
        let is_it = |dir: &str| path_of(dir).canonicalize().is_ok_and(|dir| dir == folder);
        let origin = shown(node.origin());
        let lists = [&node.rpath, &node.runpath];
        let own = lists.into_iter().flatten().flat_map(|list| list.split(':')).filter(|element| !element.is_empty());
        let mut own = own.map(|element| element.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", &origin));
        let by_environment = shown(std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default());
        let by_environment = by_environment.split([':', ';']).any(|dir| !dir.is_empty() && is_it(dir));
        let by_default = !node.no_default_dirs && DEFAULT_FOLDERS.iter().any(|dir| is_it(dir));
        let in_cache = || {
            let cache = std::fs::read("/etc/ld.so.cache").unwrap_or_default();
            let wanted = [b"\0", path.as_os_str().as_encoded_bytes(), b"\0"].concat();
            cache.windows(wanted.len()).any(|window| window == wanted)
        };
        own.any(|dir| is_it(&dir)) || by_environment || by_default || in_cache()
    }

    /// The command that adds folders to the search path of the object that has this problem. It keeps what is there and
    /// is no mistake, and the kind of tag.
    fn set_rpath(&self, problem: &Problem) -> Option<String> {
        let added = self.additions(problem);
        let node = self.node(problem)?;
        if added.is_empty() || added.iter().any(|folder| folder.contains([':', '\''])) {
            return None;
        }
        let is_rpath = node.runpath.is_none() && node.rpath.is_some();
        let old = node.runpath.as_deref().or(node.rpath.as_deref()).unwrap_or_default();
        let mut elements = mended(old);
        elements.extend(added.into_iter().filter(|folder| !elements.contains(folder)).collect::<Vec<_>>());
        let force = if is_rpath { " --force-rpath" } else { "" };
        let list = match quoted(&elements.join(":")) {
            list if list.starts_with(['\'', '$']) => list,
            plain => format!("'{plain}'"),
        };
        Some(format!("patchelf --set-rpath {list} {}{force}", file_of(&problem.object)))
    }

    fn also_set_rpath(&mut self, problem: &Problem) -> String {
        let command = self.set_rpath(problem).map(|command| self.command(command));
        command.map_or(String::new(), |command| format!(" So that it is found: {command}."))
    }

    /// `LD_LIBRARY_PATH` with the folders of everything that lies where it is not searched. `None` where that would
    /// bring another C library into the process.
    fn library_path(&self) -> Option<String> {
        let mut folders: Vec<String> = Vec::new();
        for problem in self.problems {
            let path = match &problem.kind {
                ProblemKind::NotFound { library, obstacle: None, lies_in, other_names, searched, .. }
                    if !library.contains('/') && !other_names.first().is_some_and(|path| is_in(path, searched)) =>
                {
                    lies_in.first()
                }
                ProblemKind::Version { library, lies_in, .. } if !is_of_glibc(library) => lies_in.first(),
                _ => None,
            };
            let Some(path) = path else { continue };
            let folder = folder(path);
            // The libc that came first by its soname would be used for all that glibc consists of.
            if path_of(&folder).join("libc.so.6").exists() || folder.contains([':', ';']) {
                return None;
            }
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        let old = shown(std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default());
        folders.extend((!old.is_empty()).then_some(old));
        (!folders.is_empty()).then(|| format!("LD_LIBRARY_PATH={}", quoted(&folders.join(":"))))
    }

    fn library_of<'p>(&self, problem: &'p Problem) -> &'p str {
        match &problem.kind {
            ProblemKind::NotFound { library, .. } => library,
            _ => "",
        }
    }

    fn for_one_run(&mut self) -> Option<String> {
        self.library_path().map(|setting| self.setting(setting))
    }

    fn relink(&mut self, problem: &Problem, path: &Path, written: &str) -> String {
        let user = problem.whose();
        let added = self.additions(problem);
        let added = if added.is_empty() { written.to_string() } else { added.join(":") };
        if added.contains('\'') || folder(path).contains(':') {
            return format!(
                "Move {} to a folder whose name has no ':' and no quotes: ':' separates the elements of a search path.",
                shown(path)
            );
        }
        let mut text = format!("Link {user} with -Wl,-rpath,'{added}'");
        if let Some(command) = self.set_rpath(problem) {
            text += &format!(", or change the file: {}", self.command(command));
        }
        text += ".";
        match self.for_one_run() {
            Some(setting) => text += &format!(" For one run: {setting}."),
            // Without its link it is not found there, either.
            None if name_of(path) != short(self.library_of(problem)) => {}
            None => {
                text += &format!(
                    " {} has a C library of its own beside it, so that folder does not belong into LD_LIBRARY_PATH.",
                    short(&shown(path))
                );
            }
        }
        text
    }

    fn version(
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
                    let remove = format!("patchelf --remove-rpath {}", file_of(&node.tag.name));
                    text += &format!(" That is done by {remove}.");
                }
            }
            return text;
        }
        version_cure(version, library, offered, user)
    }

    /// What gives the static TLS room for `bytes` more.
    fn tunable(&mut self, bytes: u64) -> String {
        // glibc's own default is 512; its manual, "Dynamic Linking Tunables".
        let size = (bytes + 512).next_multiple_of(512) + 512;
        let setting = self.setting(format!("GLIBC_TUNABLES=glibc.rtld.optional_static_tls={size}"));
        format!("For the system's loader: {setting}, in the environment of the program when it starts.")
    }

    fn system(&mut self, problem: &Problem, cause: Option<&SystemCause>) -> String {
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

    fn refused(&mut self, reason: &Refusal, library: &str, path: &str) -> String {
        match reason {
            Refusal::NoExec(mount) => {
                let mount = quoted(&shown(mount));
                let remount = self.command(format!("mount -o remount,exec {mount}"));
                format!(
                    "Let code be mapped from there: {remount} (as root); or put {library} on another file system. A program that \
                     unpacks it at run time takes the folder from TMPDIR, in Java from -Djava.io.tmpdir."
                )
            }
            Refusal::Content(content @ Content::FormerLink(to)) if path_of(path).with_file_name(to).is_file() => {
                self.command(format!("ln -sf '{to}' {path}"));
                content.cure(library, path)
            }
            Refusal::Folder if library != short(self.asked) => {
                format!(
                    "Take the folder {path} out of the way, or its parent out of the search path, and put the library there."
                )
            }
            reason => reason.cure(library, path),
        }
    }

    fn symbol_cures(&mut self, problem: &Problem, symbols: &[Missing]) -> Vec<String> {
        let user = problem.whose();
        let file = file_of(&problem.object);
        // One cure for each kind of cure and library, with the first symbol that needs it; symbols without a cure come
        // last.
        let mut said = Vec::new();
        let mut cures = Vec::new();
        for (missing, nearest) in symbols.iter().filter_map(|missing| Some((missing, missing.nearest.first()?))) {
            let key = (discriminant(nearest), nearest.library());
            if said.len() < MOST && !said.contains(&key) {
                said.push(key);
                cures.push(match nearest {
                    Nearest::OtherLibrary(provider) => self.other_library(problem, missing, provider),
                    nearest => nearest.cure(missing, user),
                });
            }
        }
        let mut families: Vec<String> = Vec::new();
        for missing in symbols.iter().filter(|missing| missing.nearest.is_empty()) {
            let cure = missing.family.as_ref().map(|family| family.cure(user, &file));
            families.extend(cure.filter(|cure| !families.contains(cure)));
        }
        cures.extend(families.into_iter().take(MOST));
        if let Some(missing) = symbols.iter().find(|missing| missing.nearest.is_empty() && missing.family.is_none()) {
            cures.push(format!(
                "Nothing in the folders looked into defines {}. Link {user} with the library that does; if it is a \
                 plugin, the program that loads it may be meant to define it (linked with -rdynamic).",
                missing.shown()
            ));
        }
        cures
    }

    fn other_library(&mut self, problem: &Problem, missing: &Missing, provider: &Provider) -> String {
        let user = problem.whose();
        let soname = &provider.soname;
        let add = self.command(format!("patchelf --add-needed '{soname}' {}", file_of(&problem.object)));
        let path = self.also_set_rpath(problem);
        format!(
            "{soname} defines {}, and {user} does not say that it needs {soname}: link {user} with {}, behind its own objects \
             on the command line. Without a new link: {add}.{path} (A plugin may get it from the program that loads it: --host PROGRAM.)",
            missing.shown(),
            flag(soname),
        )
    }
}

impl Refusal {
    fn cure(&self, library: &str, path: &str) -> String {
        match self {
            Refusal::Class32 | Refusal::Machine(_) => format!(
                "Install the x86_64 build of {library} (Debian: the package with :amd64), or take the folder of {path} \
                 out of the way of the search; `file -L {path}` says what it is."
            ),
            Refusal::Content(content) => content.cure(library, path),
            Refusal::ObjectFile => format!("Link it: cc -shared -o {library} {path}, of objects compiled with -fPIC."),
            Refusal::Short(_) => format!("Write {path} once more: a copy or a download was broken off."),
            // Told with a command.
            Refusal::NoExec(_) => String::new(),
            Refusal::Program => "Run the program instead; a process cannot load a second program.".into(),
            Refusal::Folder => format!("Name a file in the folder: {path}/lib….so."),
            Refusal::Other(told) => sentence(&told.advice),
        }
    }
}

impl Nearest {
    fn cure(&self, missing: &Missing, user: &str) -> String {
        let name = &missing.name;
        match self {
            Nearest::OtherVersion { library, versions } => format!(
                "{library} has {name}, but in version {}, not in the one {user} was linked with: install the {library} \
                 that it was linked with, or link it anew.",
                versions.join(", ")
            ),
            // Told with a command.
            Nearest::OtherLibrary(_) => String::new(),
            Nearest::Hidden { library, why: Hidden::ByVisibility } => format!(
                "{library} has {name} and hides it (-fvisibility=hidden, or an attribute): write \
                 __attribute__((visibility(\"default\"))) where {library} defines it, and build {library} anew."
            ),
            Nearest::NoRtti { library } => format!(
                "Compile {library} without -fno-rtti, or {user} with it: {library} has the virtual functions of the class and \
                 not its type information, which {user} uses ({}).",
                missing.shown()
            ),
            // GNU ld makes hidden symbols local ones, and then nothing tells them from static functions.
            Nearest::Hidden { library, why: Hidden::Local } => format!(
                "{library} has {name}, but hidden: compiled with -fvisibility=hidden, not named under global in the version \
                 script of {library}, or static. Export it there (__attribute__((visibility(\"default\"))), the version script), \
                 and build {library} anew."
            ),
            Nearest::OtherFile { found, path } => format!(
                "{} is another file of that name and defines {}; the one found first, {found}, does not. Take its folder \
                 out of LD_LIBRARY_PATH, or out of the path that leads there.",
                shown(path),
                missing.shown()
            ),
            Nearest::OtherParameters { library, name: theirs, source } => {
                let is_string = |mangled: &str| mangled.contains("__cxx11");
                if is_string(theirs) == is_string(name) {
                    return format!(
                        "{library} has {source}: the same function with other parameters, so {user} was compiled with \
                         another header. Compile it with the one of the {library} that is installed."
                    );
                }
                format!(
                    "{library} has {source}, with the other std::string of libstdc++: compile both with the same \
                     -D_GLIBCXX_USE_CXX11_ABI."
                )
            }
            Nearest::OtherBuild { library, .. } => format!(
                "{library} has the same Rust function from another build: Rust's own names hold for one compiler and one \
                 source only. Build both together, or give the function a name with #[unsafe(no_mangle)]."
            ),
            Nearest::OtherLanguage { library, name: theirs, wants_cpp: true } => format!(
                "{library} defines the C function {theirs}, and {user} wants a C++ one: declare it extern \"C\" where \
                 {user} is compiled."
            ),
            Nearest::OtherLanguage { library, name: theirs, wants_cpp: false } => format!(
                "{library} defines the C++ function {}, and {user} wants a C one: declare it extern \"C\" where {library} \
                 is compiled.",
                demangled(theirs).unwrap_or_default()
            ),
            Nearest::Similar { library, name: theirs } => {
                format!("{library} has {theirs}, which is spelt nearly like {name}: misspelt, or renamed since?")
            }
        }
    }
}

fn version_cure(version: &str, library: &str, offered: &[String], user: &str) -> String {
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

fn late_runtime(option: &str, runtime: &str, library: &str) -> String {
    format!(
        "Compile the program with -fsanitize={option}, too, or start it with LD_PRELOAD=$(gcc -print-file-name={runtime}), so \
         that {library} is in it from its start; or compile without that option."
    )
}

/// Whether a library is a part of glibc: all its parts are of one version, and none can be exchanged alone.
fn is_of_glibc(library: &str) -> bool {
    const PARTS: [&str; 10] =
        ["libc", "libm", "libpthread", "libdl", "librt", "libresolv", "libutil", "libanl", "libmvec", "libnsl"];
    let stem = library.split(".so").next().unwrap_or(library);
    PARTS.contains(&stem) || library.starts_with("ld-linux-")
}

/// The elements of a search path, without those that cannot mean anything.
fn mended(list: &str) -> Vec<String> {
    let mut elements: Vec<String> = Vec::new();
    for element in list.split(':').flat_map(separated) {
        if !element.is_empty() && !is_nonsense(&element) && !elements.contains(&element) {
            elements.push(element);
        }
    }
    elements
}

/// The file of an object, for a command: behind symbolic links, and quoted where it must be.
fn file_of(object: &str) -> String {
    let path = path_of(object);
    let file = if path.is_symlink() { path.canonicalize().ok() } else { None };
    quoted(&file.map_or_else(|| object.into(), |file| shown(&file)))
}

/// A word for a shell. Only bash and its kin can write a byte that is no text: `$'caf\xe9'`.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:=@%,~".contains(c);
    let name = name_as_bytes(word);
    if std::str::from_utf8(&name).is_err() {
        let byte = |&byte: &u8| match byte {
            b'\'' | b'\\' => format!("\\{}", char::from(byte)),
            0x20..0x7f => char::from(byte).into(),
            _ => format!("\\x{byte:02x}"),
        };
        return format!("$'{}'", name.iter().map(byte).collect::<String>());
    }
    if word.chars().all(is_plain) { word.into() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// The bytes of the name that a text stands for.
fn name_as_bytes(text: &str) -> Vec<u8> {
    std::os::unix::ffi::OsStringExt::into_vec(crate::bytes::name_of(text))
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

/// The linker flag for a library: `-lm` for `libm.so.6`.
fn flag(soname: &str) -> String {
    let stem = soname.strip_prefix("lib").and_then(|rest| rest.split_once(".so")).map(|(stem, _)| stem);
    stem.map_or_else(|| soname.into(), |stem| format!("-l{stem}"))
}

/// Makes a sentence of a text: with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map_or(String::new(), |c| c.to_uppercase().to_string());
    let end = if text.is_empty() || text.ends_with('.') { "" } else { "." };
    first + letters.as_str() + end
}
