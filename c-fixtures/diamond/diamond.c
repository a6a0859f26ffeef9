//@ teaches: two libraries that need the same third one: it is loaded once, and starts once
//@ needs: libleft.so libright.so
//@ has: DT_NEEDED libleft.so
//@ has: DT_NEEDED libright.so
//@ has: R_X86_64_JUMP_SLOT left
//@ has: R_X86_64_JUMP_SLOT right
//@ has: no DT_NEEDED libbottom.so
//@ call: starts_of_bottom() -> i32 = 1
//@ call: left() -> i32 = 1
//@ call: right() -> i32 = 2
//@ call: both() -> i32 = 7

// Both sides count in the one variable of the one libbottom.so.
extern int left(void), right(void);
int both(void) { return left() + right(); }
