//@ teaches: two versions of one function in one library, and who gets which
//@ needs: libnew-user.so libold-user.so libplain-user.so libprovider.so
//@ has: DT_NEEDED libprovider.so
//@ call: old_user() -> i32 = 1
//@ call: new_user() -> i32 = 2
//@ call: plain_user() -> i32 = 1
//@ call: foo() -> i32 = 2
//@ call: foo@V1() -> i32 = 1
//@ call: foo@V2() -> i32 = 2

// A lookup by name alone, as by dlsym, takes the default version, foo@@V2. The three users show
// what a relocation takes.
