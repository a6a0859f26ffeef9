//! Which file of `src/` imports which, and on which floor each stands.
//!
//! Paths are looked for in the tokens of a file, not in its syntax tree: in a syntax tree the inside of a macro call is
//! tokens all the same, and imports stand there too. Comments and strings name nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The source, by file: as in `elf/addr.rs`, relative to `src/`.
pub type Sources = BTreeMap<String, String>;

/// One file names something of another one.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    pub from: String,
    pub line: usize,
    /// From the crate's root on, without `crate`.
    pub path: String,
    pub to: String,
}

/// Which files there are, and what the root calls what is in them.
struct House {
    /// The file of each module; the root has none.
    modules: BTreeMap<Vec<String>, String>,
    /// What `lib.rs` re-exports, and the macros, which are the root's wherever they are written.
    of_root: BTreeMap<String, Vec<String>>,
}

/// All imports of files by others. What leads nowhere is an error, so that none is overlooked.
pub fn imports(sources: &Sources) -> Result<Vec<Import>, String> {
    let modules = sources.keys().filter(|file| *file != "lib.rs").map(|file| (module(file), file.clone()));
    let mut house = House { modules: modules.collect(), of_root: BTreeMap::new() };
    let mut paths = Vec::new();
    for (file, text) in sources {
        let tokens: TokenStream = text.parse().map_err(|error| format!("{file}: {error}"))?;
        let mut reader = Reader { house: &house, paths: Vec::new(), macros: Vec::new() };
        reader.read(tokens, &module(file));
        let Reader { paths: found, macros, .. } = reader;
        house.of_root.extend(macros.into_iter().map(|name| (name, module(file))));
        match file.as_str() {
            "lib.rs" => house.of_root.extend(found.into_iter().map(|path| (path.name, path.segments))),
            file => paths.extend(found.into_iter().map(|path| (file, path))),
        }
    }

    let (mut imports, mut lost) = (Vec::new(), String::new());
    for (from, Path { line, segments, .. }) in paths {
        let path = segments.join("::");
        match house.file(&segments) {
            None => writeln!(lost, "src/{from}:{line}: {path} is in no file that lib.rs leads to").unwrap(),
            Some(to) if to == from => {}
            Some(to) => imports.push(Import { from: from.into(), line, path, to: to.into() }),
        }
    }
    if lost.is_empty() { Ok(imports) } else { Err(lost) }
}

/// The module of a file: `elf/mod.rs` and `elf.rs` are the same one.
fn module(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|name| *name != "lib").map(String::from).collect()
}

impl House {
    /// The file of the innermost module on the way. A name that a module re-exports is that module's; one that the root
    /// re-exports is of the module that it comes from.
    fn file(&self, path: &[String]) -> Option<&str> {
        let inner = (1..=path.len()).rev().find_map(|length| self.modules.get(&path[..length]));
        if let Some(file) = inner {
            return Some(file);
        }
        let (name, rest) = path.split_first()?;
        let origin = self.of_root.get(name).filter(|origin| origin.first() != Some(name))?;
        self.file(&[origin, rest].concat())
    }
}

/// A path in the source, from the root on.
struct Path {
    line: usize,
    segments: Vec<String>,
    /// What it is called from here on: its last segment, or what follows `as`.
    name: String,
}

struct Reader<'a> {
    house: &'a House,
    paths: Vec<Path>,
    macros: Vec<String>,
}

