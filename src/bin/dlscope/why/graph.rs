//! The graph of dependencies with all searches, made from the events of stages 1 to 6.

use std::path::{Path, PathBuf};

use crate::bytes::path_of;
use dlscope::elf::dynamic::DF_1_NOOPEN;
use dlscope::elf::image::DF_1_PIE;
use dlscope::event::{Arrival, Event, Kind, Outcome, Rule, Stage, Tag};
use serde::Serialize;

use super::host::Host;

/// The objects of a load, in the order in which the loader met them; the first is the library that was opened.
#[derive(Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    /// The search for the library itself, if there was one.
    pub asked: Option<Search>,
    /// The objects of the program's start, which are in every scope.
    pub startup: Vec<Tag>,
}

/// One object.
#[derive(Serialize)]
pub struct Node {
    #[serde(flatten)]
    pub tag: Tag,
    /// Whether it was in the process before.
    pub of_host: bool,
    /// The rule of the search that found it.
    pub found_by: Option<Rule>,
    /// `DT_RPATH` and `DT_RUNPATH`, as in the file.
    pub rpath: Option<String>,
    pub runpath: Option<String>,
    /// Whether calls are bound at load time even if the program asks for lazy binding.
    pub bind_now: bool,
    /// Whether the default folders are not searched for it (`DF_1_NODEFLIB`).
    pub no_default_dirs: bool,
    /// Whether no `dlopen` may bring it into a process: it is a program (`DF_1_PIE`), or has `DF_1_NOOPEN`.
    #[serde(skip)]
    pub unfit: bool,
    /// How many entries its dynamic section has, and whether `DT_SYMTAB` is one of them.
    #[serde(skip)]
    pub entries: usize,
    #[serde(skip)]
    pub has_symbols: bool,
    /// Whether it has relocations that only Android's loader applies.
    pub android_relocations: bool,
    pub needs: Vec<Need>,
}

/// One `DT_NEEDED`.
#[derive(Serialize)]
pub struct Need {
    pub name: String,
    /// The object that the name means; `None` if it cannot be loaded.
    pub object: Option<Tag>,
    /// The search for its file; `None` if an object with this name was known.
    pub search: Option<Search>,
}

/// A search for a file: every rule with its directories, and every path that was tried.
#[derive(Clone, Serialize)]
pub struct Search {
    pub name: String,
    #[serde(skip)]
    needed_by: Option<u32>,
    #[serde(skip)]
    pub rules: Vec<(Rule, Vec<String>)>,
    pub tried: Vec<Attempt>,
}

/// A path that was tried.
#[derive(Clone, Serialize)]
pub struct Attempt {
    pub rule: Rule,
    pub path: String,
    pub outcome: Outcome,
}

impl Graph {
    /// Makes the graph from events.
    pub fn of(events: &[Event]) -> Graph {
        let mut graph = Graph::default();
        let mut search: Option<Search> = None;
        for event in events {
            let of_whom = event.object.as_ref();
            match &event.kind {
                Kind::Search { name, needed_by } => {
                    let needed_by = needed_by.as_ref().map(|tag| tag.id);
                    search = Some(Search { name: name.clone(), needed_by, rules: Vec::new(), tried: Vec::new() });
                }
                Kind::Rule { rule, dirs } => {
                    search.iter_mut().for_each(|s| s.rules.push((rule.clone(), dirs.clone())));
                }
                Kind::Try { path, rule, outcome } => {
                    let attempt = Attempt { rule: rule.clone(), path: path.clone(), outcome: outcome.clone() };
                    search.iter_mut().for_each(|s| s.tried.push(attempt.clone()));
                }
                Kind::Planned { .. } => {
                    let found_by = search.as_ref().and_then(Search::found).map(|attempt| attempt.rule.clone());
                    graph.add(of_whom, false, found_by);
                    if graph.nodes.len() == 1 {
                        graph.asked = search.take();
                    }
                }
                Kind::Host { objects } => graph.startup.clone_from(objects),
                Kind::Known { .. } => graph.add(of_whom, true, None),
                Kind::DynamicEntry { tag, value, text, .. } => graph.entry(of_whom, tag, value.0, text.as_ref()),
                Kind::Needed { name, object, how } => {
                    graph.add(Some(object), *how == Arrival::Adopted, None);
                    graph.need(of_whom, name, Some(object), &mut search);
                }
                Kind::Fault { error } if error.stage <= Stage::Needed => {
                    let name = search.as_ref().map(|s| s.name.clone());
                    match name.filter(|_| of_whom.is_some()) {
                        Some(name) => graph.need(of_whom, &name, None, &mut search),
                        None => graph.asked = graph.asked.take().or(search.take()),
                    }
                }
                _ => {}
            }
        }
        graph
    }

    /// The library that was opened, if it could be mapped.
    pub fn root(&self) -> Option<&Node> {
        self.nodes.first()
    }

    /// The library that was opened, as the problems name it. `asked` is the name that the user gave.
    pub fn label<'g>(&'g self, asked: &'g str) -> &'g str {
        self.root().map_or(asked, |root| &root.tag.name)
    }

