//@ teaches: the last of three libraries lacks a symbol: none of them has run, none stays mapped
//@ needs: libmiddle.so
//@ has: DT_NEEDED libmiddle.so
//@ refuse: undefined symbol: nowhere
//@ call: top() -> i32

#include <stdio.h>

extern int middle(void);
int top(void) { return middle(); }

// None of the three constructors may run: all are relocated before the first one starts.
__attribute__((constructor)) static void start(void) { puts("top started"); }
