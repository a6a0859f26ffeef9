/* One file by several names is one library, two files of one name are two; and names without a slash are found where the
   system finds them. */
//@ untraced
//@ mkdir -p one two
//@ lib one/libsame -DNUMBER=1
//@ lib two/libsame -DNUMBER=2
//@ ln -sf ../one/libsame.so two/alias.so
//@ ln -f one/libsame.so hard.so
//@ cp one/libsame.so copy.so
//@ lib one/libsoname -DNUMBER=3 -Wl,-soname,libshared.so.1
//@ lib two/libsoname -DNUMBER=4 -Wl,-soname,libshared.so.1
//@ lib libuser -DUSER -Lone -lsoname
#ifdef USER
int number(void);
int user(void) { return number(); }
#elif defined(NUMBER)
int number(void) { return NUMBER; }
#else
#include "contract.h"
#include <dirent.h>

/* Names that the system's libraries may be called by; those that are not installed are missing for both. */
static const char *names[] = {
    "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2", "libanl.so.1",
    "libz.so.1", "libzstd.so.1", "liblzma.so.5", "libbz2.so.1.0", "libgcc_s.so.1", "libstdc++.so.6", "libsqlite3.so.0",
    "libcrypto.so.3", "libssl.so.3", "libpng16.so.16", "libxml2.so.2", "libcurl.so.4", "libexpat.so.1", "libffi.so.8",
    "libgmp.so.10", "libreadline.so.8", "libncursesw.so.6", "libtinfo.so.6", "libfreetype.so.6", "libglib-2.0.so.0",
    "libpcre2-8.so.0", "liblua5.4.so.0", "libarchive.so.13", "libcrypt.so.1", "libuuid.so.1", "libselinux.so.1",
    "libsystemd.so.0", "libcap.so.2", "libX11.so.6", "libgomp.so.1", "libnss_files.so.2", "libthread_db.so.1", "libz.so",
};

/* Of two libraries with one DT_SONAME the second goes by it when the first is gone. */
static void the_second_of_one_soname(void) {
    void *first = opened("./one/libsoname.so", RTLD_NOW), *second = opened("./two/libsoname.so", RTLD_NOW);
    printf("two of one soname: %d\n", first != second);
    dlclose(first);
    void *user = opened("./libuser.so", RTLD_NOW);
    printf("needed by its soname: %d\n", CALL(int, user, "user"));
    dlclose(user);
    dlclose(second);
}

int main(void) {
    the_second_of_one_soname();
    void *one = opened("one/libsame.so", RTLD_NOW), *two = opened("./two/libsame.so", RTLD_NOW);
    printf("two of one name: %d, %d and %d\n", one != two, CALL(int, one, "number"), CALL(int, two, "number"));
    printf("symbolic link: %d\n", dlopen("two/alias.so", RTLD_NOW) == one);
    printf("hard link: %d\n", dlopen("./hard.so", RTLD_NOW) == one);
    printf("through a folder: %d\n", dlopen("./two/../one/libsame.so", RTLD_NOW) == one);
    printf("a copy: %d\n", dlopen("./copy.so", RTLD_NOW) == one);
    printf("renamed: %d ", rename("one/libsame.so", "one/moved.so"));
    printf("%d\n", dlopen("./one/moved.so", RTLD_NOW) == one);
    printf("by the name it had: %d\n", dlopen("one/libsame.so", RTLD_NOW) == one);
    rename("one/moved.so", "one/libsame.so");
    one = opened("./one/libsoname.so", RTLD_NOW);
    two = opened("./two/libsoname.so", RTLD_NOW);
    printf("two of one soname: %d, %d and %d\n", one != two, CALL(int, one, "number"), CALL(int, two, "number"));
    printf("by soname, the first: %d\n", dlopen("libshared.so.1", RTLD_NOW) == one);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        struct link_map *map = dlopen(names[i], RTLD_LAZY);
        printf("%s: %s\n", names[i], map ? map->l_name : dlerror());
        char path[4096];
        if (map && dlopen(realpath(map->l_name, path), RTLD_LAZY) != map) printf("and another one at %s\n", path);
    }
    return 0;
}
#endif
