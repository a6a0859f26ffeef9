//! The explanation as text: a summary, the tree of dependencies, the details, and the cures.

use std::io;

use super::Explanation;
use super::candidates::Rejected;
use super::cures::permission;
use super::families::Family;
use super::problem::{Obstacle, Problem, ProblemKind, SystemCause};
use super::surprises::Surprises;
use super::symbols::{Missing, Nearest};
use super::tree::Tree;
use crate::bytes::{path_of, shown};
use crate::demangle::{explained, in_source};
use crate::page::{Page, bad, count, dim, few, good, heading, short, symbol, thousands};

/// How many symbols are named without `--all`.
const MOST: usize = 10;

/// Writes the explanation.
pub fn tell(explanation: &Explanation<'_>, all: bool) -> io::Result<()> {
    let mut writer =
        Writer { page: Page::stdout(), root: explanation.root(), most: if all { usize::MAX } else { MOST } };
    let summary = if explanation.loads { good(&explanation.summary) } else { bad(&explanation.summary) };
    writer.page.paragraph(&summary, 0);
    writer.page.gap();
    Tree::new(explanation.graph, &explanation.problems, explanation.host, all)
        .draw(&mut writer.page, explanation.library);
    for problem in &explanation.problems {
        writer.details(problem);
    }
    writer.surprises(&explanation.surprises);
    writer.optional(explanation);
    writer.links(explanation);
    writer.glibc(explanation);
    writer.cures(explanation);
    if let Some(line) = system_line(explanation) {
        writer.page.gap();
        writer.page.paragraph(&dim(&line), 0);
    }
    writer.page.finish()
}

/// What the system's loader says, as the last line.
fn system_line(explanation: &Explanation<'_>) -> Option<String> {
    if let Some(why) = &explanation.not_asked {
        return Some(format!("Not held against the system's dlopen: {why}."));
    }
    let says = explanation.system.as_ref()?;
    let has = |is_it: fn(&ProblemKind) -> bool| explanation.problems.iter().any(|problem| is_it(&problem.kind));
    let android = has(|kind| matches!(kind, ProblemKind::AndroidRelocations));
    let late = has(|kind| matches!(kind, ProblemKind::System { cause: Some(SystemCause::LateRuntime { .. }), .. }));
    Some(match (says.loads, explanation.by_dlscope) {
        (true, _) if late => "The system's dlopen maps it; it was not asked to run the constructors.".into(),
        (true, _) if android => "The system's dlopen maps it and leaves its pointers wrong.".into(),
        (true, true) => "The system's dlopen loads it, too.".into(),
        (true, false) => "The system's dlopen loads it.".into(),
        (false, _) => format!("The system's dlopen says: {}", says.message.as_deref().unwrap_or("nothing")),
    })
}

struct Writer<'w> {
    page: Page,
    /// The library that was opened, as the problems name it.
    root: &'w str,
    most: usize,
}

