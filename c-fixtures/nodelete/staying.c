//@ cc: -Wl,-z,nodelete
//@ has: DT_FLAGS_1 d_val=8

#include <stdio.h>

int answer_of_staying(void) { return 43; }

// Runs when the process ends, and so later than the destructor of the library closed after this one.
__attribute__((destructor)) static void stop(void) { puts("staying stops"); }
