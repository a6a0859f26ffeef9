/* dladdr and dladdr1: whose an address is, and what is there. */
//@ program -rdynamic
//@ lib liba -DA
#if defined(A)
const char *a_name(void) { return "a"; }
int sized[4] = {1};
static int hidden[4];
int *where_hidden(void) { return hidden; }
static int local(void) { return 7; }
int (*where_local(void))(void) { return local; }
__thread int of_thread;
#else
#include "contract.h"

int a_variable[8];

static void look(const char *what, const void *address) {
    Dl_info info = {0};
    int found = dladdr(address, &info);
    printf("%s: %d", what, found != 0);
    if (found) {
        long into = info.dli_saddr ? (const char *)address - (const char *)info.dli_saddr : -1;
        printf(" %s %s+%ld", base(info.dli_fname), info.dli_sname ? info.dli_sname : "(none)", into);
    }
    printf("\n");
}

int main(int argc, char **argv) {
    static const char text[] = "not a function";
    void *a = opened("./liba.so", RTLD_NOW);
    char *function = dlsym(a, "a_name"), *sized = dlsym(a, "sized");
    look("function", function);
    look("in a function", function + 1);
    look("variable", sized);
    look("in a variable", sized + 15);
    look("hidden variable", (char *)CALL(int *, a, "where_hidden") + 3);
    look("hidden function", CALL(void *, a, "where_local"));
    look("first byte", (void *)((struct link_map *)a)->l_addr);
    look("dynamic section", ((struct link_map *)a)->l_ld);
    look("program, function", (void *)main);
    look("program, variable", (char *)a_variable + 5);
    look("program, constant", text);
    look("stack", &a);
    look("heap", malloc(16));
    look("null", NULL);
    look("libc", dlsym(RTLD_DEFAULT, "qsort"));

    Dl_info info;
    struct link_map *map = NULL;
    const ElfW(Sym) *symbol = NULL;
    answer = dladdr1(function, &info, (void **)&map, RTLD_DL_LINKMAP);
    printf("link_map: %d %d\n", answer, map == a);
    printf("symbol: %d ", dladdr1(sized + 4, &info, (void **)&symbol, RTLD_DL_SYMENT));
    printf("%d %d %lu\n", ELF64_ST_TYPE(symbol->st_info), ELF64_ST_BIND(symbol->st_info), (long)symbol->st_size);
    answer = dladdr1((char *)map->l_addr, &info, (void **)&symbol, RTLD_DL_SYMENT);
    printf("no symbol: %d %d\n", answer, symbol == NULL);
    printf("of the program: %d ", dladdr1(a_variable, &info, (void **)&symbol, RTLD_DL_SYMENT));
    printf("%lu\n", (long)symbol->st_size);
    answer = dladdr1((void *)main, &info, (void **)&map, RTLD_DL_LINKMAP);
    printf("its link_map: %d %d\n", answer, map == dlopen(NULL, RTLD_NOW));
    printf("its name: %d %d\n", strcmp(info.dli_fname, argv[0]), map->l_name[0]);
    answer = dladdr1(dlsym(RTLD_DEFAULT, "puts"), &info, (void **)&map, RTLD_DL_LINKMAP);
    printf("libc's link_map: %d %d\n", answer, map == dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD));
    dladdr(function, &info);
    printf("base: %d, path: %s\n", info.dli_fbase == (void *)((struct link_map *)a)->l_addr, info.dli_fname);
    dlclose(a);
    look("gone", function);
    return 0;
}
#endif
