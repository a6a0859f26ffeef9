/* dlinfo: what is known of an object, ours or the host's. */
//@ lib liba -DA
//@ lib libtls -DTLS
//@ mkdir -p more
//@ lib more/libdep -DA
//@ lib librun -DRUN -L more -Wl,--no-as-needed -ldep -Wl,--enable-new-dtags -Wl,-rpath,'$ORIGIN/more:/nowhere/at/all'
//@ lib librpath -DRUN -L more -Wl,--no-as-needed -ldep -Wl,--disable-new-dtags -Wl,-rpath,'${ORIGIN}/more'
#if defined(A)
int a = 1;
#elif defined(TLS)
__thread int of_thread = 42;
__thread char more[1000];
#elif defined(RUN)
int run = 1;
#else
#include "contract.h"
#include <errno.h>

static char here[4096];

/* Without the folder of this run. */
static const char *told(const char *path) {
    size_t length = strlen(here);
    return strncmp(path, here, length) == 0 ? path + length : path;
}

static void search_path(const char *what, void *handle) {
    Dl_serinfo size;
    int known = dlinfo(handle, RTLD_DI_SERINFOSIZE, &size);
    Dl_serinfo *list = malloc(size.dls_size);
    dlinfo(handle, RTLD_DI_SERINFOSIZE, list);
    answer = dlinfo(handle, RTLD_DI_SERINFO, list);
    printf("%s: %d %u %d\n", what, known, size.dls_cnt, answer);
    for (unsigned i = 0; i < list->dls_cnt; i++) printf("  %s\n", told(list->dls_serpath[i].dls_name));
    free(list);
}

static void *block_of(void *handle) {
    void *block = (void *)1;
    printf("%d ", dlinfo(handle, RTLD_DI_TLS_DATA, &block));
    return block;
}

static void *in_thread(void *handle) {
    void *block = block_of(handle);
    printf("thread, before: %d\n", block != NULL);
    int *variable = dlsym(handle, "of_thread");
    block = block_of(handle);
    printf("thread, after: %d, own: %d\n", block <= (void *)variable && (char *)variable < (char *)block + 2000,
           *variable == 42);
    return variable;
}

static void *errno_of(void *libc) {
    char *block = block_of(libc);
    char *variable = (char *)&errno;
    printf("libc: %d\n", block && block <= variable && variable < block + 4096);
    return NULL;
}

static void storage(void) {
    size_t module = 7;
    void *a = opened("./liba.so", RTLD_NOW), *tls = opened("./libtls.so", RTLD_NOW);
    answer = dlinfo(a, RTLD_DI_TLS_MODID, &module);
    printf("without: %d %zu ", answer, module);
    printf("%d\n", block_of(a) != NULL);
    answer = dlinfo(tls, RTLD_DI_TLS_MODID, &module);
    printf("module: %d %d\n", answer, module != 0);
    printf("before: %d\n", block_of(tls) != NULL);
    int *variable = dlsym(tls, "of_thread");
    printf("after: %d\n", block_of(tls) <= (void *)variable);
    *variable = 1;
    pthread_t thread;
    void *there;
    pthread_create(&thread, NULL, in_thread, tls);
    pthread_join(thread, &there);
    printf("two blocks: %d\n", there != variable);
    void *libc = opened("libc.so.6", RTLD_NOW);
    answer = dlinfo(libc, RTLD_DI_TLS_MODID, &module);
    printf("libc's module: %d %d\n", answer, module != 0);
    errno_of(libc);
    pthread_create(&thread, NULL, errno_of, libc);
    pthread_join(thread, NULL);
}

int main(void) {
    getcwd(here, sizeof here);
    struct link_map *map = NULL;
    char origin[4096];
    Lmid_t number = -7;
    const ElfW(Phdr) *headers = NULL;
    void *a = opened("./liba.so", RTLD_NOW), *self = dlopen(NULL, RTLD_NOW);
    answer = dlinfo(a, RTLD_DI_LINKMAP, &map);
    printf("link_map: %d %d\n", answer, map == a);
    printf("name: %s\n", map->l_name);
    answer = dlinfo(self, RTLD_DI_LINKMAP, &map);
    printf("program: %d %d\n", answer, map == self);
    printf("its name: \"%s\"\n", map->l_name);
    printf("origin: %d ", dlinfo(a, RTLD_DI_ORIGIN, origin));
    printf("%s\n", told(origin));
    answer = dlinfo(a, RTLD_DI_LMID, &number);
    printf("namespace: %d %d\n", answer, number == LM_ID_BASE);
    int count = dlinfo(a, RTLD_DI_PHDR, &headers);
    printf("program headers: %d %d\n", count > 4, headers[0].p_type == PT_LOAD);
    search_path("search path", a);
    search_path("with a RUNPATH", opened("./librun.so", RTLD_NOW));
    search_path("with a RPATH", opened("./librpath.so", RTLD_NOW));
    search_path("of the program", self);
    storage();
    printf("no request: %d\n", dlinfo(a, 99, &map));
    error("no request");
    printf("request 0: %d\n", dlinfo(a, 0, &map));
    error("request 0");
    printf("configuration: %d\n", dlinfo(a, RTLD_DI_CONFIGADDR, &map));
    error("configuration");
    return 0;
}
#endif
