//! Which of the libraries that define a missing symbol is meant: an order, the likeliest first.

use super::machine::Provider;
use crate::demangle::stem;

/// The libraries that come with the compiler and the C library. What they define, they are meant to define.
const USUAL: [&str; 12] = [
    "libc",
    "libm",
    "libstdc++",
    "libgcc_s",
    "libcrypt",
    "libpthread",
    "libdl",
    "librt",
    "libresolv",
    "libutil",
    "libatomic",
    "libgomp",
];

/// The runtimes of sanitizers. They define functions of many other libraries, in order to watch their calls.
const SANITIZERS: [&str; 7] = ["libasan", "libtsan", "liblsan", "libhwasan", "libubsan", "libmsan", "libmemprof"];

/// Functions that each library of a kind defines for the program that opens it. No other library is meant to use them.
const ENTRY_POINTS: [&str; 2] = ["JNI_OnLoad", "JNI_OnUnload"];

/// Whether a library with this soname stands in front of others, or belongs to the loader itself, so that no other
/// library is meant to need it.
pub fn is_never_meant(soname: &str) -> bool {
    let stem = without_number(soname);
    SANITIZERS.contains(&stem) || stem.starts_with("libclang_rt.") || soname.starts_with("ld-")
}

/// Drops the libraries that cannot be meant, and puts the likeliest first: the usual one, then one beside the user's own
/// library, then one whose name fits, then the smallest.
pub fn order(symbol: &str, providers: &mut Vec<Provider>) {
    if ENTRY_POINTS.contains(&symbol) {
        providers.clear();
    }
    providers.sort_by_key(|provider| {
        let library = without_number(&provider.soname);
        let usual = USUAL.iter().position(|usual| *usual == library).unwrap_or(USUAL.len());
        (usual, provider.of_system, misfit(symbol, library), provider.exports, provider.soname.clone())
    });
}

/// The name of a library up to `.so`.
fn without_number(soname: &str) -> &str {
    soname.split(".so").next().unwrap_or(soname)
}

/// How badly the name of a library fits to a symbol, from 0 for well: `libreadline` to `readline`, `libpng16` to
/// `png_read_info`.
fn misfit(symbol: &str, library: &str) -> u8 {
    let library = library.strip_prefix("lib").unwrap_or(library).to_ascii_lowercase();
    let bare = library.trim_end_matches(|c: char| c.is_ascii_digit() || ".-_".contains(c));
    // The first word of a mangled name is a namespace or a class.
    let symbol = if symbol.starts_with("_Z") { first_word(symbol) } else { symbol.trim_start_matches('_') };
    let symbol = symbol.to_ascii_lowercase();
    let word = symbol.split('_').next().unwrap_or_default();
    match () {
        () if !bare.is_empty() && (symbol == bare || word == bare) => 0,
        () if !bare.is_empty() && symbol.starts_with(bare) => 1,
        () if word.len() > 1 && library.starts_with(word) => 2,
        () => 3,
    }
}

fn first_word(mangled: &str) -> &str {
    let digits = mangled.find(|c: char| c.is_ascii_digit()).unwrap_or(mangled.len());
    let rest = mangled[digits..].trim_start_matches(|c: char| c.is_ascii_digit());
    let length = mangled[digits..mangled.len() - rest.len()].parse().unwrap_or(0);
    rest.get(..length).or_else(|| stem(mangled)).unwrap_or(mangled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(symbol: &str, libraries: &[(&str, usize)]) -> Vec<String> {
        let provider = |(soname, exports): &(&str, usize)| Provider {
            soname: (*soname).into(),
            path: soname.into(),
            version: None,
            of_system: true,
            exports: *exports,
        };
        let mut providers: Vec<_> = libraries.iter().map(provider).collect();
        order(symbol, &mut providers);
        providers.into_iter().map(|provider| provider.soname).collect()
    }

    #[test]
    fn the_usual_library_comes_first_and_then_the_one_whose_name_fits() {
        let first = |symbol, libraries: &[(&str, usize)]| ordered(symbol, libraries).into_iter().next();
        assert_eq!(first("crypt", &[("liba.so.1", 1), ("libcrypt.so.1", 20)]).as_deref(), Some("libcrypt.so.1"));
        assert_eq!(first("_Znwm", &[("libc++.so.1", 9), ("libstdc++.so.6", 99)]).as_deref(), Some("libstdc++.so.6"));
        let readline = [("libedit.so.2", 300), ("libreadline.so.8", 800)];
        assert_eq!(first("readline", &readline).as_deref(), Some("libreadline.so.8"));
        let lua = [("liblua5.4-c++.so.0", 159), ("liblua5.4.so.0", 159)];
        assert_eq!(first("lua_pushnil", &lua).as_deref(), Some("liblua5.4.so.0"));
        let boost = [("libother.so.1", 2), ("libboost_system.so.1", 90)];
        assert_eq!(first("_ZN5boost6system3getEv", &boost).as_deref(), Some("libboost_system.so.1"));
        assert_eq!(first("some_function", &[("liba.so.1", 90), ("libb.so.1", 9)]).as_deref(), Some("libb.so.1"));
        assert_eq!(first("JNI_OnLoad", &[("libmpi_java.so.40", 9)]), None);
    }

    #[test]
    fn runtimes_of_sanitizers_and_the_loader_are_never_meant() {
        for soname in ["libasan.so.8", "libtsan.so.2", "libclang_rt.asan-x86_64.so", "ld-musl-x86_64.so.1"] {
            assert!(is_never_meant(soname), "{soname}");
        }
        assert!(!is_never_meant("libasantool.so.1"));
    }
}
