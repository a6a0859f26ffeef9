/* Handles that never were any, and one of a library that is gone. glibc reads what they point to and may crash; dlscope
   says that they are none. */
//@ ours
//@ lib liba -DA
//@ prints a variable: -1 shared object not open, 0 invalid handle, -1 invalid handle
//@ prints low: -1 shared object not open, 0 invalid handle, -1 invalid handle
//@ prints high: -1 shared object not open, 0 invalid handle, -1 invalid handle
//@ prints a function: -1 shared object not open, 0 invalid handle, -1 invalid handle
//@ prints gone: -1 shared object not open, 0 invalid handle, -1 invalid handle
#if defined(A)
int a = 1;
#else
#include "contract.h"

static void garbage(const char *what, void *handle) {
    struct link_map *map;
    int closed = dlclose(handle);
    printf("%s: %d %s, ", what, closed, dlerror());
    int found = dlsym(handle, "a") != NULL;
    printf("%d %s, ", found, dlerror());
    int known = dlinfo(handle, RTLD_DI_LINKMAP, &map);
    printf("%d %s\n", known, dlerror());
}

int main(void) {
    static char variable[1024];
    garbage("a variable", variable);
    garbage("low", (void *)8);
    garbage("high", (void *)~0xfffUL);
    garbage("a function", (void *)main);
    void *gone = opened("./liba.so", RTLD_NOW);
    dlclose(gone);
    garbage("gone", gone);
    return 0;
}
#endif
