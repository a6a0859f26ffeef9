//@ teaches: DT_AUXILIARY: another library may implement some names better, if it is there; a missing one is no error
//@ needs: libbetter.so
//@ cc: -Wl,-f,libbetter.so -Wl,-f,libnot-there.so
//@ has: DT_AUXILIARY libbetter.so
//@ has: DT_AUXILIARY libnot-there.so
//@ call: quality() -> i32 = 2
//@ call: name() -> str = "plain"

// The auxiliary library has this one, too, and is asked first.
int quality(void) { return 1; }

// This one it does not have.
const char *name(void) { return "plain"; }
