// Opens and closes libraries as its arguments say, and shows which of their constructors (+) and destructors (-) run when.
//
// usage: driver FOLDER o3 g4 c3 ...     o: open lib3.so, g: with RTLD_GLOBAL, c: close, x: exit at once
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    static void *handles[64];
    setvbuf(stdout, NULL, _IONBF, 0);
    for (int at = 2; at < argc; at++) {
        char path[1000], what = argv[at][0];
        int library = atoi(argv[at] + 1);
        printf("\n%s:", argv[at]);
        snprintf(path, sizeof path, "%s/lib%d.so", argv[1], library);
        if (what == 'x') exit(0);
        if (what == 'c') {
            if (dlclose(handles[library])) printf(" %s", dlerror());
        } else {
            handles[library] = dlopen(path, RTLD_NOW | (what == 'g' ? RTLD_GLOBAL : RTLD_LOCAL));
            if (!handles[library]) printf(" %s", dlerror());
        }
    }
    printf("\nexit:");
    return 0;
}
