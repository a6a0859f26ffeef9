//@ teaches: errno, stdout and environ are the host's: a library sees the variables the program already uses
//@ has: R_X86_64_GLOB_DAT stdout
//@ has: R_X86_64_GLOB_DAT environ
//@ has: R_X86_64_JUMP_SLOT __errno_location
//@ call: errno_after_bad_close() -> i32 = 9
//@ call: is_environment_there() -> i32 = 1
//@ call: print(str "printed through the host's stdout") -> i32 = 0
//@ prints: printed through the host's stdout

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern char **environ;

// libc sets errno, and this library reads it: with a second libc in the process they would be two.
int errno_after_bad_close(void) {
    errno = 0;
    close(-1);
    return errno;
}

// R_X86_64_GLOB_DAT for environ.
int is_environment_there(void) { return environ != 0 && getenv("PATH") != 0; }

// R_X86_64_GLOB_DAT for stdout: libc's variable, or the program's copy of it (see `non-pie`).
int print(const char *text) { return fprintf(stdout, "%s\n", text) < 0; }
