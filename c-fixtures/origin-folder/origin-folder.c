//@ teaches: $ORIGIN is the folder of the library itself, not those below it
//@ needs: deep/libdeep.so
//@ runpath: $ORIGIN
//@ has: DT_RUNPATH $ORIGIN
//@ cc: -Wl,-z,noseparate-code -s
//@ refuse: libdeep.so: cannot open shared object file
//@ call: user() -> i32

// libdeep.so lies one folder deeper.
extern int deep(void);
int user(void) { return deep(); }
