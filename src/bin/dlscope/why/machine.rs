//! The other libraries on this machine: in the folders that the load searched, and beside its libraries.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dlscope::elf::symbol::{Class, Want, Wanted};

use super::candidates::{by_numbers, unfit};
use super::graph::{Graph, Node};
use super::likely::is_never_meant;
use super::paths::expanded;
use super::problem::libc_of;
use crate::bytes::{path_of, shown, shown_bytes, shown_path};
use crate::compare::file::{ElfFile, identity};

/// At most so many files are opened.
const MOST: usize = 20_000;

/// The folders that ld.so searches by default, on Debian and elsewhere.
pub const DEFAULT_FOLDERS: [&str; 6] =
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];

/// The folders to look in, each once.
pub struct Machine {
    folders: Vec<PathBuf>,
}

/// A library that defines a missing symbol.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Provider {
    /// The name for a `DT_NEEDED`: its `DT_SONAME`, else the name of the file.
    pub soname: String,
    #[serde(serialize_with = "shown_path")]
    pub path: PathBuf,
    /// The version of its definition, if it has one.
    pub version: Option<String>,
    /// Whether it lies in a folder of the system.
    #[serde(skip)]
    pub of_system: bool,
    /// How many symbols it exports.
    #[serde(skip)]
    pub exports: usize,
}

impl Machine {
    /// The folders of the library `asked` and of every object; the folders beside and directly below them, unless they
    /// are the system's; every folder that the loader searched; and /usr/local/lib.
    pub fn around(asked: &str, graph: &Graph) -> Machine {
        let mut machine = Machine { folders: Vec::new() };
        // The loader does not search the current directory for a name without a '/', but users expect that.
        let path = std::path::absolute(path_of(asked)).unwrap_or_default();
        match path.parent() {
            Some(parent) if asked.contains('/') => machine.add_with_neighbours(parent),
            parent => machine.add(parent.unwrap_or(Path::new("/"))),
        }
        for node in graph.nodes.iter().filter(|node| !node.of_host) {
            machine.add_with_neighbours(&node.origin());
            // Behind a symbolic link, what the file needs may lie beside the file itself.
            if let Some(folder) = path_of(&node.tag.name).canonicalize().ok().as_deref().and_then(Path::parent) {
                machine.add(folder);
                // And where its paths lead from there.
                if path_of(&node.tag.name).is_symlink() {
                    let lists = [&node.rpath, &node.runpath].into_iter().flatten();
                    let elements = lists.flat_map(|list| list.split(':')).filter(|element| element.contains("ORIGIN"));
                    elements.for_each(|element| machine.add(&path_of(&expanded(element, folder))));
                }
            }
        }
        for (_, folders) in graph.searches().flat_map(|search| &search.rules) {
            for folder in folders {
                // The rule of the cache gives paths of files, not folders.
                let path = path_of(folder);
                machine.add(if path.is_file() { path.parent().unwrap_or(&path) } else { &path });
            }
        }
        let objects = graph.nodes.iter().map(|node| &node.tag).chain(&graph.startup);
        objects.filter_map(|tag| Some(path_of(&tag.name).parent()?.to_owned())).for_each(|folder| machine.add(&folder));
        // An object linked with -z nodefaultlib has no search in these.
        for folder in DEFAULT_FOLDERS.iter().chain(&["/usr/local/lib"]) {
            machine.add(Path::new(folder));
        }
        ld_so_conf().iter().for_each(|folder| machine.add(folder));
        // What a DT_NEEDED with a '/' names may lie at the same place below another folder.
        let slashed = graph.searches().filter(|search| search.name.contains('/'));
        let below: Vec<PathBuf> = slashed
            .filter_map(|search| Some(path_of(&search.name).parent()?.to_owned()))
            .filter(|parent| parent.is_relative())
            .flat_map(|parent| {
                let places = |n: &Node| [n.origin().join(&parent), n.origin().join("..").join(&parent)];
                graph.nodes.iter().flat_map(places).collect::<Vec<_>>()
            })
            .collect();
        below.iter().for_each(|folder| machine.add(folder));
        machine
    }

    fn add(&mut self, folder: &Path) {
        let Ok(folder) = folder.canonicalize() else { return };
        if folder.is_dir() && !self.folders.contains(&folder) {
            self.folders.push(folder);
        }
    }

    /// Adds a folder and, unless it is the system's, the folders directly below and beside it, such as `lib/` and
    /// `../lib`.
    fn add_with_neighbours(&mut self, folder: &Path) {
        self.add(folder);
        if is_of_the_system(folder) {
            return;
        }
        for parent in [Some(folder), folder.parent()].into_iter().flatten() {
            let below = fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
            let mut below: Vec<_> = below.take(200).filter(|path| path.is_dir()).collect();
            below.sort();
            below.iter().for_each(|path| self.add(path));
        }
    }

