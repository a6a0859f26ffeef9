//@ out: deep/libdeep.so
//@ cc: -s
//@ has: DT_SONAME libdeep.so

int deep(void) { return 5; }
