// Constructors and destructors that call exit: what of the others still runs, and how often.
//@ lib last -DLAST
//@ lib middle -DMIDDLE -Wl,--no-as-needed ./last.so -Wl,-rpath,'$ORIGIN'
//@ lib first -DFIRST -Wl,--no-as-needed ./middle.so ./last.so -Wl,-rpath,'$ORIGIN'
//@ lib other -DOTHER
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined LAST
#define NAME "last"
#elif defined MIDDLE
#define NAME "middle"
#elif defined FIRST
#define NAME "first"
#elif defined OTHER
#define NAME "other"
#endif

#ifdef NAME
// EXIT names the library and whether its constructor (+) or its destructor (-) calls exit.
static void act(const char *mark)
{
    char own[20], *wanted = getenv("EXIT");
    snprintf(own, sizeof own, "%s%s", mark, NAME);
    printf(" %s", own);
    if (wanted && !strcmp(wanted, own)) exit(7);
}
__attribute__((constructor)) static void begin(void) { act("+"); }
__attribute__((destructor)) static void end(void) { act("-"); }
__attribute__((destructor(101))) static void late(void) { printf(" (-%s late)", NAME); }
#else
static void *open_or_say(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW);
    if (!handle) printf(" %s", dlerror());
    return handle;
}
static void handler(void) { printf(" handler"); }

int main(void)
{
    static const char *cases[] = { "none", "+last", "+middle", "+first", "-last", "-middle", "-first", "+other", "-other" };
    for (unsigned at = 0; at < sizeof cases / sizeof *cases; at++) {
        for (int closing = 0; closing < 2; closing++) {
            fflush(stdout);
            pid_t child = fork();
            if (!child) {
                setenv("EXIT", cases[at], 1);
                printf("%s, %s:", cases[at], closing ? "closed" : "left open");
                atexit(handler);
                void *other = open_or_say("./other.so"), *first = open_or_say("./first.so");
                printf(" opened");
                if (closing) { dlclose(first); printf(" closed"); dlclose(other); }
                exit(0);
            }
            int status = 0;
            waitpid(child, &status, 0);
            printf(" status %x\n", status);
        }
    }
    return 0;
}
#endif
