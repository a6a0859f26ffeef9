//@ teaches: PT_GNU_STACK with PF_X: a library that wants every thread's stack to be executable
//@ cc: -Wl,-z,execstack
//@ policy: it asks for an executable stack, which would weaken the whole process
//@ has: PT_GNU_STACK:RWX
//@ call: answer() -> i32 = 42

int answer(void) { return 42; }
