/* dlmopen: namespaces. What they share differs (a second libc is what dlscope never loads), and is not asked here. */
//@ lib liba -DA
//@ lib libdep -DDEP
//@ lib libtop -DTOP -nostdlib -L. -Wl,--no-as-needed -ldep -Wl,-rpath,'$ORIGIN'
#if defined(A)
static int count;
int next(void) { return ++count; }
#elif defined(DEP)
int dep(void) { return 11; }
#elif defined(TOP)
int dep(void);
int top(void) { return dep() + 1; }
#else
#include "contract.h"

int main(void) {
    Lmid_t number = -7, again = -7;
    void *here = dlmopen(LM_ID_BASE, "./liba.so", RTLD_NOW);
    printf("base: %d\n", here == dlopen("./liba.so", RTLD_NOW));
    printf("global in base: %d\n", dlmopen(LM_ID_BASE, "./liba.so", RTLD_NOW | RTLD_GLOBAL) == here);
    printf("program in base: %d\n", dlmopen(LM_ID_BASE, NULL, RTLD_NOW) == dlopen(NULL, RTLD_NOW));

    void *there = dlmopen(LM_ID_NEWLM, "./liba.so", RTLD_NOW);
    printf("new: %d, another: %d\n", there != NULL, there != here);
    answer = dlinfo(there, RTLD_DI_LMID, &number);
    printf("its number: %d %d\n", answer, number > 0);
    printf("two copies: %d %d ", CALL(int, here, "next"), CALL(int, here, "next"));
    printf("%d\n", CALL(int, there, "next"));
    printf("in it: %d\n", dlmopen(number, "./liba.so", RTLD_NOW) == there);
    void *top = dlmopen(number, "./libtop.so", RTLD_NOW);
    printf("with what it needs: %d\n", CALL(int, top, "top"));
    printf("not outside: %d\n", dlopen("./libtop.so", RTLD_NOW | RTLD_NOLOAD) != NULL);
    printf("nor by name: %d\n", dlsym(RTLD_DEFAULT, "top") != NULL);
    error("nor by name");
    void *third = dlmopen(LM_ID_NEWLM, "./liba.so", RTLD_NOW);
    answer = dlinfo(third, RTLD_DI_LMID, &again);
    printf("a third: %d %d %d, %d\n", third != here && third != there, answer, again != number, CALL(int, third, "next"));

    printf("no such namespace: %d\n", dlmopen(12345, "./liba.so", RTLD_NOW) != NULL);
    error("no such namespace");
    printf("program elsewhere: %d\n", dlmopen(LM_ID_NEWLM, NULL, RTLD_NOW) != NULL);
    error("program elsewhere");
    printf("no mode: %d\n", dlmopen(LM_ID_NEWLM, "./liba.so", 0) != NULL);
    error("no mode");
    printf("missing: %d\n", dlmopen(LM_ID_NEWLM, "./nowhere.so", RTLD_NOW) != NULL);
    error("missing");
    printf("closed: %d %d %d\n", dlclose(top), dlclose(there), dlclose(there));
    closes(third, "/liba.so");
    printf("the first goes on: %d\n", CALL(int, here, "next"));
    return 0;
}
#endif
