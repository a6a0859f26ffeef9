//@ teaches: a library that needs one that needs one: all are loaded, and the deepest starts first
//@ needs: libmiddle.so
//@ has: DT_NEEDED libmiddle.so
//@ has: no DT_NEEDED libbottom.so
//@ has: DT_RUNPATH $ORIGIN
//@ has: DT_INIT_ARRAY
//@ call: top() -> i32 = 111
//@ call: bottom() -> i32 = 1
//@ prints: bottom starts
//@ prints: middle starts
//@ prints: top starts
//@ prints: top stops
//@ prints: middle stops
//@ prints: bottom stops

#include <stdio.h>

extern int middle(void);

// $ORIGIN in DT_RUNPATH means the folder of this file: that is where libmiddle.so is looked for.
int top(void) { return 100 + middle(); }

// A constructor may use what the library needs, so dependencies start first and stop last.
__attribute__((constructor)) static void start(void) { puts("top starts"); }
__attribute__((destructor)) static void stop(void) { puts("top stops"); }
