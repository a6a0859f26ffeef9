//@ teaches: $ORIGN is not $ORIGIN: a token that nobody knows stays as it is, and is no folder
//@ needs: deep/libdeep.so
//@ runpath: $ORIGN/deep
//@ has: DT_RUNPATH $ORIGN/deep
//@ cc: -Wl,-z,noseparate-code -s
//@ refuse: libdeep.so: cannot open shared object file
//@ call: user() -> i32

// One letter is missing, and the linker takes it as it is.
extern int deep(void);
int user(void) { return deep(); }
