//@ out: stub/libifunc-cycle.so

// Stands in for libifunc-cycle.so while libother.so is linked.
int ten(void) { return 0; }
