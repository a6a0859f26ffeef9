#!/bin/sh
# Builds the contract's libraries into $1. Each is a line or two of C.
set -eu
cd "$1"
lib() { name=$1; shift; printf '%s\n' "$code" >"$name.c"; cc -shared -fPIC -O1 -w -o "$name.so" "$name.c" "$@"; }
code='const char *a_name(void) { return "a"; } const char *who(void) { return "a"; }'; lib liba
ln -sf liba.so alias.so
code='int kept;'; lib libkept
code='int c1;'; lib libc1
code='int gone;'; lib libgone
code='int needs;'; lib libneeds -Wl,--no-as-needed -L. -l:libgone.so
rm libgone.so
code='int nowhere_defined(void); int (*use)(void) = nowhere_defined;'; lib libundefined
echo 'not a library at all, and long enough to have a header if it were one, says this line' >text.so
: >empty.so
code='const char *who_am_i(void) { return "the second"; }'; lib libsecond -Wl,-soname,libsecond.so
code='const char *who_am_i(void) { return "own"; } const char *getenv(const char *n) { return "own getenv"; }
const char *deep_asks(void) { return getenv("X"); }'; lib libdeep
code='#define _GNU_SOURCE
#include <dlfcn.h>
const char *getenv(const char *n) { return "own getenv"; } const char *who_am_i(void) { return "the first"; }
const char *shallow_asks(void) { return getenv("NOT_SET_ANYWHERE") ? "own" : "libc"; }
const char *shallow_next(void) { return ((const char *(*)(void))dlsym(RTLD_NEXT, "who_am_i"))(); }'
lib libshallow -Wl,--no-as-needed -Wl,-rpath,'$ORIGIN' -L. -l:libsecond.so
code='__thread int of_thread = 42;'; lib libtls
code='#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>
static void bye(void) { printf("atexit of the library\n"); }
static void prepare(void) { printf("atfork of the library\n"); }
__attribute__((constructor)) static void in(void) { printf("life begins\n"); atexit(bye); pthread_atfork(prepare, 0, 0); }
__attribute__((destructor)) static void out(void) { printf("life ends\n"); }'; lib liblife
code='#define _GNU_SOURCE
#include <stdio.h>
#include <dlfcn.h>
static void *inner;
__attribute__((constructor)) static void in(void) {
  Dl_info i; dladdr((void *)&inner, &i); char p[4096]; snprintf(p, 4096, "%s", i.dli_fname);
  char *s = p; for (char *c = p; *c; c++) if (*c == 47) s = c; snprintf(s, 99, "/liblife.so");
  inner = dlopen(p, RTLD_NOW); snprintf(s, 99, "/libundefined.so");
  printf("nested open: %d, failing: %d\n", inner != 0, dlopen(p, RTLD_NOW) != 0); }
__attribute__((destructor)) static void out(void) { printf("nested close: %d\n", dlclose(inner)); }'; lib libnested
code='#include <stdio.h>
__attribute__((destructor)) static void out(void) { printf("still open at exit\n"); }'; lib libopen
