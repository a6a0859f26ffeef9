//@ has: STT_FUNC side

const char *side(void) { return "left"; }
