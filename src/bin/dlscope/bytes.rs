//! Names of files and symbols are bytes. The command keeps and shows them as text, in which a byte that is no text stands
//! as `\xff` (`dlscope::text`), as the events do. Only where a file is opened does the text become a name again.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use dlscope::text;
use serde::Serializer;

/// A name as text.
pub fn shown(name: impl AsRef<OsStr>) -> String {
    text::escape_path(name.as_ref()).into_owned()
}

/// The bytes of a name as text.
pub fn shown_bytes(name: &[u8]) -> String {
    text::escape(name).into_owned()
}

/// The name that a text stands for.
pub fn name_of(text: &str) -> OsString {
    text::unescape(text).into_owned()
}

/// The path that a text stands for.
pub fn path_of(text: &str) -> PathBuf {
    name_of(text).into()
}

/// Serializes a path as its text.
pub fn shown_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(path))
}

/// Serializes paths as their texts.
pub fn shown_paths<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(shown))
}