impl Writer<'_> {
    /// The details of a problem, for which the tree has no room.
    fn details(&mut self, problem: &Problem) {
        let whose = problem.whose();
        match &problem.kind {
            ProblemKind::NotFound { library, is_asked, lies_in, mistakes, without_it, obstacle, rejected, .. } => {
                if let Some(Obstacle::Forbidden { path, .. }) = obstacle {
                    self.page.gap();
                    self.page.paragraph(&format!("{}.", permission(path)), 2);
                }
                if library.contains('/') && !is_asked {
                    self.page.gap();
                    let from = match library.starts_with('/') {
                        true => "",
                        false => ", from the directory in which the program runs",
                    };
                    let text = format!(
                        "A DT_NEEDED with a '/' is opened as it stands{from}. No search path is consulted for it. A library \
                         without a DT_SONAME that is linked by its path leaves such a name."
                    );
                    self.page.paragraph(&text, 2);
                }
                if !lies_in.is_empty() {
                    self.page.gap();
                    let list = few(lies_in.iter().map(shown), 3);
                    let by =
                        if self.root == problem.object { String::new() } else { format!(", which {whose} needs,") };
                    self.page.paragraph(&format!("{}{by} lies in {list}.", heading(short(library))), 2);
                }
                if !rejected.is_empty() {
                    self.page.gap();
                }
                for Rejected { path, reason } in rejected.iter().take(3) {
                    let text = format!("{} is called so, but it {}.", shown(path), reason.clause());
                    self.page.paragraph(&text, 2);
                }
                for mistake in mistakes {
                    self.page.paragraph(&format!("{mistake}."), 2);
                }
                self.without(library, without_it);
            }
            ProblemKind::Unsuitable { library, path, reason, without_it, .. } => {
                self.page.gap();
                self.page.paragraph(&format!("{} was found at {path}; {}.", heading(library), reason.detail()), 2);
                self.without(library, without_it);
            }
            ProblemKind::Version { version, library, offered, wanted, .. } => {
                self.page.gap();
                let wanted = match wanted.len() {
                    0 => "no symbol".into(),
                    _ => few(wanted.iter().map(|name| explained(name)), self.most),
                };
                let library = heading(library);
                self.page.paragraph(&format!("{whose} wants {wanted} of {library} in version {version}."), 2);
                if !offered.is_empty() {
                    let offered = few(offered.iter().rev().cloned(), self.most);
                    self.page.paragraph(&format!("The one found has: {offered}."), 2);
                }
            }
            ProblemKind::Symbols { symbols, bind_now } => {
                self.page.gap();
                self.page.paragraph(&format!("Undefined in {}:", heading(whose)), 2);
                self.undefined(symbols);
                if symbols.iter().all(|symbol| symbol.only_called) && !bind_now {
                    let which = if symbols.len() == 1 { "it" } else { "one of them" };
                    let text = format!(
                        "Only called: with RTLD_LAZY dlopen itself would succeed, and the first call of {which} would \
                         end the program with a \"symbol lookup error\"."
                    );
                    self.page.paragraph(&text, 2);
                }
            }
            ProblemKind::StaticTls { asked, align, left, size, reason } => {
                self.page.gap();
                let text = format!(
                    "Its code reaches them at a fixed distance from the thread pointer (initial exec), so they need {} \
                     bytes, aligned to {align}, in room that every thread has had since its start. Of {} bytes, {} are \
                     left: {reason}.",
                    thousands(*asked),
                    thousands(*size),
                    thousands(*left),
                );
                self.page.paragraph(&text, 2);
            }
            ProblemKind::OtherLibc { library, without_it, .. } => self.without(library, without_it),
            ProblemKind::NoLongerNeeded { library, lies_in } => {
                self.page.gap();
                let places = few(lies_in.iter().map(shown), 3);
                let there = if lies_in.is_empty() { String::new() } else { format!(" It lies in {places}.") };
                let text = format!(
                    "The DT_VERNEED of {} names {}, and no object of the load is called so: its DT_NEEDED was removed.{there}",
                    heading(whose),
                    heading(library)
                );
                self.page.paragraph(&text, 2);
            }
            ProblemKind::System { cause: Some(SystemCause::StaticTls { variables, .. }), .. } => {
                if !variables.is_empty() {
                    self.page.gap();
                    let list =
                        variables.iter().map(|(name, size)| format!("{} ({})", explained(name), thousands(*size)));
                    let list = few(list.collect::<Vec<_>>().into_iter(), self.most);
                    let text = format!("Thread-local variables of {}, with their bytes: {list}.", heading(whose));
                    self.page.paragraph(&text, 2);
                }
            }
            ProblemKind::System { .. } | ProblemKind::AndroidRelocations => {}
            ProblemKind::TooOldGlibc { .. } | ProblemKind::PrivateGlibc { .. } => {}
            ProblemKind::Other(told) => {
                self.page.gap();
                self.page.paragraph(&format!("{}: {}.", heading(whose), told.in_full()), 2);
            }
        }
    }

    /// Undefined symbols. Those with equal remarks are told together.
    fn undefined(&mut self, symbols: &[Missing]) {
        let mut groups: Vec<(Vec<String>, Vec<String>)> = Vec::new();
        for missing in symbols {
            let version = missing.version.as_ref().map_or(String::new(), |v| format!(" (version {v})"));
            let name = format!("{}{version}", symbol(&explained(&missing.name)));
            let family = missing.family.iter().map(Family::told);
            let told: Vec<String> = family.chain(missing.nearest.iter().map(Nearest::told)).collect();
            match groups.iter_mut().find(|(known, _)| *known == told) {
                Some((_, names)) => names.push(name),
                None => groups.push((told, vec![name])),
            }
        }
        for (told, names) in groups.iter().take(self.most) {
            self.page.paragraph(&few(names.iter().cloned(), self.most), 4);
            told.iter().for_each(|line| self.page.paragraph(line, 6));
        }
        self.more(groups.len(), 4);
    }

    fn without(&mut self, library: &str, symbols: &[String]) {
        if !symbols.is_empty() {
            self.page.gap();
            let names = few(symbols.iter().map(|name| in_source(name)), self.most);
            let number = count(symbols.len() as u64, "symbol");
            let verb = if symbols.len() == 1 { "is" } else { "are" };
            self.page.paragraph(&format!("Without {library}, {number} {verb} undefined: {names}."), 2);
        }
    }

    fn surprises(&mut self, surprises: &Surprises) {
        self.page.gap();
        for cycle in &surprises.cycles {
            let way = cycle.join(" → ");
            let first = cycle.first().map_or("", String::as_str);
            let text = format!(
                "A circle: {way} → {first}. That is allowed: all are mapped before any is relocated. {} starts last.",
                heading(first)
            );
            self.page.paragraph(&text, 2);
        }
        for bound in &surprises.interposed {
            let (user, giver) = (heading(&bound.user), heading(&bound.bound_to));
            let names = few(bound.symbols.iter().map(|name| explained(name)), self.most);
            let definitions = count(bound.symbols.len() as u64, "definition");
            let text = format!("{giver} takes over {definitions} of {user}, which is asked after it: {names}.");
            self.page.paragraph(&text, 2);
        }
        for rivals in &surprises.rivals {
            let names = few(rivals.symbols.iter().map(|name| explained(name)), self.most);
            let (first, also) = (heading(&rivals.first), rivals.also.join(", "));
            self.page
                .paragraph(&format!("Defined in {first} and in {also}: {names}. {first} is asked first and wins."), 2);
        }
        for bound in &surprises.borrowed {
            let names = few(bound.symbols.iter().map(|name| explained(name)), self.most);
            let text = format!(
                "{0} uses {names} of {1}, and nothing here says that it needs {1}: it is found because this process has \
                 it. In another program it may be undefined.",
                heading(&bound.user),
                heading(&bound.bound_to)
            );
            self.page.paragraph(&text, 2);
        }
        if let Some(last) = surprises.static_tls.last() {
            let users = surprises.static_tls.iter().map(|user| format!("{} {}", user.object, thousands(user.bytes)));
            let users = few(users.collect::<Vec<_>>().into_iter(), self.most);
            let left = thousands(last.left);
            self.page.paragraph(&format!("Static TLS, in bytes: {users}; {left} are left in every thread."), 2);
        }
        if surprises.shared_weak > 0 && self.most > MOST {
            let number = count(surprises.shared_weak as u64, "weak definition");
            let text = format!("{number} gave way to the same one elsewhere, as C++ means it for inline code.");
            self.page.paragraph(&dim(&text), 2);
        }
    }

    /// The oldest glibc that the load needs, for `--glibc` and `--all`.
    fn glibc(&mut self, explanation: &Explanation<'_>) {
        if let (true, Some(needed)) = (explanation.tells_glibc, explanation.needed_glibc.first()) {
            self.page.gap();
            let names = few(needed.symbols.iter().cloned(), self.most);
            let names = if names.is_empty() { String::new() } else { format!(", for {names}") };
            let text =
                format!("The oldest glibc for it is {}: {} needs that{names}.", needed.number, short(&needed.object));
            self.page.paragraph(&text, 2);
        }
    }

    /// The optional dependencies: what for, and whether they are there.
    fn optional(&mut self, explanation: &Explanation<'_>) {
        if explanation.optional.is_empty() {
            return;
        }
        self.page.gap();
        self.page.raw(&heading("Opened when needed (.note.dlopen)"));
        for optional in &explanation.optional {
            let names: Vec<&str> = optional.libraries.iter().map(|library| library.soname.as_str()).collect();
            let what = [&optional.feature, &optional.description];
            let what = what.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(": ");
            let priority = optional.priority.as_deref().map_or(String::new(), |priority| format!(", {priority}"));
            let whose = short(&optional.object);
            let damaged =
                optional.libraries.iter().find_map(|library| Some((library.path.as_ref()?, library.error.as_ref()?)));
            let there = match (optional.used().and_then(|library| library.path.as_ref()), damaged) {
                (Some(path), _) => format!("{} {path}", good("✓")),
                (None, Some((path, error))) => format!("{} {path} does not load: {error}", bad("✗")),
                (None, None) => format!("{} not found", bad("✗")),
            };
            let what = if what.is_empty() { String::new() } else { format!(" ({what})") };
            self.page.paragraph(&format!("{}{what}, for {whose}{priority}: {there}", names.join(" or ")), 2);
        }
    }

    /// Objects that were opened through a symbolic link, where something is missing: `$ORIGIN` is the link's folder.
    fn links(&mut self, explanation: &Explanation<'_>) {
        for problem in &explanation.problems {
            let path = &path_of(&problem.object);
            let uses_origin = explanation.objects.iter().any(|node| {
                let lists = [&node.rpath, &node.runpath];
                *node.tag.name == *problem.object && lists.into_iter().flatten().any(|list| list.contains("ORIGIN"))
            });
            if let (true, ProblemKind::NotFound { .. }, Ok(file)) =
                (uses_origin && path.is_symlink(), &problem.kind, path.canonicalize())
            {
                self.page.gap();
                let text = format!(
                    "{} is a symbolic link to {}. $ORIGIN is the folder of the path by which the loader opened it, so here \
                     that of the link and not that of the file.",
                    problem.object,
                    shown(&file)
                );
                self.page.paragraph(&text, 2);
            }
        }
    }

    /// The last paragraph, with the cures.
    fn cures(&mut self, explanation: &Explanation<'_>) {
        if explanation.loads {
            return;
        }
        self.page.gap();
        self.page.raw(&heading("What would make it work"));
        let mut said: Vec<&String> = Vec::new();
        for cure in &explanation.cures {
            if !said.contains(&cure) {
                said.push(cure);
                self.page.paragraph(cure, 2);
            }
        }
        if let Some(root) = explanation.root.as_ref().filter(|_| !explanation.commands.is_empty()) {
            let text = format!("The commands are for a shell outside of {0}; all other paths are inside.", shown(root));
            self.page.paragraph(&dim(&text), 2);
        }
    }

    fn more(&mut self, length: usize, indent: usize) {
        if length > self.most {
            self.page.paragraph(&dim(&format!("… {} more (--all)", thousands((length - self.most) as u64))), indent);
        }
    }
}

/// The first sentence: `libx.so cannot be loaded: …`, or that it loads.
pub fn summary(
    (library, root): (&str, &str),
    problems: &[Problem],
    objects: (usize, usize),
    surprises: &Surprises,
    system_loads: bool,
) -> String {
    let name = short(library);
    match problems {
        [first, ..] if system_loads => {
            format!("{name} is loaded by the system's dlopen, and not by dlscope: {}.", first.clause(root))
        }
        [] => {
            let (mapped, adopted) = objects;
            let circle = match surprises.cycles.len() {
                0 => "",
                1 => "; the circle of libraries that need each other does no harm",
                _ => "; the circles of libraries that need each other do no harm",
            };
            let adopted = if adopted == 0 { String::new() } else { format!(", {adopted} already in the process") };
            format!("{name} loads: {}{adopted}{circle}.", count(mapped as u64, "object"))
        }
        [first, rest @ ..] => {
            let more = match rest.len() {
                0 => String::new(),
                1 => " There is one more problem.".into(),
                n => format!(" There are {n} more problems."),
            };
            format!("{name} cannot be loaded: {}.{more}", first.clause(root))
        }
    }
}
