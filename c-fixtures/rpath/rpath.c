//@ teaches: DT_RPATH, the older kind, counts for the dependencies of dependencies too
//@ needs: deep/libnear.so
//@ runpath: ${ORIGIN}/deep
//@ cc: -Wl,--disable-new-dtags
//@ has: DT_RPATH ${ORIGIN}/deep
//@ has: no DT_RUNPATH
//@ call: user() -> i32 = 5

// libnear.so is found in deep/, and libfar.so, which libnear.so needs, there as well: the loader
// goes up from who needs it to who needed that one, as long as none has a DT_RUNPATH.
extern int near(void);
int user(void) { return near(); }
