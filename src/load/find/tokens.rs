//! `$ORIGIN` and its kin, and lists of directories. ld.so(8), "Dynamic string tokens".

use std::ffi::OsStr;

use super::default_dirs;
use crate::host::cpu::{Level, cpu_level};
use crate::text::escape_path;

/// `$ORIGIN` of the object at `path`: its directory, absolute. glibc `_dl_get_origin`.
pub(crate) fn origin_of(path: &OsStr) -> String {
    let text = escape_path(path);
    match text.rsplit_once('/') {
        None if text.is_empty() => String::new(),
        Some(("", _)) => "/".into(),
        Some((dir, _)) if dir.starts_with('/') => dir.into(),
        split => {
            let current = std::env::current_dir().unwrap_or_default();
            let (current, dir) = (escape_path(current.as_os_str()), split.map_or("", |(dir, _)| dir));
            // `.` and `..` stay as they are written, because the path becomes part of names that programs see.
            [current.trim_end_matches('/'), dir].join("/").trim_end_matches('/').into()
        }
    }
}

/// The directories of a `DT_RPATH` or `DT_RUNPATH`, with their tokens replaced.
pub(crate) fn expand_list(list: &str, origin: &str) -> Vec<String> {
    if list.is_empty() {
        return Vec::new();
    }
    list.split(':').map(|dir| directory(dir, origin)).collect()
}

/// One element of a list of directories, with its tokens replaced. An empty element is the current directory.
pub(crate) fn directory(dir: &str, origin: &str) -> String {
    if dir.is_empty() {
        return ".".into();
    }
    let expanded = expand(dir, origin);
    let trimmed = expanded.trim_end_matches('/');
    if trimmed.is_empty() { "/".into() } else { trimmed.into() }
}

/// Replaces `$ORIGIN`, `$LIB` and `$PLATFORM`, also in braces. ld.so(8), "Dynamic string tokens"; glibc
/// `_dl_dst_substitute`.
pub(crate) fn expand(text: &str, origin: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        let (token, length) = match rest[1..].strip_prefix('{') {
            Some(inner) => match inner.find('}') {
                Some(end) => (&inner[..end], end + 3),
                None => ("", 1),
            },
            None => {
                let end = rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len() - 1);
                (&rest[1..=end], end + 1)
            }
        };
        match token {
            "ORIGIN" => result.push_str(origin),
            "LIB" if default_dirs()[0].contains("x86_64") => result.push_str("lib/x86_64-linux-gnu"),
            "LIB" => result.push_str("lib64"),
            // glibc calls a processor with AVX2 and its kin "haswell", and a lesser one "x86_64".
            "PLATFORM" if cpu_level() >= Level::V3 => result.push_str("haswell"),
            "PLATFORM" => result.push_str("x86_64"),
            _ => result.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn tokens_are_replaced_with_and_without_braces_and_others_stay() {
        for (text, expected) in [
            ("$ORIGIN/../lib", "/opt/x/../lib"),
            ("${ORIGIN}lib", "/opt/xlib"),
            ("$ORIGINAL/lib", "$ORIGINAL/lib"),
            ("a$", "a$"),
            ("${ORIGIN", "${ORIGIN"),
            ("$$ORIGIN", "$/opt/x"),
        ] {
            assert_eq!(expand(text, "/opt/x"), expected, "{text}");
        }
    }

    #[test]
    fn an_empty_element_of_a_list_is_the_current_directory() {
        assert_eq!(expand_list("/a/::$ORIGIN", "/o"), ["/a", ".", "/o"]);
        assert!(expand_list("", "/o").is_empty());
    }

    #[test]
    fn the_origin_of_a_relative_path_is_absolute() {
        assert_eq!(origin_of(OsStr::new("/usr/lib/libz.so.1")), "/usr/lib");
        assert!(origin_of(OsStr::new("x/liby.so")).starts_with('/'));
    }

    #[test]
    fn paths_of_any_bytes_are_kept() {
        let odd = OsStr::from_bytes(b"/a\xff/libx.so");
        assert!(origin_of(odd).starts_with("/a"));
    }
}
