/* What every program here begins with. A program prints only what must be the same under glibc and under dlscope:
   no addresses, no numbers of a run. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Whole lines, in order with those of children and other threads; and whoever hangs is ended. */
__attribute__((constructor)) static void begin(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(120);
}

/* The error of this thread, which asking for clears. */
__attribute__((unused)) static void error(const char *what) {
    const char *text = dlerror();
    printf("%s: %s\n", what, text ? text : "(no error)");
    if (dlerror()) printf("%s: not cleared\n", what);
}

/* A library that must be there. */
__attribute__((unused)) static void *opened(const char *path, int mode) {
    void *handle = dlopen(path, mode);
    if (!handle) printf("%s\n", dlerror());
    return handle;
}

/* The answer of a function without arguments. */
#define CALL(type, handle, name) (((type(*)(void))dlsym(handle, name))())

__attribute__((unused)) static const char *base(const char *path) {
    return strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

/* Whether a file of this name is mapped. */
__attribute__((unused)) static int mapped(const char *name) {
    char line[4096];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) found |= strstr(line, name) != NULL;
    fclose(maps);
    return found;
}

/* Arguments of a call may be evaluated in any order, so what is asked goes here first. */
__attribute__((unused)) static int answer;

/* Ends a use, and says whether the library is still there. */
__attribute__((unused)) static void closes(void *handle, const char *name) {
    answer = dlclose(handle);
    printf("closed: %d, %s there: %d\n", answer, base(name), mapped(name));
}
