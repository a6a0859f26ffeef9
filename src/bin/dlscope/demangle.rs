//! Demangling: symbol names of C++ and Rust as they stand in the source.

use cpp_demangle::{DemangleOptions, Symbol};

/// A symbol's name for people; `None` if it is a plain C name.
pub fn demangled(name: &str) -> Option<String> {
    rust(name).or_else(|| cpp(name, DemangleOptions::new()))
}

/// The demangled name without the parameters (C++) or the hash (Rust): the part that two declarations of one function
/// share. An ABI tag, as in `name[abi:cxx11]`, is not in the source, either.
pub fn bare(name: &str) -> Option<String> {
    rust(name).or_else(|| cpp(name, DemangleOptions::new().no_params().no_return_type()).map(without_tags))
}

fn without_tags(mut source: String) -> String {
    while let Some(start) = source.find("[abi:") {
        let end = source[start..].find(']').map_or(source.len(), |length| start + length + 1);
        source.replace_range(start..end, "");
    }
    source
}

/// Whether a function of C++ has to do with the newer `std::string` of libstdc++: in its parameters, or in its ABI tag.
pub fn is_of_cxx11(name: &str) -> bool {
    name.contains("__cxx11") || name.contains("B5cxx11")
}

/// The demangled name, or the name itself if it is a plain C name.
pub fn in_source(name: &str) -> String {
    demangled(name).unwrap_or_else(|| name.into())
}

/// The demangled name with the symbol's name in parentheses, or just the name if it is a plain C name.
pub fn explained(name: &str) -> String {
    demangled(name).map_or_else(|| name.into(), |source| format!("{source} ({name})"))
}

/// Whether a Rust compiler mangled this name.
pub fn is_rust(name: &str) -> bool {
    rust(name).is_some()
}

/// The longest word of a mangled name. All functions of that name have it in their mangled names, whatever their
/// parameters, so a search for it finds candidates without demangling.
pub fn stem(name: &str) -> Option<&str> {
    if name.starts_with("_R") {
        // Rust's v0 mangling may put numbers between the words.
        return Some("_R");
    }
    let is_hash = |word: &str| word.len() == 17 && word.starts_with('h') && is_rust(name);
    let mut best: Option<&str> = None;
    let mut at = 0;
    while let Some(start) = name[at..].find(|c: char| c.is_ascii_digit()).map(|offset| at + offset) {
        let digits = name[start..].chars().take_while(char::is_ascii_digit).count();
        let end = start + digits;
        let length = name[start..end].parse().unwrap_or(0);
        let word = name.get(end..end + length).filter(|_| length > 0 && length < name.len());
        at = word.map_or(end, |word| end + word.len());
        // An ABI tag stands behind a `B`.
        let is_tag = name[..start].ends_with('B');
        best = word.filter(|w| !is_tag && !is_hash(w) && best.is_none_or(|best| w.len() > best.len())).or(best);
        // The words of the parameters follow.
        if word.is_some() && !name.starts_with("_ZN") && !name.starts_with("_ZTIN") {
            break;
        }
        if name[at..].starts_with('E') {
            break;
        }
    }
    best
}

fn rust(name: &str) -> Option<String> {
    // A name of Rust's legacy mangling is also a valid C++ name; its last part is a hash.
    let is_rust = name.starts_with("_R") || (name.starts_with("_ZN") && name.contains("17h") && name.ends_with('E'));
    let source = rustc_demangle::try_demangle(name).ok().filter(|_| is_rust)?;
    Some(format!("{source:#}"))
}

fn cpp(name: &str, options: DemangleOptions) -> Option<String> {
    if !name.starts_with("_Z") {
        return None;
    }
    let source = Symbol::new(name).ok()?.demangle_with_options(&options).ok()?;
    // The template's full name would hide everything else.
    let string = "basic_string<char, std::char_traits<char>, std::allocator<char> >";
    Some(source.replace(string, "string"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_languages_are_read_and_others_left_alone() {
        assert_eq!(demangled("_ZN3geo4areaEi").as_deref(), Some("geo::area(int)"));
        assert_eq!(bare("_ZN3geo4areaEi").as_deref(), Some("geo::area"));
        assert_eq!(bare("_Z4areai").as_deref(), Some("area"));
        assert_eq!(demangled("_ZN4core3fmt5write17h0123456789abcdefE").as_deref(), Some("core::fmt::write"));
        assert_eq!(demangled("_RNvC6_123foo3bar").as_deref(), Some("123foo::bar"));
        assert_eq!(demangled("malloc"), None);
        assert_eq!(bare("_ZN3geo4nameB5cxx11Ei").as_deref(), Some("geo::name"));
    }

    #[test]
    fn the_stem_is_a_word_of_the_name_and_not_of_its_parameters() {
        assert_eq!(stem("_ZN3geo7surfaceERKNSt7__cxx1112basic_stringE"), Some("surface"));
        assert_eq!(stem("_Z4areaRK9Rectangle"), Some("area"));
        assert_eq!(stem("_ZN3geo4area17h0123456789abcdefE"), Some("area"));
        assert_eq!(stem("_ZN3geo4nameB5cxx11Ei"), Some("name"));
        assert_eq!(stem("malloc"), None);
    }
}