    /// The files of this name.
    pub fn files_named(&self, name: &str) -> Vec<PathBuf> {
        let name = path_of(name);
        self.folders.iter().map(|folder| folder.join(&name)).filter(|path| path.is_file()).collect()
    }

    /// Files with the `DT_SONAME` `soname` and another name: the link of that name is missing. The newest comes first.
    pub fn with_soname(&self, soname: &str) -> Vec<PathBuf> {
        let stem = soname.split(".so").next().unwrap_or(soname);
        let might = |path: &PathBuf| name_of(path) != soname && name_of(path).starts_with(stem);
        let is_it = |path: &PathBuf| {
            // A link to the file is another name of it, not another file.
            !path.is_symlink() && ElfFile::open(path).is_some_and(|file| file.soname().as_deref() == Some(soname))
        };
        let mut found: Vec<_> = self.files().filter(might).filter(is_it).collect();
        found.retain(|path| unfit(path).is_none());
        found.sort_by(|one, other| by_numbers(&name_of(other), &name_of(one)));
        found
    }

    /// The libraries in folders that are not the system's, without those at `known` paths; at most 50, because each is
    /// opened.
    pub fn own_libraries(&self, known: &[&str]) -> Vec<PathBuf> {
        let mut seen: HashSet<_> = known.iter().filter_map(|path| identity(&path_of(path))).collect();
        let own = self.files().filter(|path| !path.parent().is_some_and(is_of_the_system));
        let own = own.filter(|path| identity(path).is_some_and(|identity| seen.insert(identity)));
        let is_meant = |path: &PathBuf| {
            !is_never_meant(&name_of(path)) && ElfFile::open(path).is_none_or(|file| libc_of(&file).is_none())
        };
        own.take(50).filter(is_meant).collect()
    }

    /// Files that may be another version of a library: `libx.so.2` for `libx.so.1`.
    pub fn named_alike(&self, name: &str) -> Vec<PathBuf> {
        let Some((stem, _)) = name.split_once(".so") else { return Vec::new() };
        let starts = format!("{stem}.so");
        let is_alike = |file: &str| {
            file != name && file.strip_prefix(&starts).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut found: Vec<_> = self.files().filter(|path| is_alike(&name_of(path))).collect();
        // Of the several names of one library keep the one that others need.
        found.retain(|path| ElfFile::open(path).is_some_and(|f| f.soname().is_none_or(|own| own == name_of(path))));
        found.truncate(3);
        found
    }

    /// Names of libraries that differ from a mistyped name in a letter or two.
    pub fn spelt_alike(&self, name: &str) -> Vec<String> {
        let bare = |name: &str| name.trim_start_matches("lib").split(".so").next().unwrap_or_default().to_string();
        let wanted = bare(name);
        let mut found: Vec<(usize, String)> = Vec::new();
        for path in self.files() {
            let (file, stem) = (name_of(&path), bare(&name_of(&path)));
            let distance = if stem == wanted { 0 } else { strsim::osa_distance(&stem, &wanted) };
            if distance <= wanted.len() / 4 && !found.iter().any(|(_, known)| *known == file) {
                found.push((distance, file));
            }
        }
        found.sort_by_key(|(distance, file)| (*distance, strsim::osa_distance(file, name), file.clone()));
        found.into_iter().map(|(_, file)| file).take(3).collect()
    }

    /// For each of `names`, the libraries that define it and could be needed for it, without those at `known` paths.
    pub fn defining(&self, names: &[&str], known: &[&str]) -> Vec<Vec<Provider>> {
        let names: Vec<PathBuf> = names.iter().map(|name| path_of(name)).collect();
        let wanted = names.iter().map(|n| Wanted::new(n.as_os_str().as_bytes(), Want::Newest, Class::Address));
        let wanted: Vec<_> = wanted.collect();
        let mut found = vec![Vec::new(); names.len()];
        let mut seen: HashSet<_> = known.iter().filter_map(|path| identity(&path_of(path))).collect();
        for path in self.files() {
            // Look into a file with several names once.
            if !identity(&path).is_some_and(|identity| seen.insert(identity)) {
                continue;
            }
            let Some(file) = ElfFile::open(&path) else { continue };
            let Some(symbols) = file.symbols() else { continue };
            let soname = file.soname().unwrap_or_else(|| name_of(&path));
            if is_never_meant(&soname) || is_never_meant(&name_of(&path)) || libc_of(&file).is_some() {
                continue;
            }
            for (wanted, found) in wanted.iter().zip(&mut found) {
                if let Some((index, _)) = symbols.find(wanted, &mut ()) {
                    let (soname, version) = (soname.clone(), symbols.version_text(index));
                    // Show the path with the name that others need, if there is one.
                    let own = path.with_file_name(path_of(&soname));
                    let path = Some(own).filter(|own| own.is_file()).unwrap_or(path.clone());
                    let of_system = path.parent().is_some_and(is_of_the_system);
                    found.push(Provider { soname, path, version, of_system, exports: symbols.exports().count() });
                }
            }
        }
        found
    }

    /// Files of this name that define `version`.
    pub fn offering(&self, name: &str, version: &str) -> Vec<PathBuf> {
        self.files_named(name).into_iter().filter(|path| offers(path, version)).collect()
    }

    /// Every library in the folders.
    fn files(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.folders
            .iter()
            .flat_map(|folder| {
                let entries = fs::read_dir(folder).into_iter().flatten().flatten();
                let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
                paths.retain(|path| name_of(path).contains(".so") && path.is_file());
                paths.sort();
                paths
            })
            .take(MOST)
    }
}

/// Whether `ldconfig` looks into this folder: then the loader finds what lies there once `ldconfig` has run.
pub fn is_in_ld_so_conf(folder: &Path) -> bool {
    ld_so_conf().iter().any(|known| known.canonicalize().is_ok_and(|known| known == folder))
}

/// The folders into which `ldconfig` looks beside the default ones: those of /etc/ld.so.conf and of /etc/ld.so.conf.d.
fn ld_so_conf() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/ld.so.conf")];
    files.extend(fs::read_dir("/etc/ld.so.conf.d").into_iter().flatten().flatten().map(|entry| entry.path()));
    let mut folders = Vec::new();
    for text in files.iter().filter_map(|file| fs::read_to_string(file).ok()) {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or(line).trim());
        folders.extend(lines.filter(|line| line.starts_with('/')).map(PathBuf::from));
    }
    folders
}

