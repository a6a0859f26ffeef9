//! Stage 2, read: the file's header and its program headers.
//!
//! gABI "ELF Header" and "Program Header"; glibc `open_verify`, musl `map_library`.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::sys::uio::pread;

use crate::elf::addr::FileOffset;
use crate::elf::image::{HEAD, Image, check_header};
use crate::error::{ErrorKind, Result};
use crate::event::{Kind, Report, Stage};
use crate::object::FileId;
use crate::text::{escape_path, unescape};

/// An open library file whose ELF header and program headers are checked.
pub(crate) struct OpenFile {
    pub fd: OwnedFd,
    pub headers: Headers,
}

/// What stage 2 learns of a file, and its path. `id` is `None` for a library that was given as bytes.
pub(crate) struct Headers {
    pub path: OsString,
    pub id: Option<FileId>,
    pub image: Image,
}

/// Stage 2: reads the length and identity of the file, its ELF header and its program headers. An error closes `fd`.
///
/// # Errors
/// [`ErrorKind::System`] for a call that the kernel refuses; otherwise what [`check_header`] or [`Image::new`] says of
/// the field that is wrong.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn headers(path: OsString, fd: OwnedFd, report: Report<'_>) -> Result<OpenFile> {
    match read_headers(&fd, report) {
        Ok((id, image)) => Ok(OpenFile { fd, headers: Headers { path, id: Some(id), image } }),
        Err(kind) => {
            close(fd, report);
            Err(kind.of(escape_path(&path), Stage::Read))
        }
    }
}

fn read_headers(fd: &OwnedFd, report: Report<'_>) -> Result<(FileId, Image), ErrorKind> {
    let raw = fd.as_raw_fd();
    let stat = fstat(fd)
        .map_err(|errno| ErrorKind::System { call: format!("newfstatat({raw}, \"\", …, AT_EMPTY_PATH)"), errno })?;
    let id = FileId { device: stat.st_dev, inode: stat.st_ino };
    let length = stat.st_size as u64;
    report.tell_each(|| Kind::Stat { fd: raw, device: id.device, inode: id.inode, length });
    if stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR {
        return Err(ErrorKind::System { call: format!("pread64({raw}, …)"), errno: Errno::EISDIR });
    }

    let mut head = [0; HEAD];
    let got = read_at(fd, &mut head, FileOffset(0), report)?;
    let head = &head[..got];
    let (offset, table_length) = check_header(head, length)?;
    let in_head = head.get(offset.0 as usize..).and_then(|rest| rest.get(..table_length));
    let mut elsewhere = Vec::new();
    let table = match in_head {
        Some(table) => table,
        None => {
            elsewhere.resize(table_length, 0);
            let got = read_at(fd, &mut elsewhere, offset, report)?;
            elsewhere
                .get(..got)
                .filter(|table| table.len() == table_length)
                .ok_or_else(|| ErrorKind::truncated("program header table", offset, table_length as u64, got as u64))?
        }
    };
    let image = Image::new(table, offset, length)?;
    report.tell(|| Kind::Header {
        e_type: "ET_DYN".into(),
        e_machine: "EM_X86_64".into(),
        e_phoff: image.e_phoff,
        e_phnum: image.e_phnum,
        file_length: length,
    });
    for segment in &image.segments {
        report.tell_each(|| Kind::ProgramHeader {
            name: segment.type_name(),
            header_offset: image.header_offset(segment.index),
            segment: segment.clone(),
        });
    }
    Ok((id, image))
}

fn read_at(fd: &OwnedFd, buffer: &mut [u8], offset: FileOffset, report: Report<'_>) -> Result<usize, ErrorKind> {
    let (raw, asked) = (fd.as_raw_fd(), buffer.len() as u64);
    let got = pread(fd, buffer, offset.0 as i64)
        .map_err(|errno| ErrorKind::System { call: format!("pread64({raw}, …, {asked}, {})", offset.0), errno })?;
    report.tell_each(|| Kind::Read { fd: raw, offset, asked, got: got as u64 });
    Ok(got)
}

/// Writes a library that is given as bytes into a file without a name (memfd_create(2)). So every later stage can treat
/// it like any other file.
///
/// # Errors
/// [`ErrorKind::System`] for a call that the kernel refuses, and those of [`headers`].
pub(crate) fn from_bytes(name: &str, bytes: &[u8], report: Report<'_>) -> Result<OpenFile> {
    let failed = |call: &str| {
        let call = call.to_string();
        move |errno| ErrorKind::System { call, errno }.of(name, Stage::Find)
    };
    // memfd_create(2): at most 249 bytes. The name is for readers of /proc.
    let short = &name.as_bytes()[..name.len().min(249)];
    let fd = memfd_create(short, MFdFlags::MFD_CLOEXEC).map_err(failed("memfd_create"))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        match nix::unistd::write(fd.as_fd(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("write")(errno)),
        }
    }
    report.tell(|| Kind::MemoryFile { name: name.into(), fd: fd.as_raw_fd(), length: bytes.len() as u64 });
    let mut file = headers(unescape(name).into_owned(), fd, report.at(Stage::Read))?;
    // No name leads to a memfd, so no later load can mean this very file.
    file.headers.id = None;
    Ok(file)
}

/// Closes a file by close(2), and tells of it. What is mapped of the file stays.
pub(crate) fn close(fd: OwnedFd, report: Report<'_>) {
    let raw = fd.as_raw_fd();
    drop(fd);
    report.tell(|| Kind::CloseFile { fd: raw });
}
