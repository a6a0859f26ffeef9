/* _r_debug is ld.so's own list: what dlscope loads is not in it, dl_iterate_phdr shows it (docs/gdb.md says why). What
   ld.so loads later is in both, as without dlscope. */
//@ lib liba -DA
//@ ours
//@ prints in r_map: 0, in the chain of its handle: 0, shown by dl_iterate_phdr: 1
//@ prints libc: in r_map: 1, shown by dl_iterate_phdr: 1
//@ prints the chain ends, and begins with the program: 1
#if defined(A)
int a = 1;
#else
#include "contract.h"

static const char *wanted;

static int in(struct link_map *map)
{
    for (; map; map = map->l_next)
        if (strstr(map->l_name, wanted)) return 1;
    return 0;
}

static int see(struct dl_phdr_info *info, size_t size, void *nothing)
{
    return strstr(info->dlpi_name, wanted) != NULL;
}

int main(void)
{
    void *handle = opened("./liba.so", RTLD_NOW);
    struct link_map *own = NULL;
    dlinfo(handle, RTLD_DI_LINKMAP, &own);
    wanted = "libc.so.6";
    int libc_behind_it = in(own);
    wanted = "liba.so";
    printf("in r_map: %d, in the chain of its handle: %d, shown by dl_iterate_phdr: %d\n", in(_r_debug.r_map),
           libc_behind_it, dl_iterate_phdr(see, NULL));
    wanted = "libc.so.6";
    printf("libc: in r_map: %d, shown by dl_iterate_phdr: %d\n", in(_r_debug.r_map), dl_iterate_phdr(see, NULL));
    printf("the chain ends, and begins with the program: %d\n", _r_debug.r_map->l_name[0] == 0);
    return 0;
}
#endif
