// A program with a sanitizer opens a library. The sanitizer looks up the functions that it wraps before anything else.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef PLUGIN
int plugin(void) { int *volatile p = malloc(4); *p = 7; int seven = *p; free(p); return seven; }
#else
int main(void)
{
    void *handle = dlopen("./libplugin.so", RTLD_NOW);
    if (!handle) { puts(dlerror()); return 2; }
    printf("plugin: %d\n", ((int (*)(void))dlsym(handle, "plugin"))());
    if (!dlsym(handle, "no_such")) puts(dlerror());
    return dlclose(handle);
}
#endif
