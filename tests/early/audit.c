// LD_AUDIT makes glibc lay out static thread-local storage before it knows the preload library.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined AUDIT
unsigned la_version(unsigned version) { return version; }
#elif defined PLUGIN
__thread int dynamic = 7;
int plugin(void) { return dynamic++; }
#elif defined INITIAL_EXEC
__thread char block[4000] __attribute__((tls_model("initial-exec"))) = "x";
int plugin(void) { return block[0]; }
#else
static int (*plugin)(void);
static void *work(void *sum)
{
    char name[40];
    for (int i = 0; i < 20; i++) *(int *)sum += plugin();
    sprintf(name, "no_such_%p", sum);
    if (dlsym(RTLD_DEFAULT, name) || !strstr(dlerror(), name)) *(int *)sum = -1;
    return 0;
}
static int see(struct dl_phdr_info *info, size_t size, void *seen) { (void)size; *(int *)seen += strstr(info->dlpi_name, "libplugin") != 0; return 0; }
static int threads(void)
{
    pthread_t threads[300];
    int sums[300] = {0}, wrong = 0;
    for (int i = 0; i < 300; i++) pthread_create(&threads[i], 0, work, &sums[i]);
    for (int i = 0; i < 300; i++) pthread_join(threads[i], 0);
    for (int i = 0; i < 300; i++) wrong += sums[i] != 330;
    return wrong;
}
int main(void)
{
    setvbuf(stdout, 0, _IONBF, 0);
    for (int i = 0; i < 3; i++) {
        void *handle = dlopen("./libplugin.so", RTLD_NOW);
        if (!handle) return puts(dlerror()), 2;
        plugin = (int (*)(void))dlsym(handle, "plugin");
        int seen = 0;
        dl_iterate_phdr(see, &seen);
        printf("plugin: %d, threads wrong: %d, seen: %d\n", plugin(), threads(), seen);
        // Threads of a child may be where those of its parent were.
        pid_t child = fork();
        if (child == 0) _exit(plugin() == 8 ? threads() : 1);
        int status;
        waitpid(child, &status, 0);
        printf("child: %d, closed: %d\n", status, dlclose(handle));
    }
    // What glibc itself does then is in its hands: there is room for some.
    void *handle = dlopen("./libinitial.so", RTLD_NOW);
    puts(handle ? "initial exec: opened" : strstr(dlerror(), "cannot allocate memory in static TLS block"));
    return 0;
}
#endif
