//@ teaches: STV_PROTECTED: exported, yet inside its library nobody else's definition comes first
//@ needs: libshielded.so
//@ has: STV_DEFAULT own_protected
//@ call: own_default() -> i32 = 1
//@ call: ask_default() -> i32 = 1
//@ call: sees_protected() -> i32 = 2
//@ call: sees_protected_variable() -> i32 = 2
//@ call: sees_protected_through_pointer() -> i32 = 2

// This library comes first in the search order, and defines the same three names.
int own_default(void) { return 1; }
int own_protected(void) { return 1; }
int own_variable = 1;
