//@ teaches: $ORIGIN without quotes: the shell replaces it by nothing, and /deep is left
//@ needs: deep/libdeep.so
//@ runpath: /deep
//@ has: DT_RUNPATH /deep
//@ cc: -Wl,-z,noseparate-code -s
//@ refuse: libdeep.so: cannot open shared object file
//@ call: user() -> i32

// What -Wl,-rpath,$ORIGIN/deep becomes in a shell.
extern int deep(void);
int user(void) { return deep(); }
