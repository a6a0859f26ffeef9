/* Of which a process has one: libstdc++, libgcc_s, libc; std::cout, stdout, errno, environ, inline and unique variables,
   types that are thrown. In a program at a fixed address, whose canonical PLT entries and copies count, too. */
//@ lib libone -DLIBRARY -D'NAME(x)=one_##x'
//@ lib libtwo -DLIBRARY -D'NAME(x)=two_##x'
//@ in_c
//@ program -no-pie -fno-pie -rdynamic
#if defined(LIBRARY)
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <locale>
#include <stdexcept>
#include <typeinfo>
#include <unistd.h>
struct Shared { static inline int counter = 0; int n; };
template <class T> struct Generic { static int value; };
template <class T> int Generic<T>::value = 5;
inline int *function_static() { static int n = 1; return &n; }
extern "C" const void *const *NAME(addresses)() {
    static const void *all[] = {
        &stdout, stdout, &errno, &environ, (const void *)&malloc, (const void *)&puts, (const void *)&qsort,
        &std::cout, &std::cerr, &Shared::counter, &Generic<int>::value, function_static(),
        (const void *)&std::locale::classic(), &typeid(Shared), nullptr,
    };
    return all;
}
extern "C" int NAME(bump)() { return ++Shared::counter; }
extern "C" void NAME(says)(const char *text) { std::cout << text << ' ' << std::flush; printf("%s ", text); fflush(stdout); }
extern "C" void NAME(throws)() { throw Shared{17}; }
extern "C" int NAME(catches)(void (*f)()) { try { f(); } catch (Shared &s) { return s.n; } return -1; }
#else
#include "contract.h"
#include <errno.h>

extern char **environ;

static int copies(const char *name) {
    char line[4096];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) count += strstr(line, name) && strstr(line, " 00000000 ");
    fclose(maps);
    return count;
}

int main(void) {
    void *one = opened("./libone.so", RTLD_NOW), *two = opened("./libtwo.so", RTLD_LAZY);
    const void *const *of_one = CALL(const void *const *, one, "one_addresses");
    const void *const *of_two = CALL(const void *const *, two, "two_addresses");
    const void *own[] = {&stdout, stdout, &errno, &environ, malloc, puts, qsort};
    for (int i = 0; of_one[i]; i++) {
        printf("%d: equal %d", i, of_one[i] == of_two[i]);
        if (i < 7) printf(", the program's %d", of_one[i] == own[i]);
        printf("\n");
    }
    printf("by name: %d %d\n", dlsym(RTLD_DEFAULT, "puts") == (void *)puts, dlsym(one, "qsort") == (void *)qsort);
    printf("bumps: %d", CALL(int, one, "one_bump"));
    printf(" %d", CALL(int, two, "two_bump"));
    printf(" %d\n", CALL(int, one, "one_bump"));
    int (*catches)(void *) = dlsym(one, "one_catches");
    printf("thrown by two, caught by one: %d\n", catches(dlsym(two, "two_throws")));
    void (*says)(const char *) = dlsym(one, "one_says");
    says("a");
    says = dlsym(two, "two_says");
    says("b");
    printf("\n");
    const char *names[] = {"libstdc++.so", "libgcc_s.so", "libc.so", "libm.so", "ld-linux-x86-64.so"};
    for (int i = 0; i < 5; i++) printf("%s: %d\n", names[i], copies(names[i]));
    dlclose(one);
    dlclose(two);
    printf("kept by their unique symbols: %d\n", mapped("/libone.so"));
    return 0;
}
#endif
