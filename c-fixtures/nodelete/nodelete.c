//@ teaches: -z nodelete: closing such a library neither stops it nor unmaps it; only the end of the process does
//@ has: no DT_FLAGS_1
//@ call: answer() -> i32 = 42
//@ call: libstaying.so!answer_of_staying() -> i32 = 43
//@ prints: ordinary stops
//@ prints: staying stops

#include <stdio.h>

// An ordinary library. libstaying.so is opened after it and closed before it.
int answer(void) { return 42; }

__attribute__((destructor)) static void stop(void) { puts("ordinary stops"); }
