//@ out: stub/libprovider.so

int foo(void) { return 0; }
