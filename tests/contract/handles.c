/* Handles that were closed, of objects that are still there; and all that one can do with them. */
//@ lib libdep -DDEP
//@ lib libtop -DTOP -L. -ldep -Wl,-rpath,'$ORIGIN'
#if defined(DEP)
int in_dep = 1;
#elif defined(TOP)
extern int in_dep;
int *in_top(void) { return &in_dep; }
#else
#include "contract.h"

int main(void) {
    void *top = opened("./libtop.so", RTLD_NOW);
    /* A dependency that nobody opened. */
    void *dep = opened("./libdep.so", RTLD_NOW | RTLD_NOLOAD);
    printf("closed: %d\n", dlclose(dep));
    printf("closed twice: %d\n", dlclose(dep));
    error("closed twice");
    printf("symbol of a closed handle: %d\n", dlsym(dep, "in_dep") == (void *)CALL(int *, top, "in_top"));
    struct link_map *map = NULL;
    answer = dlinfo(dep, RTLD_DI_LINKMAP, &map);
    printf("link_map of a closed handle: %d %d\n", answer, map == dep);
    printf("opened again: %d\n", dlopen("./libdep.so", RTLD_NOW) == dep);
    closes(top, "/libtop.so");
    printf("kept: %d\n", *(int *)dlsym(dep, "in_dep"));
    closes(dep, "/libdep.so");

    /* A handle begins like a link_map, and dlsym takes it for one. */
    map = opened("./libtop.so", RTLD_NOW);
    printf("name: %s, address: %d, dynamic: %d\n", map->l_name, map->l_addr != 0, map->l_ld != NULL);
    Dl_info info;
    dladdr(dlsym(map, "in_top"), &info);
    printf("address: %d\n", info.dli_fbase == (void *)map->l_addr);
    printf("dynamic: %d\n", map->l_ld->d_tag == DT_NEEDED);
    return 0;
}
#endif
