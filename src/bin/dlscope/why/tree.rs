//! The tree of dependencies: each object with its path, or with every path where the loader looked in vain.

use std::collections::HashSet;

use dlscope::event::{Outcome, Rule};

use super::graph::{Graph, Need, Node, Search};
use super::host::Host;
use super::problem::{Problem, ProblemKind};
use crate::page::{Page, bad, dim, good, heading, width_of};

/// Draws the tree.
pub struct Tree<'t> {
    pub graph: &'t Graph,
    pub problems: &'t [Problem],
    /// The program that is meant to load the library.
    pub host: &'t Host,
    /// Whether to show also the paths that were tried before a library was found, and each dependency below every
    /// object that needs it.
    pub all: bool,
    lines: Vec<TreeLine>,
    /// The objects that were drawn with their dependencies.
    drawn: HashSet<u32>,
}

/// One line: the branches with the name, and behind them the path and the problems.
struct TreeLine {
    name: String,
    rest: String,
    /// Whether the line belongs to the one above it, and has no columns.
    below: bool,
}

impl<'t> Tree<'t> {
    pub fn new(graph: &'t Graph, problems: &'t [Problem], host: &'t Host, all: bool) -> Tree<'t> {
        Tree { graph, problems, host, all, lines: Vec::new(), drawn: HashSet::new() }
    }

    /// Draws the tree, set in by two.
    pub fn draw(mut self, page: &mut Page, asked: &str) {
        match self.graph.root() {
            Some(root) => {
                let rest = format!("{}{}", dim(&place(root)), self.marks(&root.tag.name));
                self.push(heading(root.tag.short()), rest);
                if self.all {
                    self.tries(self.graph.asked.as_ref(), "");
                }
                self.needs_of(root, "");
            }
            None => {
                let marks = self.problems.iter().map(|problem| bad(&format!("✗ {}", problem.mark())));
                let rest = marks.collect::<Vec<_>>().join("  ");
                self.push(heading(asked), rest);
                self.tries(self.graph.asked.as_ref(), "");
            }
        }
        let names = self.lines.iter().filter(|line| !line.below).map(|line| width_of(&line.name));
        let column = names.max().unwrap_or(0).min(48);
        for line in &self.lines {
            let gap = if line.below { 0 } else { column.saturating_sub(width_of(&line.name)) + 2 };
            page.raw(&format!("  {}{:gap$}{}", line.name, "", line.rest));
        }
    }

    fn push(&mut self, name: String, rest: String) {
        self.lines.push(TreeLine { name, rest, below: false });
    }

    /// Draws what an object needs. Each dependency is drawn once, below the object for which the loader met it; other
    /// objects that need it only name it.
    fn needs_of(&mut self, node: &'t Node, indent: &str) {
        let is_own = |need: &&Need| match &need.object {
            Some(object) => self.brought(node, object.id) || self.version_problem(node, need).is_some(),
            None => true,
        };
        let (own, mut others): (Vec<&Need>, Vec<&Need>) = node.needs.iter().partition(|need| self.all || is_own(need));
        // Nearly every object needs libc, so dependencies that are the host's are left out.
        let of_host =
            |need: &&Need| need.object.as_ref().and_then(|o| self.graph.node(o.id)).is_some_and(|o| o.of_host);
        others.retain(|need| !of_host(need));
        for (at, need) in own.iter().enumerate() {
            let is_last = at + 1 == own.len() && others.is_empty();
            let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.need(node, need, &format!("{indent}{branch}"), &format!("{indent}{below}"));
        }
        if !others.is_empty() {
            let names: Vec<&str> = others.iter().map(|need| need.name.as_str()).collect();
            let also = if own.is_empty() { "" } else { "also " };
            let name = dim(&format!("{indent}└─ {also}{}", names.join(", ")));
            self.lines.push(TreeLine { name, rest: String::new(), below: true });
        }
    }

    /// Whether `node` is the first object that needs `object`.
    fn brought(&self, node: &Node, object: u32) -> bool {
        let needs_it =
            |node: &&Node| node.needs.iter().any(|need| need.object.as_ref().is_some_and(|o| o.id == object));
        let is_root = self.graph.root().is_some_and(|root| root.tag.id == object);
        !is_root && self.graph.nodes.iter().find(needs_it).is_some_and(|first| first.tag == node.tag)
    }

    fn need(&mut self, by: &'t Node, need: &'t Need, branch: &str, below: &str) {
        let version = self.version_problem(by, need).map(|mark| format!("  {}", bad(&format!("✗ {mark}"))));
        let version = version.unwrap_or_default();
        let Some(object) = need.object.as_ref().and_then(|tag| self.graph.node(tag.id)) else {
            if let Some(path) = self.host.libraries.get(&need.name) {
                let place = dim(&format!("{path}  (already in {})", self.host.name));
                self.push(format!("{}{}", dim(branch), need.name), format!("{place}{}", good("  ✓")));
                return;
            }
            let mark = self.mark_of_missing(by, need);
            self.push(format!("{}{}", dim(branch), heading(&need.name)), bad(&format!("✗ {mark}")));
            self.tries(need.search.as_ref(), below);
            return;
        };
        let is_here = self.brought(by, object.tag.id) && self.drawn.insert(object.tag.id);
        let name = if object.tag.short() == need.name { String::new() } else { format!(" = {}", object.tag.short()) };
        let what = match is_here {
            true => format!("{}{}", dim(&place(object)), self.marks(&object.tag.name)),
            false => dim("see above or below"),
        };
        let well = if is_here && version.is_empty() && !what.contains('✗') { good("  ✓") } else { String::new() };
        self.push(format!("{}{}{}", dim(branch), need.name, dim(&name)), format!("{what}{version}{well}"));
        let was_elsewhere = need.search.as_ref().is_some_and(|search| search.in_vain().next().is_some());
        if self.all || (!version.is_empty() && was_elsewhere) {
            self.tries(need.search.as_ref(), below);
        }
        if is_here {
            self.needs_of(object, below);
        }
    }

    /// The marks for the problems of an object itself.
    fn marks(&self, label: &str) -> String {
        let of_object = |problem: &&Problem| {
            problem.object == label
                && matches!(
                    problem.kind,
                    ProblemKind::Symbols { .. }
                        | ProblemKind::Unsuitable { is_asked: true, .. }
                        | ProblemKind::StaticTls { .. }
                        | ProblemKind::OtherLibc { .. }
                        | ProblemKind::NoLongerNeeded { .. }
                        | ProblemKind::TooOldGlibc { .. }
                        | ProblemKind::PrivateGlibc { .. }
                        | ProblemKind::AndroidRelocations
                        | ProblemKind::System { .. }
                        | ProblemKind::Other { .. }
                )
        };
        let marks = self.problems.iter().filter(of_object);
        marks.map(|problem| format!("  {}", bad(&format!("✗ {}", problem.mark())))).collect()
    }

    fn version_problem(&self, by: &Node, need: &Need) -> Option<String> {
        let is_it = |problem: &&Problem| {
            *problem.object == *by.tag.name
                && matches!(&problem.kind, ProblemKind::Version { library, .. } | ProblemKind::Unsuitable { library, .. }
                        if *library == need.name)
        };
        self.problems.iter().find(is_it).map(Problem::mark)
    }

    fn mark_of_missing(&self, by: &Node, need: &Need) -> String {
        let is_it = |problem: &&Problem| match &problem.kind {
            ProblemKind::NotFound { library, .. } | ProblemKind::Unsuitable { library, .. } => {
                *library == need.name && *problem.object == *by.tag.name
            }
            _ => false,
        };
        self.problems.iter().find(is_it).map_or("not found".into(), Problem::mark)
    }

    /// A line for each path that was tried, with its rule.
    fn tries(&mut self, search: Option<&Search>, indent: &str) {
        let Some(search) = search else { return };
        let mut tried: Vec<(String, String)> = Vec::new();
        for (rule, _) in search.rules.iter().filter(|(_, dirs)| dirs.is_empty()) {
            // Users may expect these rules to give something, so tell them even if they give nothing.
            if self.all || matches!(rule, Rule::LdLibraryPath | Rule::Cache) {
                tried.push((rule.to_string(), "nothing".into()));
            }
        }
        for attempt in search.in_vain() {
            let outcome = match &attempt.outcome {
                Outcome::Missing(errno) if errno == "ENOENT" => String::new(),
                Outcome::Missing(errno) | Outcome::Passed(errno) => format!(": {errno}"),
                Outcome::Found => continue,
            };
            tried.push((attempt.rule.to_string(), format!("{}{outcome}", attempt.path)));
        }
        let order = |rule: &str| search.rules.iter().position(|(known, _)| known.to_string() == *rule);
        tried.sort_by_key(|(rule, _)| order(rule));
        let width = tried.iter().map(|(rule, _)| rule.chars().count()).max().unwrap_or(0);
        for (at, (rule, path)) in tried.iter().enumerate() {
            let shown = if at > 0 && tried[at - 1].0 == *rule { "" } else { rule.as_str() };
            let gap = width - shown.chars().count();
            let text = format!("{}  {shown}{:gap$}  {path}", if at == 0 { "tried" } else { "     " }, "");
            let name = format!("{}  {}", dim(indent), dim(&text));
            self.lines.push(TreeLine { name, rest: String::new(), below: true });
        }
    }
}

/// The path of an object, and the rule that found it.
fn place(node: &Node) -> String {
    if node.of_host {
        return format!("{}  (already in the process)", node.tag.name);
    }
    match &node.found_by {
        None | Some(Rule::Path) => node.tag.name.to_string(),
        Some(rule) => format!("{}  ({rule})", node.tag.name),
    }
}