/// The last part of a path, as text.
pub fn name_of(path: &Path) -> String {
    path.file_name().map(shown).unwrap_or_default()
}

/// The library from which the file `user` needs `version`.
pub fn file_of_version(user: &Path, version: &str) -> Option<String> {
    let file = ElfFile::open(user)?;
    let symbols = file.symbols()?;
    let need = symbols.versions.needs.iter().find(|need| need.name.text == version.as_bytes())?;
    Some(shown_bytes(need.file))
}

/// The versions that the file `user` needs of the library `library`.
pub fn versions_wanted(user: &Path, library: &str) -> Vec<String> {
    let file = ElfFile::open(user);
    let symbols = file.as_ref().and_then(ElfFile::symbols);
    let needs = symbols.iter().flat_map(|symbols| &symbols.versions.needs);
    needs.filter(|need| shown_bytes(need.file) == library).map(|need| shown_bytes(need.name.text)).collect()
}

/// The symbols that the library at `path` needs in `version`.
pub fn names_wanted(path: &Path, version: &str) -> Vec<String> {
    let Some(file) = ElfFile::open(path) else { return Vec::new() };
    let ending = format!("@{version}");
    let mut names: Vec<String> = Vec::new();
    for (_, name) in file.slots().iter().filter_map(|slot| file.symbol_of(slot)) {
        if let Some(name) = name.strip_suffix(&ending)
            && !names.iter().any(|known| known == name)
        {
            names.push(name.into());
        }
    }
    names
}

/// Whether the library at `path` defines `symbol`.
pub fn defines(path: &Path, symbol: &str) -> bool {
    let symbol = path_of(symbol).into_os_string();
    let wanted = Wanted::new(symbol.as_bytes(), Want::Newest, Class::Address);
    ElfFile::open(path).is_some_and(|file| file.symbols().is_some_and(|s| s.find(&wanted, &mut ()).is_some()))
}

/// Whether the library at `path` defines `version`.
pub fn offers(path: &Path, version: &str) -> bool {
    let file = ElfFile::open(path);
    let symbols = file.as_ref().and_then(ElfFile::symbols);
    symbols.is_some_and(|s| s.versions.defined.iter().any(|v| v.text == version.as_bytes()))
}

/// Whether a folder is the system's: what lies below and beside it has nothing to do with the user's library.
fn is_of_the_system(folder: &Path) -> bool {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.into());
    ["/usr", "/lib", "/lib64", "/bin", "/etc"].iter().any(|root| folder.starts_with(root))
        || folder == Path::new("/")
        || folder == Path::new("/tmp")
}
