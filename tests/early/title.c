// A server overwrites its arguments and its environment to change what ps shows, and opens a plugin then.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
extern char **environ;
#ifdef PLUGIN
int plugin(void) { return 7; }
#else
int main(int argc, char **argv)
{
    (void)argc;
    static char *none;
    char *end = argv[0];
    for (char **at = environ; *at; at++) end = *at + strlen(*at);
    environ = &none;
    memset(argv[0] + 1, 'x', end - argv[0] - 1);
    void *handle = dlopen("libplugin.so", RTLD_NOW);
    if (!handle) { puts("not found"); return 2; }
    printf("plugin: %d\n", ((int (*)(void))dlsym(handle, "plugin"))());
    return 0;
}
#endif
