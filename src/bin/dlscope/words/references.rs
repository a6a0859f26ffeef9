//! Where to read on about each kind of event: the standard, the other loaders' code, the chapter in `docs/`.

use dlscope::event::{Asked, Kind, ProtectReason, Purpose, Rule, Stage};

use super::Reference;

/// Where to read on about an event of this kind, at this stage.
pub fn reference(kind: &Kind, stage: Stage) -> Reference {
    let (spec, glibc, musl, chapter) = match kind {
        Kind::Begin { request: Asked::Exit, .. } => {
            ("exit(3)", "_dl_fini", "__libc_exit_fini", "docs/chapters/close.md#at-the-end-of-the-process")
        }
        Kind::Begin { .. } | Kind::End { .. } => request(stage),
        Kind::Fault { .. } => ("ldd(1)", "_dl_signal_error", "error", "docs/why.md#how-it-works"),

        // 1 find
        Kind::Known { .. } => {
            (DEPENDENCIES, "_dl_map_object", "load_library", "docs/chapters/01-find.md#one-file-many-names")
        }
        Kind::Search { .. } => ("ld.so(8)", "_dl_map_object", "load_library", RULES),
        Kind::Rule { rule, .. } => match rule {
            Rule::Rpath(_) | Rule::Runpath(_) => (DEPENDENCIES, "decompose_rpath", "fixup_rpath", RULES),
            Rule::Cache => ("ldconfig(8)", "_dl_load_cache_lookup", "", CACHE),
            Rule::LdLibraryPath => ("ld.so(8)", "_dl_init_paths", "load_library", RULES),
            Rule::Path | Rule::SearchDir | Rule::Default => ("ld.so(8)", "_dl_map_object", "load_library", RULES),
        },
        Kind::Try { .. } => ("ld.so(8)", "open_path", "path_open", "docs/chapters/01-find.md#trying-paths"),
        Kind::Open { .. } => ("openat(2)", "open_verify", "path_open", "docs/chapters/01-find.md#trying-paths"),
        Kind::Stat { .. } => {
            ("fstat(2)", "_dl_map_object_from_fd", "load_library", "docs/chapters/01-find.md#one-file-many-names")
        }
        Kind::MemoryFile { .. } => ("memfd_create(2)", "", "", "docs/chapters/01-find.md#a-library-that-is-only-bytes"),
        Kind::View { .. } => ("ldconfig(8)", "_dl_load_cache_lookup", "", CACHE),
        Kind::CloseFile { .. } if stage == Stage::Find => ("ldconfig(8)", "_dl_load_cache_lookup", "", CACHE),
        Kind::CloseFile { .. } => ("close(2)", "_dl_map_object_from_fd", "load_library", FILE_PAGES),

        // 2 read, 3 plan
        Kind::Read { .. } => ("pread(2)", "open_verify", "map_library", "docs/chapters/02-read.md#one-read"),
        Kind::Header { .. } => {
            ("gABI \"ELF Header\"", "open_verify", "map_library", "docs/chapters/02-read.md#the-file-header")
        }
        Kind::ProgramHeader { .. } => (
            "gABI \"Program Header\"",
            "_dl_map_object_from_fd",
            "map_library",
            "docs/chapters/02-read.md#the-program-headers",
        ),
        Kind::Planned { .. } => (
            "gABI \"Program Loading\"",
            "_dl_map_object_from_fd",
            "map_library",
            "docs/chapters/03-plan.md#from-pt_load-to-steps",
        ),

        // 4 map
        Kind::Reserve { .. } => ("mmap(2)", "_dl_map_segment", "map_library", RESERVATION),
        Kind::MapWhole { .. } => ("mmap(2)", "_dl_map_segments", "map_library", RESERVATION),
        Kind::Populate { .. } => ("madvise(2)", "", "", "docs/chapters/08-relocate.md#the-store"),
        Kind::Unmap { .. } if stage == Stage::Map => ("munmap(2)", "_dl_map_segment", "", RESERVATION),
        Kind::Placed { .. } => {
            ("gABI \"Base Address\"", "_dl_map_segments", "map_library", "docs/chapters/04-map.md#the-load-bias")
        }
        Kind::Map { .. } => ("gABI \"Program Loading\"", "_dl_map_segments", "map_library", FILE_PAGES),
        Kind::MapZero { .. } | Kind::Zero { .. } => {
            ("gABI \"Program Header\"", "_dl_map_segments", "map_library", ZEROS)
        }
        Kind::Protect { reason, .. } => match reason {
            ProtectReason::Plan => ("gABI \"Segment Permissions\"", "_dl_map_segments", "map_library", ZEROS),
            ProtectReason::TextOpen | ProtectReason::TextShut => (
                "gABI \"Dynamic Section\"",
                "_dl_relocate_object",
                "map_library",
                "docs/chapters/08-relocate.md#text-relocations",
            ),
            ProtectReason::Relro => {
                ("LSB \"Program Header\"", "_dl_protect_relro", "reloc_all", "docs/chapters/09-seal.md#which-pages")
            }
            ProtectReason::Abandoned => ("munmap(2)", "", "", UNMAPPING),
        },

        // 5 dynamic, 6 needed, 7 versions
        Kind::DynamicEntry { .. } => (
            "gABI \"Dynamic Section\"",
            "elf_get_dynamic_info",
            "decode_dyn",
            "docs/chapters/05-dynamic.md#the-entries",
        ),
        Kind::Tables { .. } => (
            "gABI \"Dynamic Section\"",
            "_dl_setup_hash",
            "decode_dyn",
            "docs/chapters/05-dynamic.md#the-tables-checked",
        ),
        Kind::Needed { .. } => {
            (DEPENDENCIES, "_dl_map_object_deps", "load_deps", "docs/chapters/06-needed.md#breadth-first")
        }
        Kind::Version { .. } => (
            "LSB \"Startup Sequence\"",
            "_dl_check_map_versions",
            "",
            "docs/chapters/07-versions.md#needs-and-definitions",
        ),

        // 8 relocate
        Kind::Scope { .. } => {
            (DEPENDENCIES, "_dl_map_object_deps", "add_syms", "docs/chapters/08-relocate.md#the-scope")
        }
        Kind::Pass { .. } | Kind::Relocated { .. } => {
            (RELOCATION_TYPES, "_dl_relocate_object", "reloc_all", "docs/chapters/08-relocate.md#two-passes")
        }
        Kind::Lookup { .. } => {
            ("gABI \"Hash Table\"", "do_lookup_x", "find_sym2", "docs/chapters/lookup.md#bloom-bucket-chain")
        }
        Kind::Relocation { table, kind, .. } => relocation(table, kind),
        Kind::Deferred { .. } => (RELOCATION_TYPES, "elf_dynamic_do_Rela", "", IFUNCS),
        Kind::Store { .. } if stage == Stage::Bind => (PLT, "elf_machine_fixup_plt", "", FIRST_CALL),
        Kind::Store { .. } => {
            (RELOCATION_TYPES, "elf_machine_rela", "do_relocs", "docs/chapters/08-relocate.md#the-store")
        }

        // lazy binding
        Kind::LazyGot { .. } => (PLT, "elf_machine_runtime_setup", "", "docs/chapters/bind.md#the-way-into-the-loader"),
        Kind::LeftForCall { .. } => (PLT, "elf_machine_lazy_rel", "", "docs/chapters/bind.md#slots-left-for-later"),
        Kind::FirstCall { .. } => (PLT, "_dl_fixup", "", FIRST_CALL),

        // thread-local storage
        Kind::StaticTls { .. } => (TLS, "_dl_try_allocate_static_tls", "", "docs/tls.md#initial-exec-the-arena"),
        Kind::InstallTls { .. } => (TLS, "_dl_init_static_tls", "", "docs/tls.md#initial-exec-the-arena"),

        // 10 publish, 11 init
        Kind::Publish { .. } => {
            ("dlopen(3)", "update_scopes", "dlopen", "docs/chapters/10-publish.md#the-point-of-no-return")
        }
        Kind::RegisterFrames { .. } => (
            "LSB \"Exception Frames\"",
            "_dl_find_object_update",
            "dl_iterate_phdr",
            "docs/chapters/10-publish.md#the-unwinder",
        ),
        Kind::Order { .. } => (INIT, "_dl_sort_maps", "queue_ctors", "docs/chapters/11-init.md#the-order"),
        Kind::Call { purpose, .. } => match purpose {
            Purpose::Init | Purpose::InitArray(_) => foreign_code(Stage::Init),
            Purpose::Fini | Purpose::FiniArray(_) => foreign_code(Stage::Close),
            Purpose::Resolver => foreign_code(Stage::Relocate),
        },
        Kind::Return { .. } | Kind::Changed { .. } => foreign_code(stage),

        // close
        Kind::Release { .. } => ("dlclose(3)", "_dl_close", "dlclose", "docs/chapters/close.md#counting-uses"),
        Kind::Unneeded { .. } => ("dlclose(3)", "_dl_close_worker", "", "docs/chapters/close.md#who-may-go"),
        Kind::Unmap { .. } => ("munmap(2)", "_dl_unmap_segments", "unmap_library", UNMAPPING),

        // host
        Kind::Host { .. } => ("gABI \"Dynamic Section\"", "_dl_debug_initialize", "_dl_debug_addr", WAY_IN),
        Kind::Adopt { .. } => {
            ("dl_iterate_phdr(3)", "dl_main", "__dls3", "docs/chapters/host.md#what-is-taken-from-it")
        }
    };
    Reference { spec, glibc, musl, chapter }
}

