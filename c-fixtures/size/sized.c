//@ has: STT_OBJECT sized

// Six ints: st_size is 24.
int sized[6] = {1};
