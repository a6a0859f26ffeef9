//! Finds mistakes in `DT_RPATH` and `DT_RUNPATH`, when a library lies in a folder to which no rule leads.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::graph::{Graph, Node};
use crate::bytes::{name_of, path_of, shown};

/// The tokens of ld.so(8), "Dynamic string tokens".
const TOKENS: [&str; 3] = ["ORIGIN", "LIB", "PLATFORM"];

/// The mistakes in the paths of the object `user`, which needs the library `name`; `here` are files of that name. Each
/// mistake is one sentence.
pub fn mistakes(user: &Node, name: &str, here: &[PathBuf], graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for (tag, list) in [("DT_RPATH", &user.rpath), ("DT_RUNPATH", &user.runpath)] {
        let Some(list) = list else { continue };
        if list.is_empty() {
            let user = user.tag.short();
            found.push(format!("{tag} of {user} is empty: in a shell, an unquoted $ORIGIN becomes nothing"));
            continue;
        }
        for element in list.split(':') {
            if let Some(mistake) = mistake(element, user, name) {
                found.push(format!("{tag} of {} is {list:?}: {mistake}", user.tag.short()));
            }
        }
    }
    if found.is_empty() {
        found.extend(not_inherited(user, here, graph).or_else(|| leads_elsewhere(user, name, here)));
    }
    found
}

fn mistake(element: &str, user: &Node, name: &str) -> Option<String> {
    if element.is_empty() {
        return Some(
            "an empty element is the current directory; in a shell, an unquoted $ORIGIN becomes nothing".into(),
        );
    }
    if let [first, second, ..] = &separated(element)[..] {
        let separator = &element[first.len()..element.len().min(first.len() + 1)];
        return Some(format!(
            "{separator:?} separates nothing in it, only ':' does: {first} and {second} are one folder for the loader"
        ));
    }
    if let [inner] = &separated(element)[..]
        && inner != element
    {
        let (place, extra) = match element.strip_prefix(inner.as_str()) {
            Some(behind) => ("at its end", behind),
            None => ("at its beginning", &element[..element.find(inner.as_str()).unwrap_or(0)]),
        };
        return Some(format!("for the loader the {extra:?} {place} is a part of the path"));
    }
    if element.strip_prefix(['{', '(']).unwrap_or(element).starts_with("ORIGIN") {
        return Some(format!(
            "the '$' before ORIGIN is missing: {element:?} is relative to the directory of whoever runs the program"
        ));
    }
    if element.contains(['\'', '"', '\\']) {
        return Some("quotes and backslashes in it are part of the path: one level of quoting too much".into());
    }
    if let Some(token) = tokens(element).into_iter().find(|token| !TOKENS.contains(&token.as_str())) {
        let known = "$ORIGIN, $LIB and $PLATFORM are all that there is, in capitals";
        return Some(match nearest(&token) {
            Some(meant) => format!("${token} is no token of the loader ({known}); ${meant} is probably meant"),
            None => format!("${token} is no token of the loader ({known}), and variables are not replaced"),
        });
    }
    if element.starts_with("RIGIN") {
        return Some("make has replaced $O by nothing; in a makefile it is written '$$ORIGIN'".into());
    }
    if element.starts_with('@') {
        let word = element.split('/').next().unwrap_or(element);
        return Some(format!("{word} is a word of macOS; on Linux it is $ORIGIN"));
    }
    if element.starts_with('~') {
        return Some("the loader does not know ~, which only a shell replaces".into());
    }
    if element.starts_with('/') {
        let meant = user.origin().join(element.trim_start_matches('/'));
        return meant.join(name).is_file().then(|| {
            format!(
                "{name} lies in $ORIGIN{element}, so probably a shell replaced an unquoted $ORIGIN by nothing; \
                 it belongs in single quotes"
            )
        });
    }
    let relative = !element.starts_with('$');
    relative.then(|| {
        format!("{element:?} is relative to the directory of whoever runs the program, not to the library; $ORIGIN/{element} is")
    })
}