impl Reader<'_> {
    /// Reads what stands in the module `here`.
    fn read(&mut self, tokens: TokenStream, here: &[String]) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            at += match rest {
                [hash, ..] if is(hash, '#') => self.attribute(rest),
                // `pub(in crate::elf)` imports nothing.
                [word, TokenTree::Group(group), ..]
                    if word.to_string() == "pub" && group.delimiter() == Delimiter::Parenthesis =>
                {
                    2
                }
                [word, TokenTree::Ident(name), TokenTree::Group(body), ..] if word.to_string() == "mod" => {
                    self.read(body.stream(), &[here, &[name.to_string()]].concat());
                    3
                }
                [word, bang, TokenTree::Ident(name), ..] if word.to_string() == "macro_rules" && is(bang, '!') => {
                    self.macros.push(name.to_string());
                    3
                }
                [TokenTree::Ident(first), ..] if is_separator(&rest[1..]) => {
                    let global = at >= 2 && is_separator(&tokens[at - 2..]);
                    match self.start(&first.to_string(), here).filter(|_| !global) {
                        Some(start) => self.tree(rest, &start, here),
                        None => 1,
                    }
                }
                [TokenTree::Group(group), ..] => {
                    self.read(group.stream(), here);
                    1
                }
                _ => 1,
            };
        }
    }

    /// What precedes an item; with the item, if only tests are built with it. Returns how many tokens that were.
    fn attribute(&self, tokens: &[TokenTree]) -> usize {
        let inner = tokens.get(1).is_some_and(|bang| is(bang, '!'));
        let length = if inner { 3 } else { 2 };
        let Some(TokenTree::Group(attribute)) = tokens.get(length - 1) else { return 1 };
        if attribute.stream().to_string().replace(' ', "") != "cfg(test)" {
            return length;
        }
        let ends = |token: &TokenTree| match token {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            token => is(token, ';'),
        };
        let item = tokens[length..].iter().position(ends);
        item.map_or(tokens.len(), |end| length + end + 1)
    }

    /// Where a path goes on whose first segment is `first`. `None` if that is outside of the crate or inside of the file.
    fn start(&self, first: &str, here: &[String]) -> Option<Vec<String>> {
        match first {
            "crate" => Some(Vec::new()),
            "self" => Some(here.to_vec()),
            "super" => Some(here.split_last()?.1.to_vec()),
            name => {
                let child = [here, &[name.to_string()]].concat();
                self.house.modules.contains_key(&child).then_some(child)
            }
        }
    }

    /// A path or tree of paths, whose first segment means `start`. Returns how many tokens it has.
    fn tree(&mut self, tokens: &[TokenTree], start: &[String], here: &[String]) -> usize {
        let line = tokens[0].span().start().line;
        let (mut segments, mut at) = (start.to_vec(), 1);
        while is_separator(&tokens[at..]) {
            match tokens.get(at + 2) {
                Some(TokenTree::Ident(name)) if *name == "super" => _ = segments.pop(),
                Some(TokenTree::Ident(name)) => segments.push(name.to_string()),
                Some(TokenTree::Group(group)) => {
                    self.group(group.stream(), &segments, here);
                    return at + 3;
                }
                Some(star) if is(star, '*') => {
                    at += 3;
                    break;
                }
                // `::<T>`
                _ => break,
            }
            at += 3;
        }
        let mut name = segments.last().cloned().unwrap_or_default();
        if let [word, TokenTree::Ident(other), ..] = &tokens[at..]
            && word.to_string() == "as"
        {
            name = other.to_string();
        }
        self.paths.push(Path { line, segments, name });
        at
    }

    /// What stands between the braces of a `use`, behind `start`.
    fn group(&mut self, tokens: TokenStream, start: &[String], here: &[String]) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for branch in tokens.split(|token| is(token, ',')).filter(|branch| !branch.is_empty()) {
            let start = match &branch[0] {
                TokenTree::Ident(name) if *name != "self" => [start, &[name.to_string()]].concat(),
                _ => start.to_vec(),
            };
            self.tree(branch, &start, here);
        }
    }
}

fn is(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

/// `::` begins here.
fn is_separator(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [a, b, ..] if is(a, ':') && is(b, ':'))
}

/// The order of the house, from the top to the ground.
#[derive(Debug, PartialEq, Eq)]
pub struct Floors(pub Vec<Floor>);

#[derive(Debug, PartialEq, Eq)]
pub struct Floor {
    /// Files, and folders, which end in `/`.
    pub paths: Vec<String>,
    pub about: String,
}

impl Floors {
    const HEADING: &str = "# The floors";

    /// Reads the map in the crate docs.
    pub fn read(lib: &str) -> Result<Floors, String> {
        let mut lines = lib.lines().filter_map(|line| line.strip_prefix("//!")).map(|line| line.trim_end());
        if !lines.any(|line| line.trim() == Floors::HEADING) {
            return Err(format!("lib.rs has no line `//! {}`", Floors::HEADING));
        }
        match lines.find(|line| !line.is_empty()) {
            Some(line) if line.trim() == "```text" => {}
            other => return Err(format!("under `{}` comes ```text, not {other:?}", Floors::HEADING)),
        }
        let mut floors = Vec::new();
        for line in lines {
            let line = line.trim();
            if line == "```" {
                return Ok(Floors(floors));
            }
            let Some((paths, about)) = line.split_once("  ").map(|(paths, about)| (paths, about.trim())) else {
                return Err(format!("a floor is paths, two spaces, and what it is about, not `{line}`"));
            };
            let paths = paths.split(',').map(|path| path.trim().to_string()).collect();
            floors.push(Floor { paths, about: about.into() });
        }
        Err("the block of the floors has no end".into())
    }

