// With nothing left to allocate, each function fails as POSIX says, or succeeds. None ends the process.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef PLUGIN
int plugin(void) { return 7; }
#else
static char text[200];
static void *volatile last; // a compiler leaves out what nobody looks at
#define SAY(...) do { int n = snprintf(text, sizeof text, __VA_ARGS__); if (write(1, text, n) < 0) return; } while (0)
static void *handle;
static int (*plugin)(void);
static void *nothing(void *p) { return p; }
static int see(struct dl_phdr_info *info, size_t size, void *seen) { (void)size; *(int *)seen += strstr(info->dlpi_name, "libplugin") != 0; return 0; }
static void thread(void)
{
    pthread_t thread;
    int result = pthread_create(&thread, 0, nothing, 0);
    SAY("pthread_create: %s\n", result == EAGAIN ? "EAGAIN" : "other");
}
static void opening(void)
{
    void *other = dlopen("./libother.so", RTLD_NOW);
    char *error = dlerror();
    SAY("dlopen: %d, %s, %s\n", other != 0, error && *error ? "an error" : "no error", dlerror() ? "again" : "once");
}
static void opening_again(void) { SAY("the same again: %d\n", dlopen("./libplugin.so", RTLD_NOW) == handle); }
static void lookup(void)
{
    SAY("handle: %d\n", dlsym(handle, "plugin") == (void *)plugin);
    SAY("default: %d\n", dlsym(RTLD_DEFAULT, "puts") != 0);
    SAY("next: %d\n", dlsym(RTLD_NEXT, "puts") != 0);
    SAY("version: %d\n", dlvsym(RTLD_NEXT, "memcpy", "GLIBC_2.14") != 0);
    SAY("program: %d\n", dlsym(dlopen(0, RTLD_LAZY), "puts") != 0);
    SAY("missing: %d, %d\n", dlsym(handle, "none") != 0, dlerror() != 0);
}
static void address(void)
{
    Dl_info info;
    SAY("dladdr: %d", dladdr((void *)plugin, &info));
    SAY(", %s\n", info.dli_sname);
    SAY("dladdr: %d, %d\n", dladdr((void *)see, &info), dladdr((void *)text, &info));
}
static void iterate(void)
{
    int seen = 0;
    dl_iterate_phdr(see, &seen);
    SAY("dl_iterate_phdr: %d\n", seen);
}
static void closing(void)
{
    SAY("dlclose: %d\n", dlclose(handle));
    SAY("twice: %d\n", dlclose(handle));
}
static void leave(void) { SAY("exit\n"); exit(0); }
static void (*const acts[])(void) = { thread, opening, opening_again, lookup, address, iterate, closing, leave };
int main(void)
{
    for (int act = 0; act < sizeof acts / sizeof *acts; act++) {
        pid_t child = fork();
        if (child == 0) {
            handle = dlopen("./libplugin.so", RTLD_NOW);
            if (!handle) _exit(9);
            plugin = (int (*)(void))dlsym(handle, "plugin");
            struct rlimit none = { 0, 0 };
            setrlimit(RLIMIT_AS, &none);
            for (size_t size = 1 << 20; size; size /= 2) while ((last = malloc(size)));
            acts[act]();
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        printf("%d: %s %d\n", act, WIFEXITED(status) ? "status" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
        fflush(stdout);
    }
    return 0;
}
#endif
