//! Words for a shell.

/// A word for a shell. Only bash and its kin can write a byte that is no text: `$'caf\xe9'`.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:=@%,~".contains(c);
    let name = name_as_bytes(word);
    if std::str::from_utf8(&name).is_err() {
        let byte = |&byte: &u8| match byte {
            b'\'' | b'\\' => format!("\\{}", char::from(byte)),
            0x20..0x7f => char::from(byte).into(),
            _ => format!("\\x{byte:02x}"),
        };
        return format!("$'{}'", name.iter().map(byte).collect::<String>());
    }
    if word.chars().all(is_plain) { word.into() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// The bytes of the name that a text stands for.
fn name_as_bytes(text: &str) -> Vec<u8> {
    std::os::unix::ffi::OsStringExt::into_vec(crate::bytes::name_of(text))
}

/// A word for a shell that stands in quotes whatever is in it.
pub fn in_quotes(word: &str) -> String {
    match quoted(word) {
        quoted if quoted.starts_with(['\'', '$']) => quoted,
        plain => format!("'{plain}'"),
    }
}