    /// The number of the floor that a file stands on, from the top: that of its own name, or of its innermost folder.
    fn of(&self, file: &str) -> Option<usize> {
        self.stand(file).map(|(number, _)| number)
    }

    fn stand(&self, file: &str) -> Option<(usize, &str)> {
        let covers = |path: &&String| match path.strip_suffix('/') {
            Some(folder) => file.strip_suffix(".rs") == Some(folder) || file.starts_with(path.as_str()),
            None => file == *path,
        };
        let all =
            self.0.iter().enumerate().flat_map(|(number, floor)| floor.paths.iter().map(move |path| (number, path)));
        let mine = all.filter(|(_, path)| covers(path));
        mine.max_by_key(|(_, path)| (!path.ends_with('/'), path.len())).map(|(number, path)| (number, path.as_str()))
    }

    /// What is wrong with the list of floors itself.
    pub fn faults(&self, sources: &Sources) -> Vec<String> {
        let files: Vec<_> = sources.keys().filter(|file| *file != "lib.rs").collect();
        let homeless = files.iter().filter(|file| self.of(file).is_none());
        let mut faults: Vec<_> = homeless.map(|file| format!("src/{file} is on no floor")).collect();
        let used: BTreeSet<_> = files.iter().filter_map(|file| self.stand(file)).map(|(_, path)| path).collect();
        let mut seen = BTreeSet::new();
        for path in self.0.iter().flat_map(|floor| &floor.paths) {
            if !seen.insert(path) {
                faults.push(format!("{path} is named twice"));
            } else if !used.contains(path.as_str()) {
                faults.push(format!("{path} is on a floor, but there is no such file or no file left in that folder"));
            }
        }
        faults
    }

    /// The imports that go up.
    pub fn upward(&self, imports: &[Import]) -> Vec<String> {
        let name = |number: usize| format!("floor {} ({})", self.0.len() - number, self.0[number].about);
        let mut found = Vec::new();
        for Import { from, line, path, to } in imports {
            if let (Some(mine), Some(its)) = (self.of(from), self.of(to))
                && its < mine
            {
                let (mine, its) = (name(mine), name(its));
                found.push(format!("src/{from}:{line}: {path} is in src/{to}, {its}, above {mine}"));
            }
        }
        found
    }
}

/// Groups of folders each of which imports the others, directly or not, with the imports among them. A file at the top
/// that has no folder counts as one.
pub fn circles(imports: &[Import]) -> Vec<(BTreeSet<&str>, Vec<&Import>)> {
    let mut reaches = BTreeMap::<&str, BTreeSet<&str>>::new();
    let between = imports.iter().map(|import| (folder(&import.from), folder(&import.to)));
    for (from, to) in between.filter(|(from, to)| from != to) {
        reaches.entry(from).or_default().insert(to);
    }
    // As often as there are folders: longer ways go through one twice.
    for _ in 0..reaches.len() {
        let before = reaches.clone();
        for reached in reaches.values_mut() {
            let further: Vec<_> = reached.iter().filter_map(|folder| before.get(folder)).flatten().copied().collect();
            reached.extend(further);
        }
    }
    let mutual = |a: &str, b: &str| reaches.get(a).is_some_and(|r| r.contains(b)) && reaches[b].contains(a);
    let groups: BTreeSet<BTreeSet<&str>> = reaches
        .keys()
        .filter(|a| reaches[*a].contains(*a))
        .map(|a| reaches[a].iter().filter(|b| reaches.contains_key(*b) && mutual(a, b)).copied().collect())
        .collect();
    let within = |group: &BTreeSet<&str>, import: &&Import| {
        let (from, to) = (folder(&import.from), folder(&import.to));
        from != to && group.contains(from) && group.contains(to)
    };
    groups
        .into_iter()
        .map(|group| {
            let among = imports.iter().filter(|import| within(&group, import)).collect();
            (group, among)
        })
        .collect()
}

fn folder(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}