type Parts = (&'static str, &'static str, &'static str, &'static str);

const DEPENDENCIES: &str = "gABI \"Shared Object Dependencies\"";
const RELOCATION_TYPES: &str = "psABI \"Relocation Types\"";
const PLT: &str = "psABI \"Procedure Linkage Table\"";
const INIT: &str = "gABI \"Initialization and Termination Functions\"";
const TLS: &str = "\"ELF Handling For Thread-Local Storage\"";

const RULES: &str = "docs/chapters/01-find.md#the-rules-in-their-order";
const CACHE: &str = "docs/chapters/01-find.md#the-cache";
const RESERVATION: &str = "docs/chapters/04-map.md#the-reservation";
const FILE_PAGES: &str = "docs/chapters/04-map.md#pages-of-the-file";
const ZEROS: &str = "docs/chapters/04-map.md#zeros-that-are-not-in-the-file";
const IFUNCS: &str = "docs/chapters/08-relocate.md#ifuncs-wait";
const FIRST_CALL: &str = "docs/chapters/bind.md#the-first-call";
const UNMAPPING: &str = "docs/chapters/close.md#unmapping";
const WAY_IN: &str = "docs/chapters/host.md#the-way-in";

/// The frame of a request: who was asked for what.
fn request(stage: Stage) -> Parts {
    let chapter = "docs/chapters/README.md#a-request";
    match stage {
        Stage::Lookup => ("dlsym(3)", "_dl_sym", "do_dlsym", chapter),
        Stage::Close => ("dlclose(3)", "_dl_close", "dlclose", chapter),
        Stage::Bind => (PLT, "_dl_fixup", "", chapter),
        _ => ("dlopen(3)", "_dl_open", "dlopen", chapter),
    }
}

