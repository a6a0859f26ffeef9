//! Names as text. The name of a file is bytes, and dlscope compares, puts together and shows text: a byte that is no text
//! stands in it as `\xff`, and [`unescape`] makes a byte of it again.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// `name` as text. A byte that is not UTF-8, or zero, becomes `\xff` or the like. So does a backslash that would be taken
/// for the beginning of one of these.
pub fn escape(name: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(name) {
        Ok(text) if !name.contains(&0) && !name.contains(&b'\\') => Cow::Borrowed(text),
        _ => Cow::Owned(escaped(name)),
    }
}

#[cold]
fn escaped(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len() + 8);
    // Writing into a string cannot fail.
    let put = |text: &mut String, byte: u8| _ = write!(text, "\\x{byte:02x}");
    let mut rest = name;
    for chunk in name.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter == '\0' || byte_of_escape(rest).is_some() {
                put(&mut text, letter as u8);
            } else {
                text.push(letter);
            }
            rest = &rest[letter.len_utf8()..];
        }
        chunk.invalid().iter().for_each(|&byte| put(&mut text, byte));
        rest = &rest[chunk.invalid().len()..];
    }
    text
}

/// The name that [`escape`] made `text` of.
pub fn unescape(text: &str) -> Cow<'_, OsStr> {
    if !text.contains('\\') {
        return Cow::Borrowed(OsStr::new(text));
    }
    let (mut name, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, others)) = rest.split_first() {
        match byte_of_escape(rest) {
            Some(byte) => {
                name.push(byte);
                rest = &rest[4..];
            }
            None => {
                name.push(first);
                rest = others;
            }
        }
    }
    Cow::Owned(OsString::from_vec(name))
}

/// The byte that stands at the beginning of `text` as `\xff`.
fn byte_of_escape(text: &[u8]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    match *text {
        [b'\\', b'x', high, low, ..] => Some((digit(high)? << 4 | digit(low)?) as u8),
        _ => None,
    }
}

/// The name of a file as text.
pub fn escape_path(name: &OsStr) -> Cow<'_, str> {
    escape(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back_from_its_text() {
        let names: [(&[u8], &str); 7] = [
            (b"libz.so.1", "libz.so.1"),
            ("/tmp/ä/libß.so".as_bytes(), "/tmp/ä/libß.so"),
            (b"/tmp/\xff\xc3/lib\xc3\xa4.so", "/tmp/\\xff\\xc3/libä.so"),
            (b"a\\b", "a\\b"),
            (b"dev\\x2dsda", "dev\\x5cx2dsda"),
            (b"\\\\xff\xff\\x", "\\\\x5cxff\\xff\\x"),
            (b"a\0b", "a\\x00b"),
        ];
        for (name, text) in names {
            assert_eq!(escape(name), text);
            assert_eq!(unescape(text).as_bytes(), name, "{text}");
        }
    }
}
