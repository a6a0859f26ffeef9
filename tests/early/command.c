// A program that ld.so is asked to run: where it lies, and where its libraries are searched.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef PLUGIN
__thread int counter = 41;
int plugin(void) { return ++counter; }
#else
static void call(const char *file)
{
    void *handle = dlopen(file, RTLD_LAZY);
    if (!handle) { printf("%s: %s\n", file, dlerror()); return; }
    int (*plugin)(void) = (int (*)(void))dlsym(handle, "plugin");
    printf("%s: %d\n", file, plugin());
}
int main(void)
{
    char origin[PATH_MAX];
    dlinfo(dlopen(NULL, RTLD_NOW), RTLD_DI_ORIGIN, origin);
    printf("origin: %s\n", origin);
    call("libelsewhere.so");
    call("$ORIGIN/here.so");
    call("librunpath.so");
    return 0;
}
#endif