/// A relocation, by its type. musl has no IFUNCs, and knows fewer types.
fn relocation(table: &str, kind: &str) -> Parts {
    if table == "DT_RELR" {
        let chapter = "docs/chapters/08-relocate.md#relr-packs-them";
        return (
            "generic-abi \"Proposal for a new section type SHT_RELR\"",
            "ELF_DYNAMIC_DO_RELR",
            "do_relr_relocs",
            chapter,
        );
    }
    let formula = "docs/chapters/08-relocate.md#the-formula";
    match kind {
        "R_X86_64_RELATIVE" => (RELOCATION_TYPES, "elf_machine_rela_relative", "do_relocs", formula),
        "R_X86_64_DTPMOD64" | "R_X86_64_DTPOFF64" => {
            (TLS, "elf_machine_rela", "do_relocs", "docs/tls.md#dynamic-blocks")
        }
        "R_X86_64_TPOFF64" => (TLS, "elf_machine_rela", "do_relocs", "docs/tls.md#initial-exec-the-arena"),
        "R_X86_64_TLSDESC" => (TLS, "elf_machine_rela", "do_relocs", "docs/tls.md#descriptors"),
        "R_X86_64_IRELATIVE" => (RELOCATION_TYPES, "elf_machine_rela", "", IFUNCS),
        "R_X86_64_32" | "R_X86_64_RELATIVE64" | "R_X86_64_SIZE32" | "R_X86_64_SIZE64" => {
            (RELOCATION_TYPES, "elf_machine_rela", "", formula)
        }
        _ => (RELOCATION_TYPES, "elf_machine_rela", "do_relocs", formula),
    }
}

/// A call of the library's code, what it returned, and what it changed.
fn foreign_code(stage: Stage) -> Parts {
    match stage {
        Stage::Init => (INIT, "call_init", "do_init_fini", "docs/chapters/11-init.md#the-calls"),
        Stage::Close => (INIT, "_dl_call_fini", "__libc_exit_fini", "docs/chapters/close.md#destructors"),
        _ => (RELOCATION_TYPES, "elf_ifunc_invoke", "", IFUNCS),
    }
}
