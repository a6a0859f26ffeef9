//! The name of each kind of event, and its system call as `strace` prints it.

use super::*;

impl Kind {
    /// The kind's name, as in the JSON field `event`.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Begin { .. } => "begin",
            Kind::End { .. } => "end",
            Kind::Fault { .. } => "fault",
            Kind::Known { .. } => "known",
            Kind::Search { .. } => "search",
            Kind::Rule { .. } => "rule",
            Kind::Try { .. } => "try",
            Kind::Open { .. } => "open",
            Kind::Stat { .. } => "stat",
            Kind::MemoryFile { .. } => "memory_file",
            Kind::View { .. } => "view",
            Kind::CloseFile { .. } => "close_file",
            Kind::Read { .. } => "read",
            Kind::Header { .. } => "header",
            Kind::ProgramHeader { .. } => "program_header",
            Kind::Planned { .. } => "planned",
            Kind::Reserve { .. } => "reserve",
            Kind::MapWhole { .. } => "map_whole",
            Kind::Placed { .. } => "placed",
            Kind::Map { .. } => "map",
            Kind::MapZero { .. } => "map_zero",
            Kind::Zero { .. } => "zero",
            Kind::Populate { .. } => "populate",
            Kind::Protect { .. } => "protect",
            Kind::DynamicEntry { .. } => "dynamic_entry",
            Kind::Tables { .. } => "tables",
            Kind::Needed { .. } => "needed",
            Kind::Version { .. } => "version",
            Kind::Scope { .. } => "scope",
            Kind::Pass { .. } => "pass",
            Kind::Lookup { .. } => "lookup",
            Kind::Relocation { .. } => "relocation",
            Kind::Deferred { .. } => "deferred",
            Kind::LazyGot { .. } => "lazy_got",
            Kind::LeftForCall { .. } => "left_for_call",
            Kind::FirstCall { .. } => "first_call",
            Kind::Relocated { .. } => "relocated",
            Kind::Store { .. } => "store",
            Kind::StaticTls { .. } => "static_tls",
            Kind::InstallTls { .. } => "install_tls",
            Kind::Publish { .. } => "publish",
            Kind::RegisterFrames { .. } => "register_frames",
            Kind::Order { .. } => "order",
            Kind::Call { .. } => "call",
            Kind::Return { .. } => "return",
            Kind::Changed { .. } => "changed",
            Kind::Release { .. } => "release",
            Kind::Stays { .. } => "stays",
            Kind::Unneeded { .. } => "unneeded",
            Kind::Unmap { .. } => "unmap",
            Kind::Host { .. } => "host",
            Kind::Adopt { .. } => "adopt",
        }
    }

    /// The event's system call in the words of `strace`, if it is one.
    pub fn strace(&self) -> Option<String> {
        Some(match self {
            Kind::Open { path, fd } => {
                let result = match fd {
                    Ok(fd) => fd.to_string(),
                    Err(errno) => format!("-1 {errno}"),
                };
                format!("openat(AT_FDCWD, {path:?}, O_RDONLY|O_CLOEXEC) = {result}")
            }
            Kind::Stat { fd, length, .. } => {
                format!("newfstatat({fd}, \"\", {{st_mode=S_IFREG, st_size={length}}}, AT_EMPTY_PATH) = 0")
            }
            Kind::MemoryFile { name, fd, .. } => format!("memfd_create({name:?}, MFD_CLOEXEC) = {fd}"),
            Kind::View { address, length, fd, offset } => {
                format!("mmap(NULL, {length}, PROT_READ, MAP_SHARED, {fd}, {}) = {address}", hexadecimal(*offset))
            }
            Kind::CloseFile { fd } => format!("close({fd}) = 0"),
            Kind::Read { fd, offset, asked, got } => format!("pread64({fd}, …, {asked}, {}) = {got}", offset.0),
            Kind::Reserve { address, length } => {
                format!("mmap(NULL, {length}, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = {address}")
            }
            Kind::MapWhole { address, length, prot, fd, offset } => format!(
                "mmap(NULL, {length}, {}, MAP_PRIVATE, {fd}, {}) = {address}",
                prot_flags(*prot),
                hexadecimal(*offset)
            ),
            Kind::Map { address, length, prot, fd, offset, populate } => format!(
                "mmap({address}, {length}, {}, MAP_PRIVATE|MAP_FIXED{}, {fd}, {}) = {address}",
                prot_flags(*prot),
                if *populate { "|MAP_POPULATE" } else { "" },
                hexadecimal(*offset)
            ),
            Kind::MapZero { address, length, prot } => format!(
                "mmap({address}, {length}, {}, MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS, -1, 0) = {address}",
                prot_flags(*prot)
            ),
            Kind::Protect { address, length, prot, .. } => {
                format!("mprotect({address}, {length}, {}) = 0", prot_flags(*prot))
            }
            Kind::Populate { address, length, error } => {
                format!("madvise({address}, {length}, MADV_POPULATE_WRITE) = {}", result(error.as_deref()))
            }
            Kind::Unmap { address, length, error } => {
                format!("munmap({address}, {length}) = {}", result(error.as_deref()))
            }
            _ => return None,
        })
    }
}

/// An offset as `strace` prints it: 0 has no prefix.
fn hexadecimal(offset: FileOffset) -> String {
    if offset.0 == 0 { "0".into() } else { offset.to_string() }
}

/// The result of a call that returns nothing but success or an error.
fn result(error: Option<&str>) -> String {
    error.map_or("0".into(), |errno| format!("-1 {errno}"))
}

/// `PROT_READ|PROT_EXEC`.
fn prot_flags(prot: Prot) -> String {
    let mut names = Vec::new();
    if prot.readable() {
        names.push("PROT_READ");
    }
    if prot.writable() {
        names.push("PROT_WRITE");
    }
    if prot.executable() {
        names.push("PROT_EXEC");
    }
    if names.is_empty() { "PROT_NONE".into() } else { names.join("|") }
}
