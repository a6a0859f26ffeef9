//@ out: stub/libprovider.so
//@ cc: -Wl,--version-script=v9.map

int foo(void) { return 9; }
