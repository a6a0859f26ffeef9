//! All keys.

/// Key and meaning; an empty key begins a new group.
pub const KEYS: [(&str, &str); 20] = [
    ("→ ↓ l j Space", "the next event"),
    ("← ↑ h k", "the event before"),
    ("PgDn PgUp", "20 events on, or back"),
    ("Home End", "the first event, the last one"),
    ("] [", "the next stage, the one before"),
    ("n N", "the next, or last, relocation of this type;"),
    ("", "of other events: of this kind"),
    ("/", "search a symbol, an object, a type, any word"),
    ("", "Enter alone: the same again"),
    ("g", "go to an event (61), or to what changes the"),
    ("", "byte at an address (0x7f3a…, libadd.so+0x4010)"),
    ("Enter", "all about this event on one page"),
    ("m", "the memory around it; ← → still step"),
    ("q Esc Ctrl-C", "back, or quit"),
    ("", ""),
    ("", "An event is one thing that the loader did or"),
    ("", "decided. A byte has the colour of its field;"),
    ("", "at the bottom are the lines of dlscope that"),
    ("", "did it. Any key leaves this page."),
    ("", ""),
];
