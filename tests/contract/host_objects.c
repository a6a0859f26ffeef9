/* What the host's own objects say of themselves, and what a program may do that opens nothing: fork in a signal handler in
   the middle of a fork, and threads whose stacks are as small as they may be. */
//@ lib lib -DLIB
//@ program -rdynamic
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef LIB
int lib;
#else
enum { REQUEST_PHDR = 11 };

struct question { struct link_map *map; const ElfW(Phdr) *headers; int count; };

static int look(struct dl_phdr_info *info, size_t size, void *data)
{
    struct question *question = data;
    if (info->dlpi_addr != question->map->l_addr || strcmp(info->dlpi_name, question->map->l_name)) return 0;
    question->headers = info->dlpi_phdr;
    question->count = info->dlpi_phnum;
    return 1;
}

static void headers(const char *whose, struct link_map *map)
{
    struct question question = { map };
    const ElfW(Phdr) *headers = NULL;
    int count = dlinfo(map, REQUEST_PHDR, &headers), dynamic = 0;
    dl_iterate_phdr(look, &question);
    for (int i = 0; i < count; i++) dynamic += headers[i].p_type == PT_DYNAMIC;
    printf("%s: %s, %s, PT_DYNAMIC %d\n", whose, headers == question.headers ? "those of dl_iterate_phdr" : "others",
           count == question.count ? "as many" : "another number", dynamic);
}

static struct link_map *vdso(void)
{
    struct link_map *map = _r_debug.r_map;
    while (map && strncmp(map->l_name, "linux-vdso", 10)) map = map->l_next;
    return map;
}

static void *leave(void *p) { pthread_exit(p); }

static void *wait_for_the_end(void *p) { for (;;) pause(); }

static void small_stack(void *(*act)(void *), const char *how, int more)
{
    pthread_attr_t attributes;
    pthread_t thread;
    void *result = NULL;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN + more);
    if (pthread_create(&thread, &attributes, act, &result)) { printf("%s: no thread\n", how); return; }
    if (act == wait_for_the_end) pthread_cancel(thread);
    pthread_join(thread, &result);
    printf("%s: %s\n", how, result == PTHREAD_CANCELED ? "cancelled" : "ended");
}

static volatile int handled, armed;

static void on_signal(int signal)
{
    pid_t child = fork();
    if (child == 0) _exit(3);
    int status = 0;
    waitpid(child, &status, 0);
    handled = WEXITSTATUS(status);
}

/* Registered before any other, so it runs after all others: as if the signal came just before the child is made. */
static void prepare(void) { if (armed) armed = 0, raise(SIGUSR1); }
static void first(void) { pthread_atfork(prepare, 0, 0); }
__attribute__((section(".preinit_array"), used)) static void (*at_first)(void) = first;

int main(void)
{
    /* A small stack needs libgcc_s to be there already: glibc opens it in pthread_exit. */
    dlopen("libgcc_s.so.1", RTLD_NOW);
    headers("program", dlopen(NULL, RTLD_NOW));
    headers("libc", dlopen("libc.so.6", RTLD_NOW));
    headers("a library", dlopen("./lib.so", RTLD_NOW));
    const ElfW(Phdr) *own = NULL;
    dlinfo(dlopen(NULL, RTLD_NOW), REQUEST_PHDR, &own);
    printf("AT_PHDR: %s\n", (unsigned long)own == getauxval(AT_PHDR) ? "the same" : "another");

    struct link_map *kernels = vdso(), *asked = NULL;
    Dl_info info;
    printf("the vDSO's handle: %d, ", dlinfo(kernels, RTLD_DI_LINKMAP, &asked));
    printf("%s, ", asked == kernels ? "itself" : "another");
    void *clock = dlsym(kernels, "__vdso_clock_gettime");
    printf("%s, dladdr %d\n", clock ? "a function" : "none", dladdr(clock, &info));

    small_stack(leave, "pthread_exit", 0);
    small_stack(wait_for_the_end, "pthread_cancel", 0);
    small_stack(leave, "a page more", 4096);

    signal(SIGUSR1, on_signal);
    armed = 1;
    pid_t child = fork();
    if (child == 0) {
        /* The child may fork and open, too. */
        pid_t grandchild = fork();
        if (grandchild == 0) _exit(dlopen("./lib.so", RTLD_NOW) ? 7 : 1);
        int status = 0;
        waitpid(grandchild, &status, 0);
        _exit(WEXITSTATUS(status));
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("a fork in a fork: %d, %d\n", handled, WEXITSTATUS(status));
    printf("and after it: %s\n", dlopen("libz.so.1", RTLD_NOW) || dlopen("libm.so.6", RTLD_NOW) ? "opens" : dlerror());
    return 0;
}
#endif
