//@ teaches: DT_RELR packs relative relocations into bits; one at an odd address stays R_X86_64_RELATIVE
//@ cc: -Wl,-z,pack-relative-relocs
//@ has: DT_RELR
//@ has: DT_RELRENT d_val=8
//@ has: R_X86_64_RELATIVE=1
//@ has: R_X86_64_RELATIVE:odd
//@ call: sum_of_table() -> i32 = 4950
//@ call: through_odd() -> i32 = 7

#define FIVE(n) &v[n], &v[n + 1], &v[n + 2], &v[n + 3], &v[n + 4]
#define TEN(n) FIVE(n), FIVE(n + 5)

static int v[100];

// glibc knows DT_RELR since 2.36; a library that has it says so by needing GLIBC_ABI_DT_RELR.
// A hundred addresses in a row: 2,400 bytes of Elf64_Rela, or three words of DT_RELR (one address
// and a bit for each of the words behind it). The addends lie in the table itself.
static int *volatile table[100] = {TEN(0),  TEN(10), TEN(20), TEN(30), TEN(40),
                                   TEN(50), TEN(60), TEN(70), TEN(80), TEN(90)};

// R_X86_64_RELATIVE at an odd address: DT_RELR keeps its lowest bit for the bitmaps, so it can
// only name even places. Both kinds are in this library.
static struct __attribute__((packed)) {
    char one_byte;
    int *volatile pointer;
} odd = {1, &v[7]};

int sum_of_table(void) {
    int sum = 0;
    for (int i = 0; i < 100; i++) v[i] = i;
    for (int i = 0; i < 100; i++) sum += *table[i];
    return sum;
}

int through_odd(void) {
    v[7] = 7;
    return *odd.pointer;
}
