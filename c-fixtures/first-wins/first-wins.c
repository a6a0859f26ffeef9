//@ teaches: the search order: of two libraries with the same symbol, the first in breadth-first order is used
//@ needs: libleft.so libright.so
//@ has: DT_NEEDED libleft.so
//@ has: DT_NEEDED libright.so
//@ has: R_X86_64_JUMP_SLOT side
//@ show: side
//@ call: asked_from_top() -> str = "left"
//@ call: asked_from_right() -> str = "left"
//@ call: side() -> str = "left"

extern const char *side(void);

// R_X86_64_JUMP_SLOT: looked for in this library, then in the needed ones in their order.
const char *asked_from_top(void) { return side(); }
