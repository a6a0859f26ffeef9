//@ needs: libbottom.so
//@ has: DT_NEEDED libbottom.so

#include <stdio.h>

extern int bottom(void);

int middle(void) { return 10 + bottom(); }

__attribute__((constructor)) static void start(void) { puts("middle starts"); }
__attribute__((destructor)) static void stop(void) { puts("middle stops"); }
