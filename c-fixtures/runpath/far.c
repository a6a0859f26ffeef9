//@ out: deep/libfar.so
//@ has: DT_SONAME libfar.so

int far(void) { return 5; }
