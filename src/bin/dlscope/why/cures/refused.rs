//! A file that cannot be used.

use super::super::content::Content;
use super::super::problem::Refusal;
use super::shell::{in_quotes, quoted};
use super::{Maker, sentence};
use crate::bytes::{path_of, shown};

impl Maker<'_> {
    pub(super) fn refused(&mut self, reason: &Refusal, (library, is_asked): (&str, bool), path: &str) -> String {
        match reason {
            Refusal::NoExec(mount) => {
                let mount = self.quoted_path(mount);
                let remount = self.command(format!("mount -o remount,exec {mount}"));
                format!(
                    "Let code be mapped from there: {remount} (as root); or put {library} on another file system. A program that \
                     unpacks it at run time takes the folder from TMPDIR, in Java from -Djava.io.tmpdir."
                )
            }
            Refusal::Content(content @ Content::FormerLink(to)) if path_of(path).with_file_name(to).is_file() => {
                let there = self.as_seen_here(&path_of(path));
                self.command(format!("ln -sf {} {}", in_quotes(to), self.quoted_path(&path_of(path))));
                content.cure(library, &shown(there))
            }
            Refusal::Content(content @ (Content::LinkerScript(_) | Content::Libtool(_))) if !is_asked => {
                let names = match content {
                    Content::LinkerScript(names) => names.join(", "),
                    Content::Libtool(name) => name.clone().unwrap_or_default(),
                    _ => String::new(),
                };
                let names = if names.is_empty() { String::new() } else { format!(" It names {names}.") };
                format!(
                    "Put the library {library} in the place of {path}, or take that file, which is only for building, out of \
                     the way of the search.{names}"
                )
            }
            Refusal::Folder if !is_asked => {
                format!(
                    "Take the folder {path} out of the way, or its parent out of the search path, and put the library there."
                )
            }
            Refusal::Program if !is_asked => format!(
                "Another file belongs there: {path} is a program. Install the package that has {library} again, or take \
                 the program out of the way of the search."
            ),
            Refusal::NoOpen => {
                let whole = std::path::absolute(path_of(path)).unwrap_or_else(|_| path_of(path));
                let setting = format!("LD_PRELOAD={}", quoted(&shown(&whole)));
                // The variable's value is a list.
                let run = match setting.contains([' ', ':']) {
                    true => String::new(),
                    false => format!(" For one run: {}.", self.setting(setting)),
                };
                format!("Link the program with {library}, or link {library} anew without -z nodlopen.{run}")
            }
            reason => reason.cure(library, path),
        }
    }
}

impl Refusal {
    pub(super) fn cure(&self, library: &str, path: &str) -> String {
        match self {
            Refusal::Class32 | Refusal::Machine(_) => format!(
                "Install the x86_64 build of {library} (Debian: the package with :amd64), or take the folder of {path} \
                 out of the way of the search; `file -L {path}` says what it is."
            ),
            Refusal::Content(content) => content.cure(library, path),
            Refusal::ObjectFile => format!("Link it: cc -shared -o {library} {path}, of objects compiled with -fPIC."),
            Refusal::Short(_) | Refusal::NoSymbols(_) => {
                format!("Write {path} once more: a copy or a download was broken off.")
            }
            // Told with a command.
            Refusal::NoExec(_) | Refusal::NoOpen => String::new(),
            Refusal::Program => "Run the program instead; a process cannot load a second program.".into(),
            Refusal::OtherLibc(_) => format!("Install the build of {library} for glibc."),
            Refusal::Special(what) => format!("Take {path}, {what}, out of the way, and put the library there."),
            Refusal::Folder => format!("Name a file in the folder: {path}/lib….so."),
            Refusal::Other(told) => sentence(&told.advice),
        }
    }
}
