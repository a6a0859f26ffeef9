// A constructor that throws: whoever catches the exception around dlopen goes on, and the library stays.
//@ lib throws -DTHROWS
#include <dlfcn.h>
#include <cstdio>
#include <stdexcept>

#ifdef THROWS
extern "C" { int constructed; }
struct Begin { Begin() { constructed++; throw std::runtime_error("thrown by a constructor"); } };
static void begin() __attribute__((constructor));
static void begin() { Begin b; }
extern "C" int after() { return constructed; }
#else
// <dlfcn.h> says that dlopen throws nothing, so a direct call would end the program.
static void *(*volatile open_library)(const char *, int) = dlopen;

int main()
{
    for (int i = 0; i < 2; i++) {
        try {
            void *handle = open_library("./throws.so", RTLD_NOW);
            std::printf("opened: %d\n", handle != nullptr);
            auto after = reinterpret_cast<int (*)()>(dlsym(handle, "after"));
            std::printf("constructed %d times\n", after());
        } catch (const std::exception &error) {
            std::printf("caught: %s\n", error.what());
        }
    }
    void *again = dlopen("libz.so.1", RTLD_NOW);
    std::printf("and another library: %s\n", again ? "opened" : dlerror());
}
#endif
