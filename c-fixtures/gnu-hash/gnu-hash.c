//@ teaches: only DT_GNU_HASH: a bloom filter first, then chains that hold the hashes themselves
//@ cc: -Wl,--hash-style=gnu
//@ has: DT_GNU_HASH
//@ has: no DT_HASH
//@ call: first() -> i32 = 1
//@ call: second() -> i32 = 2
//@ call: third_of_first_and_second() -> i32 = 3

// The table holds only what is defined here: the number of all symbols stands nowhere, one has to
// walk to the end of the last chain.
int first(void) { return 1; }
int second(void) { return 2; }

// R_X86_64_JUMP_SLOT for both: found through this library's own table, too.
int third_of_first_and_second(void) { return first() + second(); }
