//@ teaches: a DT_RPATH to where the library lay when it was built: installed elsewhere, nobody finds it
//@ needs: deep/libdeep.so
//@ runpath: /nowhere/build/deep
//@ has: DT_RPATH /nowhere/build/deep
//@ cc: -Wl,--disable-new-dtags -Wl,-z,noseparate-code -s
//@ refuse: libdeep.so: cannot open shared object file
//@ call: user() -> i32

// libdeep.so lies in deep/, but the path is that of another machine.
extern int deep(void);
int user(void) { return deep(); }
