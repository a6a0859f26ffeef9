//@ teaches: a thread-local variable of the host, at a fixed distance: errno itself, as libm has it
//@ has: no PT_TLS
//@ has: R_X86_64_TPOFF64 errno
//@ has: version errno@GLIBC_PRIVATE
//@ call: errno_after_bad_close() -> i32 = 9

#include <unistd.h>

// R_X86_64_TPOFF64 against a variable of libc: the loader must know where libc's block lies. Only
// glibc's own libraries do this; all others call __errno_location.
extern __thread int libc_errno __attribute__((tls_model("initial-exec")));
__asm__(".symver libc_errno, errno@GLIBC_PRIVATE");

int errno_after_bad_close(void) {
    libc_errno = 0;
    close(-1);
    return libc_errno;
}
