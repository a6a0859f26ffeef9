/* The contract of <dlfcn.h> as programs rely on it. Run plain and under the preload: both must print the same.
   Addresses and numbers that differ from run to run are not printed, only what is true of them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *dir;
static char buffer[8][4096];

static const char *in(const char *name) {
    static int next;
    char *at = buffer[next++ % 8];
    snprintf(at, 4096, "%s/%s", dir, name);
    return at;
}

static void error(const char *what) {
    const char *text = dlerror();
    if (text && strncmp(text, dir, strlen(dir)) == 0) text += strlen(dir) + 1;
    const char *name = text ? strstr(text, dir) : NULL;
    if (name) printf("%s: %.*s%s\n", what, (int)(name - text), text, name + strlen(dir) + 1);
    else printf("%s: %s\n", what, text ? text : "(none)");
    if (dlerror()) printf("%s: not cleared\n", what);
}

static void flags(void) {
    printf("no mode: %d\n", dlopen(in("liba.so"), 0) != NULL);
    error("no mode");
    printf("noload before: %d\n", dlopen(in("liba.so"), RTLD_NOW | RTLD_NOLOAD) != NULL);
    error("noload before");
    void *a = dlopen(in("liba.so"), RTLD_NOW);
    void *again = dlopen(in("liba.so"), RTLD_NOW);
    void *alias = dlopen(in("alias.so"), RTLD_NOW);
    printf("same: %d %d\n", a == again, a == alias);
    printf("local: %d\n", dlsym(RTLD_DEFAULT, "a_name") != NULL);
    error("local");
    printf("noload by another name: %d\n", dlopen(in("alias.so"), RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL) == a);
    printf("promoted: %d\n", dlsym(RTLD_DEFAULT, "a_name") != NULL);
    for (int i = 0; i < 4; i++) printf("close %d: %d\n", i, dlclose(a));
    printf("gone: %d\n", dlopen(in("liba.so"), RTLD_NOW | RTLD_NOLOAD) == NULL);
    dlerror();
    void *kept = dlopen(in("libkept.so"), RTLD_NOW | RTLD_NODELETE);
    dlclose(kept);
    printf("nodelete: %d\n", dlopen(in("libkept.so"), RTLD_NOW | RTLD_NOLOAD) == kept);
    void *self = dlopen(NULL, RTLD_NOW);
    printf("self: %d %d\n", self != NULL, dlsym(self, "main") != NULL);
    printf("close self: %d\n", dlclose(self));
}

static void errors(void) {
    dlopen("libnowhere.so.7", RTLD_NOW); error("missing");
    dlopen(in("nope.so"), RTLD_NOW); error("missing path");
    dlopen(in("libneeds.so"), RTLD_NOW); error("missing dependency");
    dlopen(in("libundefined.so"), RTLD_NOW); error("undefined");
    dlopen(in("text.so"), RTLD_NOW); error("text");
    dlopen(in("empty.so"), RTLD_NOW); error("empty");
    void *a = dlopen(in("liba.so"), RTLD_NOW);
    dlsym(a, "nope"); error("no symbol");
    dlvsym(a, "a_name", "NO_1.0"); error("no version");
    dlsym(RTLD_DEFAULT, "nope"); error("no default");
    dlclose(a);
}

static void scopes(void) {
    void *deep = dlopen(in("libdeep.so"), RTLD_NOW | RTLD_DEEPBIND);
    void *shallow = dlopen(in("libshallow.so"), RTLD_NOW);
    printf("deep: %s\n", ((const char *(*)(void))dlsym(deep, "deep_asks"))());
    printf("shallow: %s\n", ((const char *(*)(void))dlsym(shallow, "shallow_asks"))());
    printf("next: %s\n", ((const char *(*)(void))dlsym(shallow, "shallow_next"))());
    void *(*real)(size_t) = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    printf("next malloc: %d\n", real != NULL);
    dlclose(shallow);
    dlclose(deep);
    void *libm = dlopen("libm.so.6", RTLD_LAZY);
    printf("libm: %d %d\n", libm != NULL, dlsym(libm, "cos") != NULL);
    printf("libc: %d\n", dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD) != NULL);
    printf("versions: %d\n", dlvsym(RTLD_DEFAULT, "memcpy", "GLIBC_2.2.5") != dlvsym(RTLD_DEFAULT, "memcpy", "GLIBC_2.14"));
    void *more = dlmopen(LM_ID_NEWLM, in("libkept.so"), RTLD_NOW);
    void *here = dlopen(in("libkept.so"), RTLD_NOW);
    Lmid_t number = -7;
    int known = dlinfo(more, RTLD_DI_LMID, &number);
    printf("dlmopen: %d %d %d\n", more != NULL, more != here, known == 0 && number > 0);
}

static const char *base(const char *path) { return strrchr(path, '/') ? strrchr(path, '/') + 1 : path; }

static void addresses(void) {
    Dl_info info;
    struct link_map *map;
    const ElfW(Sym) *symbol;
    void *a = dlopen(in("liba.so"), RTLD_NOW);
    void *function = dlsym(a, "a_name");
    int found = dladdr(function + 1, &info);
    printf("dladdr: %d %s %s %d\n", found, base(info.dli_fname), info.dli_sname, info.dli_saddr == function);
    found = dladdr1(function, &info, (void **)&map, RTLD_DL_LINKMAP);
    printf("dladdr1: %d %d\n", found, map == a);
    found = dladdr1(function, &info, (void **)&symbol, RTLD_DL_SYMENT);
    printf("symbol: %d %d\n", found, ELF64_ST_TYPE(symbol->st_info) == STT_FUNC);
    void *bias = info.dli_fbase;
    printf("nowhere: %d\n", dladdr(&info, &info));
    found = dladdr(dlsym(RTLD_DEFAULT, "puts"), &info);
    printf("host: %d %s\n", found, base(info.dli_fname));
    found = dladdr((void *)addresses, &info);
    printf("program: %d %s\n", found, base(info.dli_fname));
    map = a;
    printf("link_map: %s %d %d\n", base(map->l_name), map->l_addr == (ElfW(Addr))bias, map->l_ld != NULL);
    map = NULL;
    found = dlinfo(a, RTLD_DI_LINKMAP, &map);
    printf("linkmap: %d %d\n", found, map == a);
    char origin[4096];
    found = dlinfo(a, RTLD_DI_ORIGIN, origin);
    printf("origin: %d %d\n", found, strcmp(origin, dir) == 0);
    Dl_serinfo size;
    printf("serinfosize: %d\n", dlinfo(a, RTLD_DI_SERINFOSIZE, &size));
    Dl_serinfo *list = malloc(size.dls_size);
    dlinfo(a, RTLD_DI_SERINFOSIZE, list);
    found = dlinfo(a, RTLD_DI_SERINFO, list);
    printf("serinfo: %d %u\n", found, list->dls_cnt);
    for (unsigned i = 0; i < list->dls_cnt; i++) printf("  %s\n", list->dls_serpath[i].dls_name);
    size_t module = 7;
    void *block = (void *)1;
    found = dlinfo(a, RTLD_DI_TLS_MODID, &module);
    printf("tls none: %d %zu\n", found, module);
    void *t = dlopen(in("libtls.so"), RTLD_NOW);
    found = dlinfo(t, RTLD_DI_TLS_MODID, &module);
    printf("tls: %d %d\n", found, module != 0);
    printf("tls before: %d\n", dlinfo(t, RTLD_DI_TLS_DATA, &block));
    int *variable = dlsym(t, "of_thread");
    dlinfo(t, RTLD_DI_TLS_DATA, &block);
    printf("tls after: %d %d\n", *variable, block != NULL && block <= (void *)variable);
    printf("no request: %d\n", dlinfo(a, 99, &block));
    error("no request");
}

struct seen { int count, ours; unsigned long long adds, subs; };

static int visit(struct dl_phdr_info *info, size_t size, void *data) {
    struct seen *seen = data;
    seen->count++;
    seen->adds = info->dlpi_adds;
    seen->subs = info->dlpi_subs;
    if (strstr(info->dlpi_name, "liba.so")) {
        seen->ours += info->dlpi_phnum > 0;
        void *in_callback = dlsym(RTLD_DEFAULT, "puts"); /* must not hang */
        seen->ours += in_callback != NULL;
    }
    return 0;
}

