//@ out: stub/libcycle.so

// Stands in for libcycle.so while libother.so is linked, since that cannot be there yet.
int odd(int number) { return number; }
