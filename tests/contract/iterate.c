/* dl_iterate_phdr: every object once, the program first; its counters; what a callback may do. And _dl_find_object. */
//@ lib liba -DA
//@ lib libdep -DDEP
//@ lib libtop -DTOP -L. -Wl,--no-as-needed -ldep -Wl,-rpath,'$ORIGIN'
#if defined(A)
int a_function(int n) { return n + 1; }
__thread int of_thread = 5;
#elif defined(DEP)
int dep = 1;
#elif defined(TOP)
int top = 1;
#else
#include "contract.h"

void *__tls_get_addr(size_t index[2]);

struct seen {
    int count, calls_of_dlsym, stop_at, size_is_whole, headers;
    unsigned long long adds, subs;
    char names[64][256];
    size_t module;
    void *block;
};

static int visit(struct dl_phdr_info *info, size_t size, void *data) {
    struct seen *seen = data;
    snprintf(seen->names[seen->count++ % 64], 256, "%s", info->dlpi_name);
    seen->adds = info->dlpi_adds;
    seen->subs = info->dlpi_subs;
    seen->size_is_whole += size >= sizeof *info;
    for (int i = 0; i < info->dlpi_phnum; i++) seen->headers += info->dlpi_phdr[i].p_type == PT_LOAD;
    if (strstr(info->dlpi_name, "liba.so")) {
        seen->module = info->dlpi_tls_modid;
        seen->block = info->dlpi_tls_data;
    }
    seen->calls_of_dlsym += dlsym(RTLD_DEFAULT, "puts") != NULL;
    return seen->count == seen->stop_at ? 77 : 0;
}

static struct seen look(int stop_at, int *answer) {
    static struct seen seen;
    memset(&seen, 0, sizeof seen);
    seen.stop_at = stop_at;
    *answer = dl_iterate_phdr(visit, &seen);
    return seen;
}

static void says(const char *what, struct seen *seen, struct seen *before) {
    printf("%s: %d more, adds %llu, subs %llu\n", what, seen->count - before->count, seen->adds - before->adds,
           seen->subs - before->subs);
}

static int opens(struct dl_phdr_info *info, size_t size, void *data) {
    (void)info, (void)size;
    void *handle = dlopen("./liba.so", RTLD_NOW);
    *(int *)data = CALL(int, handle, "a_function") != 0;
    printf("in the callback: %d", handle != NULL);
    printf(" %d\n", dlclose(handle));
    return 1;
}

static void find(const char *what, void *address, struct link_map *map) {
    struct dl_find_object object;
    int found = _dl_find_object(address, &object);
    printf("%s: %d", what, found);
    if (found == 0) {
        int holds = object.dlfo_map_start <= address && address < object.dlfo_map_end;
        printf(" %d, map: %d, frames: %d", holds, object.dlfo_link_map == map, object.dlfo_eh_frame != NULL);
    }
    printf("\n");
}

int main(void) {
    int answer;
    struct seen start = look(0, &answer);
    printf("answer: %d, dlsym: %d, whole: %d\n", answer, start.calls_of_dlsym == start.count,
           start.size_is_whole == start.count);
    printf("the program first: \"%s\"\n", start.names[0]);
    struct seen stopped = look(2, &answer);
    printf("stopped: %d after %d\n", answer, stopped.count);

    void *a = opened("./liba.so", RTLD_NOW);
    struct seen with = look(0, &answer);
    says("with a library", &with, &start);
    printf("last: %s, its storage: %d %d\n", with.names[with.count - 1], with.module != 0, with.block != NULL);
    int *variable = dlsym(a, "of_thread");
    with = look(0, &answer);
    printf("its block: %d\n", with.block == variable);
    size_t number, index[2] = {with.module, 0};
    printf("by its number: %d\n", __tls_get_addr(index) == (void *)variable);
    dlinfo(a, RTLD_DI_TLS_MODID, &number);
    printf("dlinfo: %d\n", number == with.module);
    opened("./liba.so", RTLD_NOW);
    dlclose(a);
    struct seen again = look(0, &answer);
    says("opened again", &again, &with);
    void *top = opened("./libtop.so", RTLD_NOW);
    struct seen two = look(0, &answer);
    says("two more", &two, &with);
    printf("order: %s, %s\n", two.names[two.count - 2], base(two.names[two.count - 1]));
    dlclose(top);
    struct seen closed = look(0, &answer);
    says("closed", &closed, &two);
    printf("failed: %d\n", dlopen("./nowhere.so", RTLD_NOW) != NULL);
    struct seen failed = look(0, &answer);
    says("failed", &failed, &closed);

    find("_dl_find_object", dlsym(a, "a_function"), a);
    find("in the program", (void *)main, dlopen(NULL, RTLD_NOW));
    find("on the stack", &answer, NULL);
    void *gone = dlsym(a, "a_function");
    dlclose(a);
    find("gone", gone, NULL);

    int called = 0;
    dl_iterate_phdr(opens, &called);
    printf("called: %d\n", called);
    return 0;
}
#endif
