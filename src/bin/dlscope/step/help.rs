//! The list of keys.

/// Each key and its meaning. A line without a key continues the one above.
pub const KEYS: [(&str, &str); 22] = [
    ("→ ↓ l j Space", "the next event"),
    ("← ↑ h k", "the event before"),
    ("PgDn PgUp", "20 events on, or back"),
    ("Home End", "the first event, the last one"),
    ("] [", "the next stage, the one before"),
    ("n N", "the next or last relocation of this type;"),
    ("", "for other events: of this kind"),
    ("/", "look for a symbol, object, type, or any word"),
    ("", "Enter without a text: look for it again"),
    ("g", "go to event 61, or to the next change of the"),
    ("", "byte at an address (0x7f3a…, libadd.so+0x4010)"),
    ("Enter", "everything about this event on one page"),
    ("w", "what the words of this event mean"),
    ("Tab", "the next question (--quiz)"),
    ("m", "the memory that it is about; ← → still step"),
    ("q Esc Ctrl-C", "back, or quit"),
    ("", ""),
    ("", "An event is one thing that the loader did or"),
    ("", "decided. A byte has the colour of its field;"),
    ("", "at the bottom are the lines of dlscope that"),
    ("", "did it. Any key leaves this page."),
    ("", ""),
];
