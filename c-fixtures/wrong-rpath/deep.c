//@ out: deep/libdeep.so
//@ has: DT_SONAME libdeep.so

int deep(void) { return 5; }
