//@ teaches: DT_FILTER: a library that is only a list of names, which another library implements
//@ needs: libimplementation.so
//@ cc: -Wl,-F,libimplementation.so
//@ has: DT_FILTER libimplementation.so
//@ call: answer() -> i32 = 42
//@ call: only_here() -> i32 = 7

// The filter's own body is never reached through its name: whoever asks it for `answer` is sent to the
// filtee, which is searched first.
int answer(void) { return -1; }

// The filtee does not have this one, so the filter's own is taken.
int only_here(void) { return 7; }
