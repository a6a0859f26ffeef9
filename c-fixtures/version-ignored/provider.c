//@ has: no DT_VERDEF

int foo(void) { return 7; }
