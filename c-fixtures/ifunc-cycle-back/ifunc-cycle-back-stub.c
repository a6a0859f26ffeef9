//@ out: stub/libifunc-cycle-back.so

// Stands in for libifunc-cycle-back.so while libother.so is linked.
int chosen(void) { return 0; }
