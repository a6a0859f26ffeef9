//@ out: host
//@ cc: -fno-pic -no-pie
//@ has: R_X86_64_COPY stdout
//@ has: SHN_UNDEF puts st_value>=1
//@ prints: stdout is one variable: 1
//@ prints: puts has one address: 1
//@ prints: printed by the library

#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    // The library lies beside this program, wherever that is.
    char path[4096] = "";
    if (readlink("/proc/self/exe", path, sizeof path - 20) < 0) return 1;
    strcat(dirname(path), "/libnon-pie.so");

    void *library = dlopen(path, RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    int (*is_stdout)(FILE **) = (int (*)(FILE **))dlsym(library, "is_stdout");
    int (*is_puts)(int (*)(const char *)) = (int (*)(int (*)(const char *)))dlsym(library, "is_puts");
    int (*print)(const char *) = (int (*)(const char *))dlsym(library, "print");

    // R_X86_64_COPY for stdout: this code has the variable's address in its instructions, so the
    // variable must be in the program, and libc's is copied here when the program starts.
    printf("stdout is one variable: %d\n", is_stdout(&stdout));
    // The address of puts in this program is its PLT entry, the canonical one.
    printf("puts has one address: %d\n", is_puts(puts));
    print("printed by the library\n");
    return 0;
}
