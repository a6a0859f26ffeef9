//@ has: R_X86_64_JUMP_SLOT side

const char *side(void) { return "right"; }

// R_X86_64_JUMP_SLOT: bound to libleft.so, though the function stands three lines above.
const char *asked_from_right(void) { return side(); }
