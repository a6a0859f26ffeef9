//@ teaches: DT_RUNPATH counts only for the library that has it: what a dependency needs is not found there
//@ needs: deep/libnear.so
//@ runpath: $ORIGIN/deep
//@ has: DT_RUNPATH $ORIGIN/deep
//@ has: no DT_RPATH
//@ refuse: libfar.so: cannot open shared object file
//@ call: user() -> i32

extern int near(void);
int user(void) { return near(); }
