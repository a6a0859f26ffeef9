//@ teaches: VER_FLG_WEAK: a missing version that the library can do without
//@ needs: stub/libprovider.so
//@ patch: weak-version V9
//@ has: version foo@V9
//@ has: STB_WEAK foo
//@ call: user() -> i32 = 0

// The one symbol wanted with V9 is weak, and the need for V9 is marked as weak too: where it is
// missing the loader goes on, and the symbol is 0.
extern int foo(void) __attribute__((weak));
int user(void) { return foo != 0; }
