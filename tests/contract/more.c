/* What a call of `dlopen` leaves alone, whoever calls and whatever name is given: cancellation, errno, exceptions aside; names
   by which a file was opened; numbers of namespaces; and text for crash handlers. */
//@ lib lib -DLIB; mkdir -p other found; lib other/moved -DLIB -DOTHER; lib found/libfound -DLIB
//@ program -rdynamic -Wl,--enable-new-dtags -Wl,-rpath,'$ORIGIN/found'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef LIB
#include <execinfo.h>
int visible(void **frames) { int n = backtrace(frames, 8); __asm__ volatile(""); return n; }
static int hidden(void **frames) { int n = backtrace(frames, 8); __asm__ volatile(""); return n; }
int (*pointer)(void **) = hidden;
#else
/* A pending cancellation is no matter of dlopen: the thread ends at the next cancellation point. */
static void *cancelled(void *name)
{
    pthread_cancel(pthread_self());
    void *handle = dlopen(name, RTLD_NOW);
    printf("%s with a cancellation pending: %s\n", (char *)name, handle ? "opened" : dlerror());
    pthread_testcancel();
    return NULL;
}

static void cancel(const char *name)
{
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, cancelled, (void *)name);
    pthread_join(thread, &result);
    printf("  then: %s\n", result == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
}

static void keeps_errno(const char *name)
{
    errno = 77;
    void *handle = dlopen(name, RTLD_NOW);
    printf("errno after %s: %d\n", name, errno);
    if (handle) dlclose(handle);
}

/* The same as `dlopen(name, RTLD_NOW)`, from memory that belongs to no object. */
static void *from_nowhere(const char *name)
{
    static const unsigned char code[] = { 0x48, 0x83, 0xec, 0x08, 0xff, 0xd2, 0x48, 0x83, 0xc4, 0x08, 0xc3 };
    void *(*call)(const char *, int, void *(*)(const char *, int));
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page, code, sizeof code);
    mprotect(page, 4096, PROT_READ | PROT_EXEC);
    *(void **)&call = page;
    return call(name, RTLD_NOW, dlopen);
}

/* Frames of the library, without addresses, which differ between runs. */
static void frames(void **addresses, int count)
{
    char **lines = backtrace_symbols(addresses, count);
    for (int i = 0; i < count && i < 2; i++) {
        char *line = strdup(lines[i]), *end = strstr(line, " [0x");
        if (end) *end = 0;
        printf("  %s%s\n", line, end ? " [address]" : "");
        free(line);
    }
    free(lines);
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    cancel("./lib.so");
    cancel("./nowhere.so");
    cancel("libnowhere.so.1");
    keeps_errno("libz.so.1");
    keeps_errno("libnowhere.so.1");
    printf("from nowhere: %s\n", from_nowhere("libfound.so") ? "found" : dlerror());

    /* A file by another name: the name is known from then on, wherever it leads. */
    symlink("lib.so", "alias.so");
    void *first = dlopen("./lib.so", RTLD_NOW), *second = dlopen("./alias.so", RTLD_NOW);
    unlink("alias.so");
    void *third = dlopen("./alias.so", RTLD_NOW);
    printf("an alias: %s, without the file: %s\n", second == first ? "the same" : "another", third == first ? "the same" : dlerror());

    /* A namespace whose last library was closed is gone, and so is its number. */
    long number = 0;
    for (int i = 0; i < 5; i++) {
        void *space = dlmopen(LM_ID_NEWLM, "./lib.so", RTLD_NOW);
        if (!space) { puts(dlerror()); break; }
        dlinfo(space, RTLD_DI_LMID, &number);
        printf("namespace %ld\n", number);
        dlclose(space);
    }
    printf("into one that is closed: %s\n", dlmopen(number, "./lib.so", RTLD_NOW) ? "opened" : dlerror());

    void *addresses[8];
    int (*visible)(void **) = dlsym(first, "visible"), (**hidden)(void **) = dlsym(first, "pointer");
    puts("an exported function:");
    frames(addresses, visible(addresses));
    puts("a static function:");
    frames(addresses, (*hidden)(addresses));
    void *bad[] = { (void *)0x10 };
    frames(bad, 1);
    puts("to a file:");
    backtrace_symbols_fd(bad, 1, 1);
    return 0;
}
#endif