    /// The object with this number.
    pub fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.iter().find(|node| node.tag.id == id)
    }

    /// Every search of this load.
    pub fn searches(&self) -> impl Iterator<Item = &Search> {
        self.asked.iter().chain(self.nodes.iter().flat_map(|node| &node.needs).filter_map(|need| need.search.as_ref()))
    }

    /// Calls the searches by their name that came to the `DT_RPATH` of the program `host`: the load had its folders as
    /// those of `-L`.
    pub fn tell_rpath_of(&mut self, host: &Host) {
        let change = |rule: &mut Rule, path: &str| {
            if *rule == Rule::SearchDir && host.has_in_rpath(path) {
                *rule = Rule::Rpath(host.name.clone());
            }
        };
        let tries = |search: &mut Option<Search>| {
            search.iter_mut().flat_map(|search| &mut search.tried).for_each(|t| change(&mut t.rule, &t.path));
        };
        tries(&mut self.asked);
        for node in &mut self.nodes {
            node.found_by.iter_mut().for_each(|rule| change(rule, &node.tag.name));
            node.needs.iter_mut().for_each(|need| tries(&mut need.search));
        }
    }

    /// The circles of libraries that need each other. Each circle is listed once, from the library that the loader met
    /// first.
    pub fn cycles(&self) -> Vec<Vec<&Node>> {
        let mut cycles = Vec::new();
        let mut done = Vec::new();
        if let Some(root) = self.root() {
            self.walk(root, &mut Vec::new(), &mut done, &mut cycles);
        }
        cycles
    }

    fn walk<'g>(
        &'g self,
        node: &'g Node,
        way: &mut Vec<&'g Node>,
        done: &mut Vec<u32>,
        cycles: &mut Vec<Vec<&'g Node>>,
    ) {
        way.push(node);
        for next in node.needs.iter().filter_map(|need| self.node(need.object.as_ref()?.id)) {
            if let Some(at) = way.iter().position(|seen| seen.tag == next.tag) {
                cycles.push(way[at..].to_vec());
            } else if !done.contains(&next.tag.id) {
                self.walk(next, way, done, cycles);
            }
        }
        way.pop();
        done.push(node.tag.id);
    }

    fn add(&mut self, tag: Option<&Tag>, of_host: bool, found_by: Option<Rule>) {
        let Some(tag) = tag.filter(|tag| self.node(tag.id).is_none()) else { return };
        let (tag, needs) = (tag.clone(), Vec::new());
        self.nodes.push(Node {
            tag,
            of_host,
            found_by,
            rpath: None,
            runpath: None,
            bind_now: false,
            no_default_dirs: false,
            unfit: false,
            entries: 0,
            has_symbols: false,
            android_relocations: false,
            needs,
        });
    }

    fn of_tag(&mut self, tag: Option<&Tag>) -> Option<&mut Node> {
        let id = tag?.id;
        self.nodes.iter_mut().find(|node| node.tag.id == id)
    }

    fn entry(&mut self, of_whom: Option<&Tag>, tag: &str, value: u64, text: Option<&String>) {
        const DF_BIND_NOW: u64 = 8;
        let Some(node) = self.of_tag(of_whom) else { return };
        node.entries += usize::from(tag != "DT_NULL");
        match tag {
            "DT_SYMTAB" => node.has_symbols = true,
            "DT_RPATH" => node.rpath = text.cloned(),
            "DT_RUNPATH" => node.runpath = text.cloned(),
            "DT_FLAGS" => node.bind_now |= value & DF_BIND_NOW != 0,
            "DT_FLAGS_1" => {
                node.bind_now |= value & dlscope::elf::dynamic::DF_1_NOW != 0;
                node.unfit |= value & (DF_1_NOOPEN | DF_1_PIE) != 0;
                node.no_default_dirs |= value & dlscope::elf::dynamic::DF_1_NODEFLIB != 0;
            }
            "DT_BIND_NOW" => node.bind_now = true,
            // DT_ANDROID_REL, DT_ANDROID_RELA and DT_ANDROID_RELR of bionic's <elf.h>.
            "0x6000000f" | "0x60000011" | "0x6fffe000" => node.android_relocations = true,
            _ => {}
        }
    }

    fn need(&mut self, by: Option<&Tag>, name: &str, found: Option<&Tag>, search: &mut Option<Search>) {
        let Some(node) = self.of_tag(by) else { return };
        // If another object needed this name before, there was no second search.
        let search = search.take_if(|s| s.needed_by == Some(node.tag.id) && s.name == name);
        node.needs.push(Need { name: name.into(), object: found.cloned(), search });
    }
}

impl Node {
    /// `$ORIGIN` of this object: its folder.
    pub fn origin(&self) -> PathBuf {
        let path = std::path::absolute(path_of(&self.tag.name)).unwrap_or_default();
        path.parent().unwrap_or(Path::new("/")).to_path_buf()
    }
}

impl Search {
    /// The path that was the file.
    pub fn found(&self) -> Option<&Attempt> {
        self.tried.iter().find(|attempt| attempt.outcome == Outcome::Found)
    }

    /// The paths that were tried in vain, without the builds for newer processors, which hardly ever exist.
    pub fn in_vain(&self) -> impl Iterator<Item = &Attempt> {
        let newer = |attempt: &&Attempt| !attempt.path.contains("/glibc-hwcaps");
        self.tried.iter().filter(|attempt| attempt.outcome != Outcome::Found).filter(newer)
    }
}
