//! Signatures of functions, written as `cos(f64) -> f64`, and the values of arguments and results.

use std::ffi::{CStr, CString, c_char};
use std::fmt;

use crate::page::count;

/// The type of an argument or result, named as in Rust. `str` is a C string, `ptr` any pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
    Ptr,
    Str,
    Void,
}

const NAMES: [(&str, Type); 13] = [
    ("i8", Type::I8),
    ("i16", Type::I16),
    ("i32", Type::I32),
    ("i64", Type::I64),
    ("u8", Type::U8),
    ("u16", Type::U16),
    ("u32", Type::U32),
    ("u64", Type::U64),
    ("f32", Type::F32),
    ("f64", Type::F64),
    ("ptr", Type::Ptr),
    ("str", Type::Str),
    ("void", Type::Void),
];

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, ty)| ty == self).map_or("", |(name, _)| name);
        f.pad(name)
    }
}

impl Type {
    /// The type of this name.
    pub fn parse(name: &str) -> Result<Type, String> {
        let c_name = match name {
            "int" => Some("i32"),
            "unsigned" | "unsigned int" => Some("u32"),
            "long" | "ssize_t" => Some("i64"),
            "size_t" | "unsigned long" => Some("u64"),
            "char" => Some("i8"),
            "double" => Some("f64"),
            "float" => Some("f32"),
            "char*" | "char *" | "const char*" | "const char *" => Some("str"),
            _ if name.ends_with('*') => Some("ptr"),
            _ => None,
        };
        let found = NAMES.iter().find(|(known, _)| *known == name).map(|&(_, ty)| ty);
        found.ok_or_else(|| match c_name {
            Some(ours) => format!("the type {name:?} is written {ours} here"),
            None => {
                let all: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
                format!("there is no type {name:?}; the types are {}", all.join(", "))
            }
        })
    }

    /// The least and the greatest value of an integer type.
    fn range(self) -> Option<(i128, i128)> {
        Some(match self {
            Type::I8 => (i8::MIN.into(), i8::MAX.into()),
            Type::I16 => (i16::MIN.into(), i16::MAX.into()),
            Type::I32 => (i32::MIN.into(), i32::MAX.into()),
            Type::I64 => (i64::MIN.into(), i64::MAX.into()),
            Type::U8 => (0, u8::MAX.into()),
            Type::U16 => (0, u16::MAX.into()),
            Type::U32 => (0, u32::MAX.into()),
            Type::U64 | Type::Ptr => (0, u64::MAX.into()),
            Type::F32 | Type::F64 | Type::Str | Type::Void => return None,
        })
    }

    /// Reads a value of this type, as written on a command line.
    pub fn read(self, text: &str) -> Result<Value, String> {
        let not_a_number = || format!("{text:?} is not a number");
        let word = match self {
            Type::F32 => text.parse::<f32>().map_err(|_| not_a_number())?.to_bits().into(),
            Type::F64 => text.parse::<f64>().map_err(|_| not_a_number())?.to_bits(),
            Type::Void => return Err("an argument cannot be void".into()),
            Type::Str => {
                let held = CString::new(text).map_err(|_| format!("{text:?} has a NUL inside"))?;
                return Ok(Value { word: held.as_ptr().expose_provenance() as u64, _held: Some(held) });
            }
            Type::Ptr if text == "null" || text == "NULL" => 0,
            _ => {
                let number = whole_number(text).ok_or_else(not_a_number)?;
                let (least, most) = self.range().unwrap_or_default();
                if number < least || number > most {
                    return Err(format!("{text} does not fit into {self}, which goes from {least} to {most}"));
                }
                number as u64
            }
        };
        Ok(Value { word, _held: None })
    }

    /// Shows what a function of this result type left in the result register; nothing for `void`.
    ///
    /// # Safety
    /// For `str`, `word` is 0 or points to a C string.
    pub unsafe fn show(self, word: u64) -> Option<String> {
        Some(match self {
            Type::I8 => (word as i8).to_string(),
            Type::I16 => (word as i16).to_string(),
            Type::I32 => (word as i32).to_string(),
            Type::I64 => (word as i64).to_string(),
            Type::U8 => (word as u8).to_string(),
            Type::U16 => (word as u16).to_string(),
            Type::U32 => (word as u32).to_string(),
            Type::U64 => word.to_string(),
            Type::F32 => show_float(f32::from_bits(word as u32).into(), f32::from_bits(word as u32)),
            Type::F64 => show_float(f64::from_bits(word), f64::from_bits(word)),
            Type::Ptr => format!("{word:#x}"),
            Type::Str if word == 0 => "(null)".into(),
            Type::Str => {
                let text = std::ptr::with_exposed_provenance::<c_char>(word as usize);
                // SAFETY: the caller's promise.
                unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
            }
            Type::Void => return None,
        })
    }
}

/// A number as text, with an exponent if it would be long without one. `size` is the number, `text` shows it with the
/// precision of its type.
fn show_float(size: f64, text: impl fmt::Display + fmt::LowerExp) -> String {
    let plain = size == 0.0 || !size.is_finite() || (1e-5..1e17).contains(&size.abs());
    if plain { text.to_string() } else { format!("{text:e}") }
}

