//! The words of dynamic linking: `words/glossary.txt`.

use std::sync::LazyLock;

use dlscope::event::Kind;

/// A word that is explained.
pub struct Word {
    /// The word, and others that mean the same or stand for it.
    pub names: Vec<&'static str>,
    /// Two or three sentences.
    pub text: &'static str,
    /// The lines of a picture; most words have none.
    pub picture: Vec<&'static str>,
    /// A command that shows it.
    pub see: &'static str,
    /// The section of the documentation: `docs/chapters/04-map.md#the-load-bias`.
    pub read: &'static str,
    /// The kinds of event whose words include it: `lookup`, `relocation:R_X86_64_64`.
    pub on: Vec<&'static str>,
}

/// All words, in the order of the file.
pub static GLOSSARY: LazyLock<Vec<Word>> = LazyLock::new(|| {
    let entries = include_str!("glossary.txt").split("\n\n").filter(|entry| !entry.starts_with('#'));
    entries.map(|entry| Word::parse(entry.trim_end())).collect()
});

impl Word {
    fn parse(entry: &'static str) -> Word {
        let mut lines = entry.lines();
        let names = lines.next().unwrap_or_default().split(", ").collect();
        let mut word = Word {
            names,
            text: lines.next().unwrap_or_default(),
            picture: Vec::new(),
            see: "",
            read: "",
            on: Vec::new(),
        };
        for line in lines {
            if let Some(picture) = line.strip_prefix("| ") {
                word.picture.push(picture);
            } else if let Some(see) = line.strip_prefix("see: ") {
                word.see = see;
            } else if let Some(read) = line.strip_prefix("read: ") {
                word.read = read;
            } else if let Some(on) = line.strip_prefix("on: ") {
                word.on = on.split(", ").collect();
            } else {
                panic!("words/glossary.txt: {entry:?} has a line too many: {line:?}");
            }
        }
        word
    }

    /// The words that the screen of such an event has to do with. Those of a type of relocation come first.
    pub fn of_event(kind: &Kind) -> Vec<&'static Word> {
        let special = Word::special(kind).map_or(String::new(), |special| format!("relocation:{special}"));
        let of = |name: &str| GLOSSARY.iter().filter(|word| word.on.contains(&name)).collect::<Vec<_>>();
        [of(&special), of(kind.name())].concat()
    }

    /// What tells relocations apart that have words of their own: the type, or `DT_RELR` for those of that table.
    pub fn special(kind: &Kind) -> Option<&str> {
        match kind {
            Kind::Relocation { table: table @ "DT_RELR", .. } => Some(table),
            Kind::Relocation { kind, .. } => Some(kind),
            _ => None,
        }
    }

    /// The number of the word in [`GLOSSARY`].
    pub fn number(&self) -> usize {
        GLOSSARY.iter().position(|word| std::ptr::eq(word, self)).expect("every word is in the glossary")
    }

    /// The entry of a word, whatever its case: `GOT`, `load bias`, `R_X86_64_COPY`.
    pub fn find(name: &str) -> Option<&'static Word> {
        let is_it = |own: &&str| own.eq_ignore_ascii_case(name);
        GLOSSARY.iter().find(|word| word.names.iter().any(is_it))
    }
}
