//@ has: DT_INIT_ARRAY

static int starts, counter;

__attribute__((constructor)) static void start(void) { starts++; }

int starts_of_bottom(void) { return starts; }
int count(void) { return ++counter; }
