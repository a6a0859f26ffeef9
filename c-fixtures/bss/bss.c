//@ teaches: memory that is longer than the file: zeros that the loader must provide, over several pages
//@ has: PT_LOAD:RW- bss>=12288
//@ call: count_nonzero() -> i32 = 0
//@ call: fill_and_sum() -> i64 = 12288
//@ call: initialised() -> i32 = 7

// These bytes are in the file, and the bss begins behind them on the same page: the loader zeroes
// the rest of that page by hand, as the file's next bytes (the section headers) were mapped there.
int data = 7;

// Not in the file: p_memsz of the last PT_LOAD is larger than its p_filesz by at least this.
static volatile char zeros[12288];

int initialised(void) { return data; }

int count_nonzero(void) {
    int count = 0;
    for (int i = 0; i < 12288; i++) count += zeros[i] != 0;
    return count;
}

// Every page of it can be written.
long fill_and_sum(void) {
    long sum = 0;
    for (int i = 0; i < 12288; i++) zeros[i] = 1;
    for (int i = 0; i < 12288; i++) sum += zeros[i];
    return sum;
}
