//! The way to a file, link for link: what on it is closed or leads back to itself.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The kernel follows at most so many links.
const MOST_LINKS: usize = 40;

/// What the way to a path comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The file, behind all links. It need not be there.
    File(PathBuf),
    /// A folder that this user may not pass through.
    Closed(PathBuf),
    /// A symbolic link that leads back to itself.
    Loop(PathBuf),
}

/// Follows a path as the kernel does.
pub(super) fn follow(path: &Path) -> End {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let mut at = PathBuf::from("/");
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut rest = parts(&whole);
    while let Some(part) = rest.pop() {
        if part == "/" {
            at = PathBuf::from("/");
            continue;
        }
        if part == ".." {
            at.pop();
            continue;
        }
        if at.is_dir() && access(&at, AccessFlags::X_OK).is_err() {
            return End::Closed(at);
        }
        at.push(&part);
        let Ok(to) = fs::read_link(&at) else { continue };
        seen.push(at.clone());
        if seen.len() > MOST_LINKS {
            let twice = seen.iter().find(|link| seen.iter().filter(|other| other == link).count() > 1);
            return End::Loop(twice.unwrap_or(&at).clone());
        }
        at.pop();
        rest.extend(parts(&to));
    }
    End::File(at)
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    let mut parts: Vec<OsString> = parts.map(|part| part.as_os_str().to_owned()).collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_to_the_file_or_to_the_link_that_leads_back() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("real")).unwrap();
        for (to, link) in [("real", "near"), ("../near/./x", "real/up"), ("round", "round"), ("../round/y", "real/in")]
        {
            symlink(to, root.join(link)).unwrap();
        }
        assert_eq!(follow(&root.join("near/x")), End::File(root.join("real/x")));
        assert_eq!(follow(&root.join("near/up")), End::File(root.join("real/x")));
        assert_eq!(follow(&root.join("near/in")), End::Loop(root.join("round")));
    }
}
