/* glibc loads libraries behind everybody's back, for iconv and for names, and walks its own lists meanwhile. After loads
   and closes of ours all that works as before, in the process, in its children, down to its end. */
//@ lib liba -DA
#if defined(A)
__thread int of_thread = 3;
int three(void) { return of_thread; }
__attribute__((destructor)) static void ends(void) { }
#else
#include "contract.h"
#include <iconv.h>
#include <locale.h>
#include <netdb.h>
#include <pwd.h>

static void *kept[8];

static void load_and_close(void) {
    const char *names[] = {"./liba.so", "libz.so.1", "libsqlite3.so.0", "libstdc++.so.6", "libm.so.6"};
    for (int i = 0; i < 5; i++) {
        void *handle = opened(names[i], i & 1 ? RTLD_LAZY : RTLD_NOW);
        dlclose(opened(names[i], RTLD_NOW));
        if (i & 1) dlclose(handle);
        else kept[i] = handle;
    }
    printf("crc32: %lx\n", ((unsigned long (*)(unsigned long, const char *, unsigned))
                             dlsym(opened("libz.so.1", RTLD_NOW), "crc32"))(0, "123456789", 9));
    printf("three: %d\n", CALL(int, kept[0], "three"));
}

static void convert(const char *to, const char *from, char *text) {
    char room[64] = {0}, *out = room;
    size_t left = strlen(text), free = sizeof room - 1;
    iconv_t cd = iconv_open(to, from);
    printf("%s to %s: %d ", from, to, cd != (iconv_t)-1);
    if (cd == (iconv_t)-1) { printf("\n"); return; }
    printf("%zd ", iconv(cd, &text, &left, &out, &free));
    for (unsigned char *c = (unsigned char *)room; *c; c++) printf("%02x", *c);
    printf(" %d\n", iconv_close(cd));
}

static void ask_glibc(void) {
    convert("CP1252", "EUC-JP", "plain");
    convert("UTF-8", "EUC-JP", "\xc6\xfc\xcb\xdc");
    convert("UTF-16LE", "SJIS", "\x93\xfa");
    struct addrinfo *found = NULL;
    printf("localhost: %d %d\n", getaddrinfo("localhost", "80", NULL, &found), found != NULL);
    freeaddrinfo(found);
    printf("no such host: %d\n", getaddrinfo("nowhere.invalid", NULL, NULL, &found) != 0);
    struct passwd *root = getpwuid(0);
    printf("root: %s\n", root ? root->pw_name : "nobody");
    printf("locale: %d\n", setlocale(LC_ALL, "C.UTF-8") != NULL);
}

static void at_exit(void) { convert("UTF-8", "EUC-JP", "\xc6\xfc"); }

static void *in_thread(void *unused) { load_and_close(); ask_glibc(); return unused; }

int main(void) {
    atexit(at_exit);
    load_and_close();
    ask_glibc();
    load_and_close();
    ask_glibc();
    pthread_t thread;
    pthread_create(&thread, NULL, in_thread, NULL);
    pthread_join(thread, NULL);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        load_and_close();
        ask_glibc();
        exit(4);
    }
    int status;
    waitpid(child, &status, 0);
    printf("child: %d\n", WEXITSTATUS(status));
    FILE *shell = popen("echo a shell", "r");
    char line[64] = {0};
    fgets(line, sizeof line, shell);
    printf("popen: %s%d\n", line, pclose(shell));
    return 0;
}
#endif
