//! What a file is that is no library: told by its first bytes.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::cures::{in_quotes, quoted};

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    Empty,
    /// Text for the linker; the libraries that it names.
    LinkerScript(Vec<String>),
    /// `.a`, of objects or (thin) of their names.
    Archive,
    /// libtool's `.la`; the library that it describes.
    Libtool(Option<String>),
    Bitcode,
    /// Compressed, or an archive of files: by which program.
    Packed(&'static str),
    /// A package of a distribution, of this kind and with the command that unpacks it.
    Package(&'static str, &'static str),
    /// A module of WebAssembly.
    Wasm,
    /// Nothing but zeros.
    Zeros,
    Html,
    /// Git LFS's stand-in for a file that was not fetched.
    GitLfs,
    MachO,
    /// A Windows DLL or program.
    Pe,
    /// A symbolic link that was unpacked as a text file; what the text says.
    FormerLink(String),
    Script(String),
    Text,
    Unknown,
}

/// The kinds of file that their first bytes tell.
const MAGIC: [(&[u8], Content); 20] = [
    (b"!<arch>\ndebian-binary", Content::Package("Debian", "dpkg-deb -x")),
    (b"\xed\xab\xee\xdb", Content::Package("RPM", "rpm2archive")),
    (b"\0asm", Content::Wasm),
    (b"7z\xbc\xaf\x27\x1c", Content::Packed("7z")),
    (b"!<arch>\n", Content::Archive),
    (b"!<thin>\n", Content::Archive),
    (b"BC\xc0\xde", Content::Bitcode),
    (b"\xde\xc0\x17\x0b", Content::Bitcode),
    (b"\x1f\x8b", Content::Packed("gzip")),
    (b"\xfd7zXZ\0", Content::Packed("xz")),
    (b"BZh", Content::Packed("bzip2")),
    (b"\x28\xb5\x2f\xfd", Content::Packed("zstd")),
    (b"PK\x03\x04", Content::Packed("zip")),
    (b"\xce\xfa\xed\xfe", Content::MachO),
    (b"\xcf\xfa\xed\xfe", Content::MachO),
    (b"\xfe\xed\xfa\xce", Content::MachO),
    (b"\xfe\xed\xfa\xcf", Content::MachO),
    (b"\xca\xfe\xba\xbe", Content::MachO),
    (b"MZ", Content::Pe),
    (b"version https://git-lfs.github.com/spec/", Content::GitLfs),
];

impl Content {
    /// Looks at a file.
    pub fn of(path: &Path) -> Content {
        if !path.is_file() {
            return Content::Unknown;
        }
        fs::read(path).map_or(Content::Unknown, |bytes| Content::of_bytes(&bytes))
    }

