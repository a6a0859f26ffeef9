// The filtee: what DT_FILTER names.
int answer(void) { return 42; }