/// Reads an integer: decimal, or hexadecimal with `0x`; it may have a sign.
fn whole_number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?.into(),
        // No type has so many digits. The error shall say "does not fit", not "no number".
        None if digits.len() > 30 && digits.bytes().all(|b| b.is_ascii_digit()) => i128::MAX,
        None if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<i128>().ok()?,
        None => return None,
    };
    Some(if negative { -number } else { number })
}

/// The value of an argument: its bits in a register, and the string that they point to.
pub struct Value {
    /// The bits. The upper bytes of a narrow integer repeat its sign.
    pub word: u64,
    _held: Option<CString>,
}

/// The name and the types of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The symbol.
    pub name: String,
    /// The types of the arguments.
    pub parameters: Vec<Type>,
    /// The type of the result.
    pub result: Type,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<_> = self.parameters.iter().map(Type::to_string).collect();
        write!(f, "{}({}) -> {}", self.name, parameters.join(", "), self.result)
    }
}

impl Signature {
    /// Reads `name(type, …) -> type`; without the arrow the result is void.
    pub fn parse(text: &str) -> Result<Signature, String> {
        let wrong = |what: &str| {
            format!("the signature {text:?}: {what}\n       write it as 'cos(f64) -> f64' or 'zlibVersion() -> str'")
        };
        let (name, rest) = text.split_once('(').ok_or_else(|| wrong("there is no '(' after the name"))?;
        let (inside, behind) = rest.split_once(')').ok_or_else(|| wrong("there is no ')' after the types"))?;
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong("one name must stand before the '('"));
        }
        let result = match behind.trim() {
            "" => "void",
            behind => behind.strip_prefix("->").ok_or_else(|| wrong("only '-> type' may follow the ')'"))?.trim(),
        };
        let result = Type::parse(result).map_err(|e| wrong(&e))?;
        let types = inside.split(',').map(str::trim);
        let parameters = if inside.trim().is_empty() {
            Vec::new()
        } else {
            types.map(|ty| Type::parse(ty).map_err(|e| wrong(&e))).collect::<Result<_, _>>()?
        };
        if parameters.contains(&Type::Void) {
            return Err(wrong("an argument cannot be void; a function without arguments has nothing between ( and )"));
        }
        Ok(Signature { name: name.into(), parameters, result })
    }

    /// Reads one value for each parameter.
    pub fn values(&self, texts: &[impl AsRef<str>]) -> Result<Vec<Value>, String> {
        if texts.len() != self.parameters.len() {
            let takes = count(self.parameters.len() as u64, "argument");
            return Err(format!("{self} takes {takes}, not {}", texts.len()));
        }
        let read = |(at, (ty, text)): (usize, (&Type, &_))| {
            ty.read(AsRef::<str>::as_ref(text)).map_err(|e| format!("argument {} of {self}: {e}", at + 1))
        };
        self.parameters.iter().zip(texts).enumerate().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_read_and_shown_again() {
        for text in ["cos(f64) -> f64", "f(i8, u64, ptr, str) -> void", "zlibVersion() -> str"] {
            assert_eq!(Signature::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Signature::parse(" f ( i32 ,i32 ) ").unwrap().to_string(), "f(i32, i32) -> void");
    }

    #[test]
    fn a_wrong_signature_is_refused_with_the_reason() {
        for (text, reason) in [
            ("cos", "no '('"),
            ("cos(f64", "no ')'"),
            ("(f64) -> f64", "one name"),
            ("cos(f64) f64", "'-> type'"),
            ("cos(double) -> f64", "written f64 here"),
            ("cos(f65) -> f64", "the types are i8"),
            ("f(void) -> i32", "cannot be void"),
        ] {
            let refusal = Signature::parse(text).unwrap_err();
            assert!(refusal.contains(reason), "{text}: {refusal}");
        }
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal_and_must_fit() {
        assert_eq!(Type::I8.read("-0x80").unwrap().word as u8, 0x80);
        assert_eq!(Type::U64.read("0xffffffffffffffff").unwrap().word, u64::MAX);
        for (ty, text) in [
            (Type::I8, "128"),
            (Type::U8, "-1"),
            (Type::U64, "18446744073709551616"),
            (Type::I32, "x"),
            (Type::I32, ""),
            (Type::I32, "--1"),
        ] {
            assert!(ty.read(text).is_err(), "{ty} {text}");
        }
    }

    #[test]
    fn results_are_shown_by_their_type() {
        let show = |ty: Type, word| {
            // SAFETY: no `str` but null.
            unsafe { ty.show(word) }
        };
        assert_eq!(show(Type::F64, 1f64.to_bits()).as_deref(), Some("1"));
        assert_eq!(show(Type::F32, 0.1f32.to_bits().into()).as_deref(), Some("0.1"));
        assert_eq!(show(Type::F64, 1e300f64.to_bits()).as_deref(), Some("1e300"));
        assert_eq!(show(Type::I8, 0xff).as_deref(), Some("-1"));
        assert_eq!(show(Type::Str, 0).as_deref(), Some("(null)"));
        assert_eq!(show(Type::Void, 7), None);
    }
}
