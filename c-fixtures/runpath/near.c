//@ out: deep/libnear.so
//@ needs: deep/libfar.so
//@ runpath: none
//@ has: no DT_RUNPATH

// Beside libfar.so, but with no path of its own to look there.
extern int far(void);
int near(void) { return far(); }
