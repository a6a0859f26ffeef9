//! The threads of glibc, and their memory, which may vanish at any moment.
//!
//! glibc keeps its threads in two lists: `dl_stack_used` has those with stacks of its own, `dl_stack_user` the first thread
//! and those whose stacks the program brought. `libthread_db` of a debugger reads these lists, and so does glibc's own
//! `dlopen` (`_dl_init_static_tls`). A thread stands in its list before the kernel knows it, so a thread that has not begun
//! to run is found like any other, whoever made it: `pthread_create`, `thrd_create`, or glibc for itself. A task that is no
//! thread of glibc (a bare `clone`) has no static block, and is in no list.
//!
//! glibc's lock for the lists is its own. So they change while they are read, and what they name may be unmapped. Hence
//! the kernel reads and writes, which answers `EFAULT` instead of crashing; each element must point back to the one
//! before it; and a walk that goes astray begins again.

use std::io::{IoSlice, IoSliceMut, PipeReader, PipeWriter};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

use super::thread_pointer;
use crate::elf::addr::PAGE;
use crate::error::ErrorKind;
use crate::host::{Host, ThreadLists};

/// How long walks go astray before that is an error. One goes astray if a thread ends in the same microsecond.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes `bytes` at the distance `at` from the thread pointer of each thread but this one. Returns how many there were.
///
/// # Errors
/// If glibc does not tell where its lists are, or the kernel refuses: a thread that is not reached would find zeros in its
/// variables.
pub(super) fn write_everywhere(at: i64, bytes: &[u8], host: &Host) -> Result<usize, ErrorKind> {
    let lists = host.thread_lists().ok_or_else(|| ErrorKind::Unsupported {
        what: "initial-exec thread-local storage in a process whose threads are not known".into(),
        detail: "glibc tells debuggers where its lists of threads are (_thread_db_rtld_global__dl_stack_used), this one does not"
            .into(),
    })?;
    let mut memory = Memory { pipe: None };
    let mut written = 0;
    for head in lists.heads {
        let begin = Instant::now();
        written += loop {
            match memory.walk(head, &lists, at, bytes) {
                Ok(many) => break many,
                Err(Astray::Refused(call, errno)) => return Err(ErrorKind::System { call, errno }),
                Err(Astray::Changed) if begin.elapsed() > PATIENCE => {
                    return Err(ErrorKind::Unsupported {
                        what: "initial-exec thread-local storage while threads come and go without a pause".into(),
                        detail: format!("the list of threads at {head:#x} changed in each walk for {PATIENCE:?}"),
                    });
                }
                Err(Astray::Changed) => std::thread::yield_now(),
            }
        };
    }
    Ok(written)
}

/// Why a walk did not come to its end.
enum Astray {
    /// The list changed, or memory of a thread has gone.
    Changed,
    Refused(String, Errno),
}

/// Memory of this process that may be unmapped meanwhile.
struct Memory {
    /// A way to have the kernel copy where `process_vm_readv` and `process_vm_writev` are forbidden (`seccomp`).
    pipe: Option<(PipeReader, PipeWriter)>,
}

impl Memory {
    /// Writes into each thread of one list.
    fn walk(&mut self, head: u64, lists: &ThreadLists, at: i64, bytes: &[u8]) -> Result<usize, Astray> {
        let mut written = 0;
        let (mut before, [mut element, _]) = (head, self.links(head)?);
        while element != head {
            let [next, previous] = self.links(element)?;
            if previous != before {
                return Err(Astray::Changed);
            }
            let thread = element - lists.of_thread;
            if thread != thread_pointer() {
                self.write(thread.wrapping_add_signed(at), bytes)?;
                written += 1;
            }
            (before, element) = (element, next);
        }
        Ok(written)
    }

    /// The element of the list behind the one at `element`, and the one before it: `list_t`.
    fn links(&mut self, element: u64) -> Result<[u64; 2], Astray> {
        let mut room = [0; 16];
        let remote = RemoteIoVec { base: element as usize, len: room.len() };
        match process_vm_readv(Pid::this(), &mut [IoSliceMut::new(&mut room)], &[remote]) {
            Ok(16) => {}
            Err(Errno::EPERM | Errno::ENOSYS) => {
                self.by_pipe(std::ptr::with_exposed_provenance(element as usize), room.as_mut_ptr(), room.len())?;
            }
            Ok(_) | Err(Errno::EFAULT) => return Err(Astray::Changed),
            Err(errno) => return Err(Astray::Refused(format!("process_vm_readv(…, {element:#x}, 16)"), errno)),
        }
        let [next, previous] = [0, 8].map(|part| u64::from_le_bytes(std::array::from_fn(|byte| room[part + byte])));
        Ok([next, previous])
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Astray> {
        let remote = RemoteIoVec { base: address as usize, len: bytes.len() };
        match process_vm_writev(Pid::this(), &[IoSlice::new(bytes)], &[remote]) {
            Ok(length) if length == bytes.len() => Ok(()),
            Err(Errno::EPERM | Errno::ENOSYS) => {
                let target = std::ptr::with_exposed_provenance_mut(address as usize);
                self.by_pipe(bytes.as_ptr(), target, bytes.len())
            }
            Ok(_) | Err(Errno::EFAULT) => Err(Astray::Changed),
            Err(errno) => Err(Astray::Refused(format!("process_vm_writev(…, {address:#x}, {})", bytes.len()), errno)),
        }
    }

    /// Has the kernel copy through a pipe, which no sandbox forbids.
    fn by_pipe(&mut self, from: *const u8, to: *mut u8, length: usize) -> Result<(), Astray> {
        let refused = |call: &str, errno| Astray::Refused(call.into(), errno);
        let (reader, writer) = match self.pipe.take() {
            Some(pipe) => pipe,
            None => std::io::pipe().map_err(|error| {
                refused("pipe2(…, O_CLOEXEC)", Errno::from_raw(error.raw_os_error().unwrap_or_default()))
            })?,
        };
        // A page always fits into an empty pipe.
        for start in (0..length).step_by(PAGE as usize) {
            let count = (length - start).min(PAGE as usize);
            let (from, to) = (from.wrapping_add(start).cast(), to.wrapping_add(start).cast());
            // SAFETY: the kernel reads these bytes, or says `EFAULT`.
            let mut copied = unsafe { libc::write(writer.as_raw_fd(), from, count) };
            if copied == count as isize {
                // SAFETY: one of the two places is the caller's, the other one is a word or the arena of a thread. If that
                // thread has just ended, its memory is unmapped, and the kernel says `EFAULT`; or it is a later thread's.
                copied = unsafe { libc::read(reader.as_raw_fd(), to, count) };
            }
            // What is left in the pipe goes with it.
            match copied {
                -1 if Errno::last() != Errno::EFAULT => return Err(refused("write or read of a pipe", Errno::last())),
                _ if copied != count as isize => return Err(Astray::Changed),
                _ => {}
            }
        }
        self.pipe = Some((reader, writer));
        Ok(())
    }
}
