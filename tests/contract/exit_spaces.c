// The end of the process: libraries of dlmopen's namespaces go before those of the program's, the latest namespace first.
//@ lib one -DNAME='"one"'
//@ lib two -DNAME='"two"'
//@ lib base -DNAME='"base"'
#include "contract.h"

#ifdef NAME
// libc's own, because glibc gives a namespace a libc of its own: its stdio is written out too late.
__attribute__((destructor)) static void end(void) { write(1, "- " NAME "\n", 3 + strlen(NAME)); }
#else
int main(void)
{
    const char *orders[] = { "12b", "1b2", "b12" };
    for (int at = 0; at < 3; at++) {
        printf("%s\n", orders[at]);
        pid_t child = fork();
        if (!child) {
            for (const char *which = orders[at]; *which; which++) {
                void *handle = *which == 'b' ? dlopen("./base.so", RTLD_NOW)
                    : dlmopen(LM_ID_NEWLM, *which == '1' ? "./one.so" : "./two.so", RTLD_NOW);
                if (!handle) printf("%s\n", dlerror());
            }
            exit(0);
        }
        waitpid(child, NULL, 0);
    }
    return 0;
}
#endif
