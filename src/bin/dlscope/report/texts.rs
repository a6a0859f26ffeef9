//! Stores sentences as templates and numbers.
//!
//! Thousands of sentences differ only in their numbers. Each is stored as the index of a template and the numbers for
//! the template's holes.

use std::collections::HashMap;

use serde::{Serialize, Serializer};

/// The holes for a hexadecimal and for a decimal number: two characters of Unicode's private use area.
const HEX: char = '\u{e000}';
const DECIMAL: char = '\u{e001}';

/// Integers below this are exact in JavaScript.
const EXACT: u64 = 1 << 53;

/// A text: `templates[template]` with `numbers` in its holes. In JSON it is a list, or the bare index if there are no
/// numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    template: u32,
    numbers: Vec<u64>,
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.numbers[..] {
            [] => to.serialize_u32(self.template),
            numbers => to.collect_seq(std::iter::once(u64::from(self.template)).chain(numbers.iter().copied())),
        }
    }
}

/// All templates.
#[derive(Default)]
pub struct Texts {
    templates: Vec<String>,
    known: HashMap<String, u32>,
}

impl Texts {
    /// Stores a text.
    pub fn add(&mut self, text: &str) -> Text {
        let mut numbers = Vec::new();
        let template = template(text, &mut numbers);
        let next = self.templates.len() as u32;
        let number = *self.known.entry(template).or_insert_with_key(|template| {
            self.templates.push(template.clone());
            next
        });
        Text { template: number, numbers }
    }

    /// All templates, by index.
    pub fn templates(self) -> Vec<String> {
        self.templates
    }
}

/// The template of a text; its numbers go to `numbers`.
fn template(text: &str, numbers: &mut Vec<u64>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let found = match next {
            '0' if !before.is_alphanumeric() => hexadecimal(rest).map(|(value, length)| (HEX, value, length)),
            '1'..='9' if matches!(before, ' ' | '#') => decimal(rest).map(|(value, length)| (DECIMAL, value, length)),
            _ => None,
        };
        let length = match found {
            Some((hole, value, length)) => {
                out.push(hole);
                numbers.push(value);
                length
            }
            None => {
                // The name of a library may contain these characters.
                out.push(if matches!(next, HEX | DECIMAL) { char::REPLACEMENT_CHARACTER } else { next });
                next.len_utf8()
            }
        };
        before = rest[..length].chars().next_back().unwrap_or(' ');
        rest = &rest[length..];
    }
    out
}

/// The hexadecimal number (`0x1d`) at the start of `text`, if JavaScript would write it in the same way: its value, and
/// its length in the text.
fn hexadecimal(text: &str) -> Option<(u64, usize)> {
    let digits = text.strip_prefix("0x")?;
    let end = digits.find(|c: char| !matches!(c, '0'..='9' | 'a'..='f')).unwrap_or(digits.len());
    let (digits, behind) = digits.split_at(end);
    let value = u64::from_str_radix(digits, 16).ok().filter(|value| *value < EXACT)?;
    let same = format!("{value:x}") == digits && !behind.starts_with(char::is_alphanumeric);
    same.then_some((value, "0x".len() + end))
}

/// The decimal number (`918`) at the start of `text`, if it stands alone: its value, and its length in the text.
fn decimal(text: &str) -> Option<(u64, usize)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let value = text[..end].parse().ok().filter(|value| *value < EXACT)?;
    let alone = text[end..].is_empty() || text[end..].starts_with([' ', ':', ';']);
    alone.then_some((value, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(texts: &Texts, text: &Text) -> String {
        let mut numbers = text.numbers.iter();
        let fill = |c: char| match c {
            HEX => format!("{:#x}", numbers.next().unwrap()),
            DECIMAL => numbers.next().unwrap().to_string(),
            c => c.into(),
        };
        texts.templates[text.template as usize].chars().map(fill).collect()
    }

    #[test]
    fn a_text_comes_back_as_it_was() {
        let mut texts = Texts::default();
        let all = [
            "Store the address libadd.so+0x1119  twice into libadd.so+0x4020.",
            "libc.so.6, GNU hash 0x00001234, word #13 of 0x7f596ebe2000",
            "0xffffffffffffffff 18446744073709551615 0 007 1,234 5.",
            "0x 0xg 0x1G 00x1 x0x1 symbol 918: another hash; symbol 919",
            "",
            "größer 0x10 → 12 Wörter",
        ];
        for text in all {
            let added = texts.add(text);
            assert_eq!(shown(&texts, &added), text);
        }
    }

    #[test]
    fn texts_that_differ_in_numbers_share_a_template() {
        let mut texts = Texts::default();
        let one = texts.add("Elf64_Rela #1 at 0x10");
        let other = texts.add("Elf64_Rela #22 at 0x2030");
        assert_eq!(one.template, other.template);
        assert_eq!(other.numbers, [22, 0x2030]);
    }

    #[test]
    fn a_name_cannot_smuggle_in_a_hole() {
        let mut texts = Texts::default();
        let text = texts.add("lib\u{e000}.so");
        assert_eq!(texts.templates[text.template as usize], "lib\u{fffd}.so");
        assert!(text.numbers.is_empty());
    }
}
