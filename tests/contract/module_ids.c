/* The numbers of modules with thread-local storage, as dlinfo and dl_iterate_phdr give them: __tls_get_addr knows them. */
//@ lib libdynamic -DLIB -ftls-model=global-dynamic
//@ lib libinitial -DLIB -ftls-model=initial-exec
//@ lib libdescriptor -DLIB -mtls-dialect=gnu2
#if defined(LIB)
__thread long first = 41;
__thread int second = 42;
__thread char room[300];
int *where(void) { return &second; }
#else
#include "contract.h"
#include <errno.h>
#include <pthread.h>

typedef struct { size_t module, offset; } index_t;
extern void *__tls_get_addr(index_t *);

struct library { const char *name; void *handle; size_t by_dlinfo, by_iterate, offset; };
static struct library libraries[] = { { "./libdynamic.so" }, { "./libinitial.so" }, { "./libdescriptor.so" } };
enum { COUNT = sizeof libraries / sizeof *libraries };

static int see(struct dl_phdr_info *info, size_t size, void *nothing)
{
    for (int at = 0; at < COUNT; at++)
        if (strstr(info->dlpi_name, libraries[at].name + 1)) libraries[at].by_iterate = info->dlpi_tls_modid;
    return 0;
}

/* In a thread the block may not be there yet: then this makes it. */
static void *ask(void *who)
{
    for (int at = 0; at < COUNT; at++) {
        struct library *of = &libraries[at];
        index_t index = { of->by_dlinfo, of->offset };
        int *found = __tls_get_addr(&index);
        int *(*where)(void) = (int *(*)(void))dlsym(of->handle, "where");
        void *block = NULL;
        dlinfo(of->handle, RTLD_DI_TLS_DATA, &block);
        printf("%s, %s: %d, its own: %d, in its block: %d\n", (char *)who, of->name, *found, found == where(),
               block == (char *)found - of->offset);
        *found = 7;
    }
    return NULL;
}

int main(void)
{
    for (int at = 0; at < COUNT; at++) {
        struct library *of = &libraries[at];
        of->handle = dlopen(of->name, RTLD_NOW);
        if (!of->handle) return puts(dlerror()), 2;
        char *variable = dlsym(of->handle, "second"), *block = NULL;
        printf("%d ", dlinfo(of->handle, RTLD_DI_TLS_MODID, &of->by_dlinfo));
        printf("%d\n", dlinfo(of->handle, RTLD_DI_TLS_DATA, &block));
        of->offset = variable - block;
    }
    dl_iterate_phdr(see, NULL);
    for (int at = 0; at < COUNT; at++)
        printf("%s: the same number by both: %d\n", libraries[at].name, libraries[at].by_dlinfo == libraries[at].by_iterate);
    ask("main");
    pthread_t thread;
    pthread_create(&thread, NULL, ask, "thread");
    pthread_join(thread, NULL);
    ask("main again");

    size_t module = 0;
    char *block = NULL;
    void *libc = dlopen("libc.so.6", RTLD_NOW);
    dlinfo(libc, RTLD_DI_TLS_MODID, &module);
    dlinfo(libc, RTLD_DI_TLS_DATA, &block);
    index_t index = { module, (char *)&errno - block };
    printf("errno, of libc: %d\n", __tls_get_addr(&index) == &errno);
    return 0;
}
#endif
