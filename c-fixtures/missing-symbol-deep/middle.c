//@ needs: libbottom.so
//@ has: DT_NEEDED libbottom.so

#include <stdio.h>

extern int bottom(void);
int middle(void) { return bottom(); }

__attribute__((constructor)) static void start(void) { puts("middle started"); }
