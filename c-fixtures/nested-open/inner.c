//@ has: DT_INIT_ARRAY

#include <stdio.h>

__attribute__((constructor)) static void start(void) { puts("inner starts"); }
__attribute__((destructor)) static void stop(void) { puts("inner stops"); }

int answer(void) { return 42; }
