/* Opens that glibc refuses, and those that it finishes: programs, the vDSO, libraries that must not be opened, modes that
   mean nothing, filters in everybody's scope, a constructor that opens its neighbour, and what a handle's l_ld says. */
//@ lib no -DNO -Wl,-z,nodlopen
//@ lib needs-no -DNEEDS -L. -l:no.so -Wl,--no-as-needed -l:no.so -Wl,-rpath,'$ORIGIN'
//@ lib libfiltee -DFILTEE
//@ lib libfilter -DFILTER -Wl,-soname,libfilter.so -Wl,-F,libfiltee.so -Wl,-rpath,'$ORIGIN'
//@ lib libuser -DUSER
//@ lib libsecond -DSECOND -Wl,-soname,libsecond.so
//@ lib libfirst -DFIRST -Wl,-soname,libfirst.so
//@ lib libroot -DROOT -Wl,--no-as-needed -L. -lsecond -lfirst -Wl,-rpath,'$ORIGIN'
//@ mkdir -p sub; lib sub/x -DNO; lib sub/caller -DCALLER
#define _GNU_SOURCE
#include <stdio.h>
#include <dlfcn.h>
#if defined(NO) || defined(NEEDS)
int nothing;
#elif defined(FILTEE)
const char *whose(void) { return "filtee"; }
#elif defined(FILTER)
const char *whose(void) { return "filter"; }
#elif defined(USER)
extern const char *whose(void);
const char *use(void) { return whose(); }
#elif defined(SECOND)
int ready;
__attribute__((constructor)) static void begin(void) { puts("second: constructor"), ready = 1; }
#elif defined(FIRST)
__attribute__((constructor)) static void begin(void) {
    puts("first: constructor");
    void *second = dlopen("libsecond.so", RTLD_NOW), *root = dlopen("./libroot.so", RTLD_NOW);
    printf("second is ready: %d, root is here: %d\n", *(int *)dlsym(second, "ready"), root != NULL);
    if (root) dlclose(root);
    dlclose(second);
}
#elif defined(ROOT)
__attribute__((constructor)) static void begin(void) { puts("root: constructor"); }
#elif defined(CALLER)
void *in_new(void) { return dlmopen(-1, "$ORIGIN/x.so", RTLD_NOW); }
#else
#include "contract.h"

static void refused(const char *what, const char *path, int mode) {
    void *handle = dlopen(path, mode);
    printf("%s: %s\n", what, handle ? "opened" : "refused");
    error(what);
}

int main(int count, char **arguments) {
    refused("the program", arguments[0], RTLD_NOW);
    refused("the program, not to be loaded", arguments[0], RTLD_NOW | RTLD_NOLOAD);
    refused("nodlopen", "./no.so", RTLD_NOW);
    refused("nodlopen in a dependency", "./needs-no.so", RTLD_NOW);
    refused("a mode with an unknown bit", "./libuser.so", RTLD_NOW | 0x40);
    refused("no mode", "./libuser.so", 0);
    for (int n = 0; n < 2; n++) {
        void *handle = dlopen("linux-vdso.so.1", RTLD_LAZY | (n ? 0 : RTLD_NOLOAD));
        printf("vDSO: %d, its function: %d\n", handle != NULL,
               handle && dlvsym(handle, "__vdso_clock_gettime", "LINUX_2.6"));
    }
    printf("not everybody's: %d\n", dlsym(RTLD_DEFAULT, "__vdso_clock_gettime") != NULL);

    opened("./libfilter.so", RTLD_NOW | RTLD_GLOBAL);
    printf("%s", CALL(const char *, RTLD_DEFAULT, "whose"));
    printf(" %s", CALL(const char *, dlopen(NULL, RTLD_NOW), "whose"));
    void *user = opened("./libuser.so", RTLD_LAZY);
    printf(" %s\n", CALL(const char *, user, "use"));

    closes(opened("./libroot.so", RTLD_NOW), "libroot.so");

    void *caller = opened("./sub/caller.so", RTLD_NOW);
    printf("$ORIGIN of the caller in a new namespace: %d\n", CALL(void *, caller, "in_new") != NULL);

    struct link_map *map;
    const char *strings = NULL;
    dlinfo(user, RTLD_DI_LINKMAP, &map);
    void *filter = dlopen("./libfilter.so", RTLD_NOW);
    dlinfo(filter, RTLD_DI_LINKMAP, &map);
    for (ElfW(Dyn) *at = map->l_ld; at->d_tag; at++)
        if (at->d_tag == DT_STRTAB) strings = (const char *)at->d_un.d_ptr;
    for (ElfW(Dyn) *at = map->l_ld; at->d_tag; at++)
        if (at->d_tag == DT_SONAME) printf("by l_ld: %s\n", strings + at->d_un.d_val);
    return 0;
}
#endif
