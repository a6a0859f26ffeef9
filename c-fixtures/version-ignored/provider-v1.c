//@ out: stub/libprovider.so
//@ cc: -Wl,--version-script=v1.map

int foo(void) { return 1; }
