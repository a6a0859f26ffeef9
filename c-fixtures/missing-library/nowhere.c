//@ out: stub/libnowhere.so

int nowhere(void) { return 1; }
