//@ teaches: a PT_LOAD that is writable and executable at once
//@ cc: -Wl,-N,-Bdynamic
//@ policy: a segment is writable and executable at once
//@ has: PT_LOAD:RWX
//@ call: answer() -> i32 = 42

// -N puts code and data into one segment; it would also turn to static libraries, hence -Bdynamic.
int answer(void) { return 42; }
