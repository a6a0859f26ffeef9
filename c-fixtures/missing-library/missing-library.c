//@ teaches: a needed library that is nowhere: refused, with the places that were tried
//@ needs: stub/libnowhere.so
//@ has: DT_NEEDED libnowhere.so
//@ refuse: libnowhere.so: cannot open shared object file
//@ call: user() -> i32

extern int nowhere(void);
int user(void) { return nowhere(); }