static void iterate(void) {
    struct seen before = {0}, with = {0}, after = {0};
    dl_iterate_phdr(visit, &before);
    void *c = dlopen(in("libc1.so"), RTLD_NOW);
    dl_iterate_phdr(visit, &with);
    dlclose(c);
    dl_iterate_phdr(visit, &after);
    printf("iterate: %d %d %d\n", with.count - before.count, after.count - before.count, with.ours);
    printf("adds, subs: %llu %llu\n", with.adds - before.adds, after.subs - with.subs);
}

static void *closer(void *handle) { dlclose(handle); return NULL; }
static void *fails(void *unused) { dlsym(RTLD_DEFAULT, "of_this_thread"); error("thread"); return unused; }

static void life(void) {
    void *handle = dlopen(in("liblife.so"), RTLD_NOW);
    dlclose(handle);
    printf("closed\n");
    printf("nested: %d\n", (handle = dlopen(in("libnested.so"), RTLD_NOW)) != NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, closer, handle);
    pthread_join(thread, NULL);
    dlsym(RTLD_DEFAULT, "of_main");
    pthread_create(&thread, NULL, fails, NULL);
    pthread_join(thread, NULL);
    error("main");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        void *h = dlopen(in("liblife.so"), RTLD_NOW);
        printf("child: %d\n", dlclose(h));
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    printf("status: %d\n", status);
    dlopen(in("libopen.so"), RTLD_NOW); /* its destructor runs at exit */
}

static void at_exit(void) { printf("atexit of the program\n"); }

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    dir = argv[1];
    atexit(at_exit);
    flags();
    errors();
    scopes();
    addresses();
    iterate();
    life();
    return 0;
}
