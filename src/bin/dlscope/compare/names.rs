//! Names for slots and exports, read from the files. Only differences need them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::file::{ElfFile, ExportLookup, Slot};
use super::verdict::{Names, SlotName};
use crate::bytes::{path_of, shown_bytes};

/// Names from files. It reads each file at most once.
#[derive(Default)]
pub struct FileNames {
    files: RefCell<HashMap<String, Option<Rc<Tables>>>>,
}

struct Tables {
    file: ElfFile,
    slots: Vec<Slot>,
    exports: Vec<ExportLookup>,
}

impl FileNames {
    fn tables(&self, path: &str) -> Option<Rc<Tables>> {
        let read = || {
            let file = ElfFile::open(&path_of(path))?;
            let (slots, exports) = (file.slots(), file.exports());
            Some(Rc::new(Tables { file, slots, exports }))
        };
        self.files.borrow_mut().entry(path.into()).or_insert_with(read).clone()
    }
}

impl Names for FileNames {
    fn slot(&self, path: &str, n: usize) -> SlotName {
        let Some(tables) = self.tables(path) else { return SlotName::default() };
        let Some(slot) = tables.slots.get(n) else { return SlotName::default() };
        let symbol = tables.file.symbol_of(slot).map_or(String::new(), |(_, name)| name);
        let space = if symbol.is_empty() { "" } else { " " };
        SlotName {
            place: slot.place.0,
            about: format!("{}{space}{symbol}, {}[{}]", slot.kind.name(), slot.table, slot.index),
            symbol: symbol.split('@').next().unwrap_or_default().into(),
        }
    }

    fn export(&self, path: &str, n: usize) -> String {
        let tables = self.tables(path);
        let Some(export) = tables.as_ref().and_then(|t| t.exports.get(n)) else { return format!("export {n}") };
        let name = shown_bytes(&export.name);
        match &export.version {
            Some(version) => format!("{name}@{}", shown_bytes(version)),
            None => name,
        }
    }
}
