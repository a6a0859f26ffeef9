//@ teaches: initial exec with 64 KiB of variables: no thread has so much room left, and no loader can make more
//@ cc: -ftls-model=initial-exec
//@ has: PT_TLS p_memsz>=65536
//@ has: R_X86_64_TPOFF64
//@ cc: -Wl,-z,noseparate-code -s
//@ refuse: cannot allocate memory in static TLS block
//@ call: user() -> i32

// Its code reaches the array at a fixed distance from the thread pointer, so it must lie in the block that every
// thread has had since its start.
static __thread char large[65536];
int user(void) { return ++large[0]; }
