//@ teaches: a read-only PT_DYNAMIC: its pointers stay as the file has them, nobody may add the load bias in place
//@ cc: -Wl,-z,norelro
//@ patch: readonly-dynamic
//@ has: PT_DYNAMIC:R--
//@ call: answer() -> i32 = 42

// glibc adds the load bias to the pointers in the dynamic section, in memory. Where PT_DYNAMIC has
// no PF_W it adds the bias at each use, and a reader of its link_map has to know which it is.
int answer(void) { return 42; }
