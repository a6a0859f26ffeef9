/* A library that wraps __tls_get_addr as sanitizers do: it calls the next one, which it has asked for. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#if defined(PLUGIN)
__thread int variable = 7;
int *where(void) { return &variable; }
#elif defined(WRAPPER)
static void *(*next)(void *);
__thread int of_wrapper = 5;
__attribute__((constructor)) static void find(void) { next = dlsym(RTLD_NEXT, "__tls_get_addr"); }
void *__tls_get_addr(void *index) { return next(index); }
int wrapped(void) { return of_wrapper; }
#else
int wrapped(void);

static void *thread(void *where) {
    int *(*function)(void) = where;
    printf("in a thread: %d, %d\n", *function(), wrapped());
    return NULL;
}

int main(void) {
    void *plugin = dlopen("./libplugin.so", RTLD_NOW);
    int *(*function)(void) = plugin ? dlsym(plugin, "where") : NULL;
    if (!function) return 1;
    printf("%d, %d, alike: %d\n", *function(), wrapped(), function() == dlsym(plugin, "variable"));
    pthread_t other;
    pthread_create(&other, NULL, thread, function);
    pthread_join(other, NULL);
    return 0;
}
#endif
