//@ teaches: the classic first call: an int and a double go in, a double comes out
//@ has: STT_FUNC my_function
//@ call: my_function(i32 42, f64 3.14) -> f64 = 45.14

// The calling convention (psABI, "Parameter Passing") puts the int into edi and the double into
// xmm0. No relocation: all that the loader does is to map this code and find its name.
double my_function(int number, double fraction) { return number + fraction; }
