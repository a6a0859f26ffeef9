// Threads with errors come and go, and leave no memory.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
static void *work(void *number)
{
    char name[40];
    sprintf(name, "no_such_%ld", (long)number);
    for (int i = 0; i < 3; i++) {
        dlsym(RTLD_DEFAULT, name);
        if (!strstr(dlerror(), name)) return name;
        if (dlerror()) return name;
    }
    return 0;
}
static int mappings(void)
{
    int lines = 0, c;
    FILE *file = fopen("/proc/self/maps", "r");
    while ((c = getc(file)) != EOF) lines += c == '\n';
    fclose(file);
    return lines;
}
int main(void)
{
    int before = 0, wrong = 0;
    for (long i = 0; i < 2000; i++) {
        pthread_t thread;
        void *result;
        pthread_create(&thread, 0, work, (void *)i);
        pthread_join(thread, &result);
        wrong += result != 0;
        if (i == 100) before = mappings();
    }
    printf("wrong: %d, more mappings: %s\n", wrong, mappings() - before > 50 ? "many" : "no");
    return 0;
}
