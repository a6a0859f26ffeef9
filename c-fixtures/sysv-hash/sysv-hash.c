//@ teaches: only DT_HASH, the table of the System V ABI: every symbol in chains, and their number in nchain
//@ cc: -Wl,--hash-style=sysv
//@ has: DT_HASH
//@ has: no DT_GNU_HASH
//@ call: first() -> i32 = 1
//@ call: second() -> i32 = 2
//@ call: third_of_first_and_second() -> i32 = 3

int first(void) { return 1; }
int second(void) { return 2; }

// R_X86_64_JUMP_SLOT for both: found through this library's own table, too.
int third_of_first_and_second(void) { return first() + second(); }
