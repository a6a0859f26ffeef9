/* foo@V1 and foo@@V2: versioned and unversioned references, dlsym and dlvsym, global, local and deep; a version that is
   missing fails at open. */
//@ echo 'V1 { global: foo; }; V2 { global: foo; bar; } V1;' >both.map
//@ echo 'V1 { global: foo; };' >old.map
//@ lib libprovider -DPROVIDER -Wl,--version-script=old.map -Wl,-soname,libprovider.so -DOLD
//@ lib liboldest -DASKS=oldest -L. -lprovider -Wl,-rpath,'$ORIGIN'
//@ lib libprovider -DPROVIDER -Wl,-soname,libprovider.so -DPLAIN
//@ lib libunversioned -DASKS=unversioned -L. -lprovider -Wl,-rpath,'$ORIGIN'
//@ lib libprovider -DPROVIDER -Wl,--version-script=both.map -Wl,-soname,libprovider.so
//@ lib libnewest -DASKS=newest -L. -lprovider -Wl,-rpath,'$ORIGIN'
//@ lib libown -DOWN -L. -lprovider -Wl,-rpath,'$ORIGIN'
//@ lib libfree -DASKS=free_
//@ mkdir -p old
//@ cd old
//@ lib libprovider -DPROVIDER -Wl,--version-script=../old.map -Wl,-soname,libprovider.so -DOLD
//@ cd ..
//@ cp libnewest.so old/libnewest.so
#if defined(PROVIDER)
#if defined(OLD)
const char *foo(void) { return "V1 of old"; }
#elif defined(PLAIN)
const char *foo(void) { return "without a version"; }
#else
const char *first(void) { return "V1"; }
const char *second(void) { return "V2"; }
__asm__(".symver first,foo@V1\n.symver second,foo@@V2");
const char *bar(void) { return "bar"; }
#endif
#elif defined(ASKS)
const char *foo(void);
const char *ASKS(void) { return foo(); }
#elif defined(OWN)
const char *foo(void) { return "own"; }
const char *bar(void);
const char *own(void) { return foo(); }
const char *its_bar(void) { return bar(); }
#else
#include "contract.h"

static void says(const char *what, void *function) {
    printf("%s: %s\n", what, function ? ((const char *(*)(void))function)() : "(null)");
    if (!function) error(what);
}

static void asks(const char *path, const char *name, int mode) {
    void *handle = opened(path, mode);
    if (handle) says(name, dlsym(handle, name));
    if (handle) dlclose(handle);
}

static void all(int mode) {
    printf("mode %x\n", mode);
    asks("./liboldest.so", "oldest", mode);
    asks("./libunversioned.so", "unversioned", mode);
    asks("./libnewest.so", "newest", mode);
    asks("./libown.so", "own", mode);
    asks("./libown.so", "its_bar", mode);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        printf("too old: %d\n", dlopen("./old/libnewest.so", RTLD_NOW) != NULL);
        error("too old");
        printf("too old, lazily: %d\n", dlopen("./old/libnewest.so", RTLD_LAZY) != NULL);
        error("too old, lazily");
        return 0;
    }
    all(RTLD_NOW);
    all(RTLD_LAZY);
    all(RTLD_NOW | RTLD_DEEPBIND);
    void *provider = opened("./libprovider.so", RTLD_NOW);
    says("dlsym", dlsym(provider, "foo"));
    says("V1", dlvsym(provider, "foo", "V1"));
    says("V2", dlvsym(provider, "foo", "V2"));
    says("V3", dlvsym(provider, "foo", "V3"));
    says("bar, V2", dlvsym(provider, "bar", "V2"));
    says("bar, V1", dlvsym(provider, "bar", "V1"));
    says("by the user, V1", dlvsym(opened("./libnewest.so", RTLD_NOW), "foo", "V1"));
    void *own = opened("./libown.so", RTLD_NOW);
    says("own first", dlsym(own, "foo"));
    says("own, V2", dlvsym(own, "foo", "V2"));
    says("local", dlvsym(RTLD_DEFAULT, "foo", "V2"));
    says("no reference without its provider", opened("./libfree.so", RTLD_NOW));
    dlopen("./libprovider.so", RTLD_NOW | RTLD_GLOBAL);
    says("global", dlsym(RTLD_DEFAULT, "foo"));
    says("global, V1", dlvsym(RTLD_DEFAULT, "foo", "V1"));
    asks("./libfree.so", "free_", RTLD_NOW);
    asks("./libfree.so", "free_", RTLD_LAZY);
    all(RTLD_NOW | RTLD_GLOBAL);
    printf("two memcpys: %d\n",
           dlvsym(RTLD_DEFAULT, "memcpy", "GLIBC_2.2.5") != dlvsym(RTLD_DEFAULT, "memcpy", "GLIBC_2.14"));
    fflush(stdout);
    /* In a process that has none of them yet. */
    if (fork() == 0) execl("./program", "./program", "old", NULL);
    wait(NULL);
    return 0;
}
#endif
