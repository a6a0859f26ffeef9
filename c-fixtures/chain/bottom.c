//@ has: DT_SONAME libbottom.so

#include <stdio.h>

int bottom(void) { return 1; }

__attribute__((constructor)) static void start(void) { puts("bottom starts"); }
__attribute__((destructor)) static void stop(void) { puts("bottom stops"); }
