//! Undefined symbols whose names say where they come from: a sanitizer, a compiler's own library, a class.

use serde::Serialize;

use crate::demangle::demangled;

/// What the name of a symbol says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// A sanitizer's runtime: the option of the compiler, and the runtime's file.
    Sanitizer { option: &'static str, runtime: &'static str },
    /// The tables for virtual calls or for type information of a class.
    Class { class: String, table: ClassTable },
    /// Functions that headers of glibc 2.38 and newer put in the place of others.
    NewerHeaders,
    /// Arithmetic that clang leaves to its compiler-rt.
    CompilerRt,
    /// Counting which lines run.
    Coverage(&'static str),
    /// Parallel loops: the option of the compiler, and the library.
    OpenMp { library: &'static str },
    /// The interface of a program for its plugins.
    Plugin { program: &'static str },
    /// The C library of Android, or musl.
    OtherLibc(&'static str),
}

/// A table that a compiler makes for a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassTable {
    Vtable,
    Typeinfo,
    Vtt,
}

/// Beginnings of the names that belong to the runtimes of sanitizers.
const SANITIZERS: [(&str, &str, &str); 10] = [
    ("__asan_", "address", "libasan.so"),
    ("__lsan_", "leak", "liblsan.so"),
    ("__hwasan_", "hwaddress", "libhwasan.so"),
    ("__tsan_", "thread", "libtsan.so"),
    ("__ubsan_", "undefined", "libubsan.so"),
    ("__msan_", "memory", ""),
    ("__dfsan_", "dataflow", ""),
    ("__cfi_", "cfi", ""),
    ("__sanitizer_cov_", "fuzzer", ""),
    ("__sanitizer_", "address", "libasan.so"),
];

/// Beginnings of the names that programs define for their plugins.
const PLUGINS: [(&str, &str); 12] = [
    ("Py", "python3"),
    ("_Py", "python3"),
    ("napi_", "node"),
    ("node_api_", "node"),
    ("_ZN2v8", "node"),
    ("_ZN4node", "node"),
    ("ngx_", "nginx"),
    ("ap_hook_", "apache2"),
    ("Perl_", "perl"),
    ("zend_", "php"),
    ("SPI_", "postgres"),
    ("pg_detoast_", "postgres"),
];

/// Functions of PostgreSQL that nearly every extension calls.
const POSTGRES: [&str; 7] =
    ["palloc", "pfree", "errstart", "errfinish", "ereport", "CurrentMemoryContext", "text_to_cstring"];

/// Functions of compiler-rt that libgcc_s lacks.
const COMPILER_RT: [&str; 7] =
    ["__muloti4", "__mulosi4", "__mulodi4", "__cpu_indicator_init", "__cpu_model", "__extendhfsf2", "__truncsfhf2"];

impl Family {
    /// The family of a symbol.
    pub fn of(name: &str) -> Option<Family> {
        if let Some((_, option, runtime)) = SANITIZERS.into_iter().find(|(start, ..)| name.starts_with(start)) {
            return Some(Family::Sanitizer { option, runtime });
        }
        let starts = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        if starts(&["__isoc23_"]) {
            return Some(Family::NewerHeaders);
        }
        if COMPILER_RT.contains(&name) {
            return Some(Family::CompilerRt);
        }
        if starts(&["__gcov_"]) {
            return Some(Family::Coverage("--coverage"));
        }
        if starts(&["__llvm_profile_", "__llvm_gcov_", "llvm_gcda_", "llvm_gcov_"]) {
            return Some(Family::Coverage("-fprofile-instr-generate"));
        }
        if starts(&["__kmpc_"]) {
            return Some(Family::OpenMp { library: "libomp" });
        }
        if starts(&["GOMP_"]) {
            return Some(Family::OpenMp { library: "libgomp" });
        }
        if let Some((_, program)) = PLUGINS.into_iter().find(|(start, _)| name.starts_with(start)) {
            return Some(Family::Plugin { program });
        }
        if POSTGRES.contains(&name) {
            return Some(Family::Plugin { program: "postgres" });
        }
        if starts(&["__android_log_", "__system_property_"]) || ["__sF", "__errno"].contains(&name) {
            return Some(Family::OtherLibc("Android"));
        }
        let tables = [("_ZTV", ClassTable::Vtable), ("_ZTI", ClassTable::Typeinfo), ("_ZTS", ClassTable::Typeinfo)];
        let (_, table) =
            tables.into_iter().chain([("_ZTT", ClassTable::Vtt)]).find(|(start, _)| name.starts_with(start))?;
        let source = demangled(name)?;
        let class = ["vtable for ", "typeinfo for ", "typeinfo name for ", "VTT for ", "{vtable(", "{typeinfo("];
        let class = class.iter().find_map(|start| source.strip_prefix(start)).unwrap_or(&source);
        Some(Family::Class { class: class.trim_end_matches([')', '}']).into(), table })
    }

    /// Whether a runtime of the compiler defines the symbol, which is linked by an option and not by its name.
    pub fn is_runtime(&self) -> bool {
        matches!(
            self,
            Family::Sanitizer { .. }
                | Family::Coverage(_)
                | Family::CompilerRt
                | Family::NewerHeaders
                | Family::Plugin { .. }
        )
    }

    /// What the symbol means, in a line.
    pub fn told(&self) -> String {
        match self {
            Family::Sanitizer { option, .. } => format!("part of the runtime of -fsanitize={option}"),
            Family::Class { class, table: ClassTable::Vtable } => {
                format!(
                    "the table of {class}'s virtual functions, which comes with the first of them that is not inline"
                )
            }
            Family::Class { class, .. } => {
                format!(
                    "the type information of {class}, which comes with its first virtual function that is not inline"
                )
            }
            Family::NewerHeaders => {
                "a function of glibc 2.38, which its headers put in the place of an older one".into()
            }
            Family::CompilerRt => "a function of clang's compiler-rt, which libgcc_s lacks".into(),
            Family::Coverage(option) => format!("part of the runtime that counts which code runs ({option})"),
            Family::OpenMp { library } => format!("a function of {library}, the runtime of OpenMP"),
            Family::Plugin { program } => format!("part of what {program} defines for its plugins"),
            Family::OtherLibc(system) => format!("a function of the C library of {system}"),
        }
    }

    /// What would help.
    pub fn cure(&self, user: &str, file: &str) -> String {
        match self {
            Family::Sanitizer { option, runtime: "" } => format!(
                "{user} was compiled with -fsanitize={option}, whose runtime is linked into the program: compile the program \
                 with -fsanitize={option}, too (clang), or {user} without it."
            ),
            Family::Sanitizer { option, runtime } => format!(
                "{user} was compiled with -fsanitize={option}, whose runtime must be in the program from its start: compile the \
                 program with -fsanitize={option}, too, or start it with LD_PRELOAD=$(gcc -print-file-name={runtime}); or \
                 compile {user} without that option."
            ),
            Family::Class { class, table } => {
                let rtti = match table {
                    ClassTable::Typeinfo => {
                        " If the virtual functions of the class are there, they were compiled with -fno-rtti: compile all with \
                         the same option."
                    }
                    _ => "",
                };
                format!(
                    "Define the first virtual function of {class} that is neither inline nor pure (its key function), and link \
                     the file that does into {user}: the compiler emits the tables of a class there and nowhere else. A class \
                     without such a function has them wherever it is used.{rtti}"
                )
            }
            Family::NewerHeaders => format!(
                "{user} was compiled with the headers of glibc 2.38 or newer, and this system's glibc is older: compile it here, \
                 or with -std=c17 and without _GNU_SOURCE, or run it on a newer system."
            ),
            Family::CompilerRt => format!(
                "Link {user} by clang with --rtlib=compiler-rt, or compile it without what needs the function \
                 (-fsanitize=signed-integer-overflow and 128-bit multiplication that checks for overflow)."
            ),
            Family::Coverage(option) => {
                format!("Link {user} with {option}, as it was compiled, or compile it without that option.")
            }
            Family::OpenMp { library } => format!(
                "Link {user} with -fopenmp, as it was compiled; {library} is the library. The file itself can be told to need \
                 it: patchelf --add-needed '{}' {file}.",
                if *library == "libomp" { "libomp.so.5" } else { "libgomp.so.1" }
            ),
            Family::Plugin { program } => format!(
                "{user} is a plugin of {program}, which defines these symbols itself: load it there. Whether anything else is \
                 missing, dlscope why --host {program} {file} tells. In a program that embeds {program}, that program links \
                 with its library."
            ),
            Family::OtherLibc(system) => format!("{user} was built for {system}: build it for this system."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_where_they_come_from() {
        assert!(matches!(Family::of("__asan_report_load4"), Some(Family::Sanitizer { option: "address", .. })));
        assert_eq!(Family::of("__isoc23_strtol"), Some(Family::NewerHeaders));
        let Some(Family::Class { class, table }) = Family::of("_ZTIN3geo5ShapeE") else { panic!() };
        assert_eq!((class.as_str(), table), ("geo::Shape", ClassTable::Typeinfo));
        let Some(Family::Class { class, table }) = Family::of("_ZTV1A") else { panic!() };
        assert_eq!((class.as_str(), table), ("A", ClassTable::Vtable));
        assert_eq!(Family::of("malloc"), None);
    }
}
