/* What dlerror says. Programs print these words, and some match on them: they are glibc's. */
//@ program -rdynamic
//@ lib liba -DA
//@ lib libgone -DA
//@ lib libneeds -DNEEDS -Wl,--no-as-needed -L. -lgone
//@ rm libgone.so
//@ lib libundefined -DUNDEFINED
//@ lib libdata -DDATA
//@ echo '{ global: one; local: *; };' | sed 's/^/V1 /' >one.map
//@ echo 'V2 { global: one; }; V1 { };' >two.map
//@ lib libprovider -DONE -Wl,--version-script=two.map
//@ lib libuser -DUSER -L. -lprovider -Wl,-rpath,'$ORIGIN'
//@ lib libprovider -DONE -Wl,--version-script=one.map
//@ $CC -c -DA -o object.so "$SOURCE"
//@ $CC -DMAIN -no-pie -o fixed.so "$SOURCE"
//@ $CC -DMAIN -pie -fPIE -o pie.so "$SOURCE"
//@ echo 'not a library at all, and long enough to have a header if it were one, says this line' >text.so
//@ printf '\177ELF' >magic.so
//@ : >empty.so
//@ mkdir -p folder.so
#if defined(A)
const char *a_name(void) { return "a"; }
#elif defined(NEEDS)
int needs;
#elif defined(UNDEFINED)
int nowhere_defined(void);
int (*use)(void) = nowhere_defined;
#elif defined(DATA)
extern int nowhere_either;
int *use = &nowhere_either;
#elif defined(ONE)
int one(void) { return 1; }
#elif defined(USER)
int one(void);
int (*use)(void) = one;
#elif defined(MAIN)
int main(void) { return 0; }
#else
#include "contract.h"

static void file(const char *name) {
    char path[256];
    printf("%s: %d\n", name, dlopen(name, RTLD_NOW) != NULL);
    snprintf(path, sizeof path, "  %s", name);
    error(path);
}

/* liba.so with one byte (or more) changed. */
static void changed(const char *what, long at, const char *bytes, int count) {
    static char copy[1 << 20];
    FILE *from = fopen("liba.so", "r"), *to = fopen("changed.so", "w");
    size_t size = fread(copy, 1, sizeof copy, from);
    memcpy(copy + at, bytes, count);
    fwrite(copy, 1, size, to);
    fclose(from);
    fclose(to);
    printf("%s: %d\n", what, dlopen("./changed.so", RTLD_NOW) != NULL);
    error(what);
    unlink("changed.so");
}

static void *of_thread(void *unused) {
    error("thread, before");
    dlsym(RTLD_DEFAULT, "of_this_thread");
    error("thread");
    return unused;
}

int main(void) {
    file("libnowhere.so.7");
    file("./nope.so");
    file("/nowhere/nope.so");
    file("./folder.so");
    file("./liba.so/inside.so");
    file("./text.so");
    file("./empty.so");
    file("./magic.so");
    file("./object.so");
    file("./fixed.so");
    file("./pie.so");
    file("./libneeds.so");
    file("./libundefined.so");
    file("./libdata.so");
    file("./libuser.so");
    changed("class", 4, "\1", 1);
    changed("byte order", 5, "\2", 1);
    changed("ident version", 6, "\2", 1);
    changed("OS ABI", 7, "\11", 1);
    changed("ABI version", 8, "\7", 1);
    changed("padding", 12, "\1", 1);
    changed("type", 16, "\4", 1);
    changed("machine", 18, "\3", 1);
    changed("version", 20, "\2", 1);
    changed("phentsize", 54, "\70\1", 2);
    changed("no program headers", 56, "\0\0", 2);

    void *a = opened("./liba.so", RTLD_NOW);
    dlsym(a, "nope");
    error("no symbol");
    dlvsym(a, "a_name", "NO_1.0");
    error("no version");
    dlvsym(RTLD_DEFAULT, "puts", "GLIBC_9.9");
    error("no version in libc");
    dlsym(RTLD_DEFAULT, "nope");
    error("no default");
    dlsym(RTLD_NEXT, "nope");
    error("no next");
    dlsym(dlopen(NULL, RTLD_NOW), "nope");
    error("not in the program");
    dlsym(opened("libc.so.6", RTLD_NOW), "nope");
    error("not in libc");

    /* The last error is the one that counts; a success in between does not clear it. */
    dlsym(a, "first");
    dlsym(a, "second");
    printf("success: %d\n", dlsym(a, "a_name") != NULL);
    error("last");

    dlsym(RTLD_DEFAULT, "of_main");
    pthread_t thread;
    pthread_create(&thread, NULL, of_thread, NULL);
    pthread_join(thread, NULL);
    error("main");
    return 0;
}
#endif
