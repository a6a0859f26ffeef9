//@ teaches: DT_HASH and DT_GNU_HASH in one library: both must lead to the same symbols
//@ cc: -Wl,--hash-style=both
//@ has: DT_HASH
//@ has: DT_GNU_HASH
//@ call: first() -> i32 = 1
//@ call: second() -> i32 = 2

int first(void) { return 1; }
int second(void) { return 2; }