/// An element of a search path at whose `;`, `,` or space somebody meant two elements, or the end of one: all of them,
/// without these. Otherwise the element.
pub fn separated(element: &str) -> Vec<String> {
    let begins = |part: &str| part.starts_with(['/', '$', '.']);
    let parts: Vec<&str> = element.split([';', ',', ' ']).filter(|part| !part.is_empty()).collect();
    let is_one = parts.len() == 1 && parts[0] == element;
    if !parts.is_empty() && !is_one && parts.iter().all(|part| begins(part)) && !path_of(element).is_dir() {
        return parts.into_iter().map(Into::into).collect();
    }
    vec![element.into()]
}

/// Whether an element of a search path means no folder on any machine.
pub fn is_nonsense(element: &str) -> bool {
    name_of(element).as_bytes().iter().any(|byte| b"'\"\\".contains(byte))
        || tokens(element).iter().any(|token| !TOKENS.contains(&token.as_str()))
        || element.starts_with("RIGIN")
        || (element.starts_with("ORIGIN") && !path_of(element).is_dir())
        || element.starts_with(['@', '~'])
}

/// An element of a search path with the folder in the place of `$ORIGIN`.
pub fn expanded(element: &str, origin: &Path) -> String {
    element.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", &shown(origin))
}

/// The names after a `$`, with or without braces.
fn tokens(text: &str) -> Vec<String> {
    let word = |rest: &str| -> String {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    text.split('$').skip(1).map(word).collect()
}

fn nearest(token: &str) -> Option<&'static str> {
    let distance = |known: &&str| strsim::osa_distance(&token.to_ascii_uppercase(), known);
    TOKENS.into_iter().min_by_key(distance).filter(|known| distance(known) <= 2)
}

/// The mistake to expect that the `DT_RUNPATH` of another library counts for this one.
fn not_inherited(user: &Node, here: &[PathBuf], graph: &Graph) -> Option<String> {
    let leads = |node: &&Node| {
        let list = node.runpath.as_deref().unwrap_or_default();
        let origin = node.origin();
        let mut folders = list.split(':').filter(|e| !e.is_empty());
        folders.any(|element| {
            let folder = expanded(element, &origin);
            here.iter().any(|file| file.parent().is_some_and(|dir| same(dir, &path_of(&folder))))
        })
    };
    let other = graph.nodes.iter().filter(|node| node.tag != user.tag).find(leads)?;
    let (other, user) = (other.tag.short(), user.tag.short());
    Some(format!(
        "DT_RUNPATH of {other} leads there, but a DT_RUNPATH counts only for what its own library needs: {user} \
         is the one that needs it, and has none that does"
    ))
}

/// The mistake of a path that is well formed, and leads to another folder.
fn leads_elsewhere(user: &Node, name: &str, here: &[PathBuf]) -> Option<String> {
    let lists = [("DT_RPATH", &user.rpath), ("DT_RUNPATH", &user.runpath)];
    let (tag, list) = lists.into_iter().find_map(|(tag, list)| Some((tag, list.as_ref()?)))?;
    let whose = user.tag.short();
    if let Some(gone) = list.split(':').find(|element| element.starts_with('/') && !path_of(element).is_dir()) {
        return Some(format!("{tag} of {whose} is {list:?}, and there is no folder {gone} on this machine"));
    }
    let written = from_origin(user, here.first()?);
    Some(format!("{tag} of {whose} is {list:?}, and {name} lies in {written}"))
}

fn same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// The folder of `file`, as one would write it in the `DT_RUNPATH` of `user`.
pub fn from_origin(user: &Node, file: &Path) -> String {
    let resolved = |path: PathBuf| path.canonicalize().unwrap_or(path);
    let from = resolved(user.origin());
    let to = resolved(file.parent().unwrap_or(Path::new("/")).to_path_buf());
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().count() - common;
    // A folder far away from the library's own is written as an absolute path.
    if common < 2 || up > 2 {
        return shown(&to);
    }
    let mut written = String::from("$ORIGIN");
    (0..up).for_each(|_| written.push_str("/.."));
    for part in to.components().skip(common) {
        if let Component::Normal(part) = part {
            written.push('/');
            written.push_str(&shown(part));
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_token_is_told_from_a_variable() {
        assert_eq!(tokens("$ORIGN/../${LIB}/$HOME"), ["ORIGN", "LIB", "HOME"]);
        assert_eq!(nearest("ORIGN"), Some("ORIGIN"));
        assert_eq!(nearest("origin"), Some("ORIGIN"));
        assert_eq!(nearest("HOME"), None);
    }
}