    fn of_bytes(bytes: &[u8]) -> Content {
        if bytes.is_empty() {
            return Content::Empty;
        }
        if let Some((_, content)) = MAGIC.into_iter().find(|(magic, _)| bytes.starts_with(magic)) {
            return content;
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Content::Zeros;
        }
        // A page may be in any encoding.
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).to_ascii_lowercase();
        let start = start.trim_start_matches('\u{feff}').trim_start();
        let is_page = ["<!doctype html", "<html", "<head"].iter().any(|tag| start.starts_with(tag));
        if is_page || (start.starts_with("<?xml") && (start.contains("<!doctype html") || start.contains("<html"))) {
            return Content::Html;
        }
        let is_written = |c: char| !c.is_control() || c.is_whitespace();
        let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(is_written)) else {
            return Content::Unknown;
        };
        let start: String = text.trim_start_matches('\u{feff}').trim_start().chars().take(200).collect();
        if text.lines().take(5).any(|line| line.starts_with('#') && line.contains("libtool library file")) {
            let name = text.lines().find_map(|line| line.strip_prefix("dlname='")?.strip_suffix('\''));
            return Content::Libtool(name.filter(|name| !name.is_empty()).map(Into::into));
        }
        if let Some(program) = start.strip_prefix("#!") {
            return Content::Script(program.lines().next().unwrap_or_default().trim().into());
        }
        let words = text.split(|c: char| c.is_whitespace() || "(),".contains(c));
        if words.clone().any(|word| ["GROUP", "INPUT", "OUTPUT_FORMAT"].contains(&word)) {
            let mut names: Vec<String> = words.filter(|word| word.contains(".so")).map(Into::into).collect();
            names.dedup();
            return Content::LinkerScript(names);
        }
        let line = text.trim_end_matches(['\n', '\r']);
        if line.len() < 256 && line.contains(".so") && !line.contains(char::is_whitespace) {
            return Content::FormerLink(line.into());
        }
        Content::Text
    }

    /// What it is, behind "libx.so".
    pub fn clause(&self) -> String {
        match self {
            Content::Empty => "is an empty file".into(),
            Content::LinkerScript(_) => "is a linker script, a text for the linker and not a library".into(),
            Content::Archive => "is a static library (an archive of object files), not a shared one".into(),
            Content::Libtool(_) => "is a libtool file, a text about a library and not a library".into(),
            Content::Bitcode => "is not an ELF file: it is LLVM bitcode, which only a compiler can use".into(),
            Content::Packed(program) => format!("is not an ELF file: it is packed by {program}"),
            Content::Package(kind, _) => match *kind {
                "RPM" => "is not an ELF file: it is an RPM package".into(),
                kind => format!("is not an ELF file: it is a {kind} package"),
            },
            Content::Wasm => "is not an ELF file: it is a WebAssembly module".into(),
            Content::Zeros => "is not an ELF file: it has nothing but zeros in it".into(),
            Content::Html => "is not an ELF file: it is an HTML page, as a download gives that failed".into(),
            Content::GitLfs => {
                "is not an ELF file: it is a Git LFS pointer, and the file itself was not fetched".into()
            }
            Content::MachO => "is not an ELF file: it is a Mach-O file, a library of macOS".into(),
            Content::Pe => "is not an ELF file: it is a PE file, a library or program of Windows".into(),
            Content::FormerLink(to) => {
                format!("is not an ELF file: it is a text file that holds just {to:?}, so it was a symbolic link once")
            }
            Content::Script(program) => format!("is not an ELF file: it is a script for {program}"),
            Content::Text => "is not an ELF file: it is a text file".into(),
            Content::Unknown => "is not an ELF file".into(),
        }
    }

    /// What would help, for the file at `path`, which has the name `library`.
    pub fn cure(&self, library: &str, path: &str) -> String {
        match self {
            Content::Empty => {
                format!("Write {path} once more, or remove it: a copy was broken off, or the disk was full.")
            }
            Content::LinkerScript(names) if names.is_empty() => "Open the library that the script is about.".into(),
            Content::LinkerScript(names) => {
                format!("Open the library that the script names: {}.", names.join(", "))
            }
            Content::Archive => format!(
                "Link it into the library or program that uses it, or build it as a shared library (-shared, of objects \
                 that were compiled with -fPIC); {path} itself cannot be loaded."
            ),
            Content::Libtool(name) => format!(
                "Open the library that the file describes{}; only libtool's own lt_dlopen reads {path}.",
                name.as_ref().map_or(String::new(), |name| format!(", {name}"))
            ),
            Content::Bitcode => "Compile it to machine code: without -emit-llvm, and linked with -shared.".into(),
            Content::Packed(program) => format!("Unpack it: {path} was packed by {program}."),
            Content::Package(_, unpack) => {
                format!("Install the package, or unpack it ({unpack} {}): the library is in it.", quoted(path))
            }
            Content::Wasm => {
                format!("Install the build of {library} for x86_64 Linux; only a WebAssembly runtime reads {path}.")
            }
            Content::Zeros => format!("Write {path} once more: a copy or a download was broken off."),
            Content::Html => format!("Download {library} again; `head {path}` shows what the server said instead."),
            Content::GitLfs => "Fetch the file itself: git lfs pull.".into(),
            Content::MachO | Content::Pe => format!("Build {library} for Linux, or install the Linux build of it."),
            Content::FormerLink(to) => format!(
                "Make it a link again: ln -sf {} {}. (Git on a system without links, zip, and some copying programs write a \
                 link as text.)",
                in_quotes(to),
                quoted(path)
            ),
            Content::Script(_) | Content::Text | Content::Unknown => {
                format!("`file {path}` says what it is. Another file of that name may be meant.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        let of = |bytes: &[u8]| Content::of_bytes(bytes);
        assert_eq!(of(b""), Content::Empty);
        assert_eq!(of(b"!<arch>\nx"), Content::Archive);
        assert_eq!(
            of(b"# libz.la - a libtool library file\ndlname='libz.so.1'\n"),
            Content::Libtool(Some("libz.so.1".into()))
        );
        assert_eq!(of(b"\xef\xbb\xbf\n<!DOCTYPE HTML>"), Content::Html);
        assert_eq!(of(b"<!DOCTYPE html><title>caf\xe9"), Content::Html);
        assert_eq!(of(b"<?xml version=\"1.0\"?>\n<!DOCTYPE html>\n<html/>"), Content::Html);
        assert_eq!(of(b"<?xml version=\"1.0\"?>\n<a/>"), Content::Text);
        assert_eq!(of(&[0; 100]), Content::Zeros);
        assert_eq!(of(b"libz.so.1.2.13\n"), Content::FormerLink("libz.so.1.2.13".into()));
        assert_eq!(of(b"INPUT(libz.so.1)"), Content::LinkerScript(vec!["libz.so.1".into()]));
        assert_eq!(of(b"words about libz.so\n"), Content::Text);
        assert_eq!(of(b"\x01\x02"), Content::Unknown);
    }
}
