/* The first instruction of every bundle: starts the bundle's own Python with the bundle's own loader and libraries.
 *
 * Freestanding and static, so that it runs where there is nothing else: no libc, no /bin, no /proc needed. What it
 * starts depends on the name it is called by: "launcher" is `python -I -m mlplatform.launcher.pod`, "mlplatform" is
 * `python -I -m mlplatform.cli.main`, any other name is the interpreter. All paths are relative to where this file lies, so
 * that a copy of the folder runs as well.
 *
 * LD_* of the image around it are meant for the image's programs and would break ours (LD_PRELOAD of another C library):
 * they are renamed, and mlplatform.launcher.bundle gives them back to the user's command.
 */

typedef unsigned long word;
#define PATH_ROOM 4096
#define KEPT "MLPLATFORM_KEPT_"
#define AT_NULL 0
#define AT_EXECFN 31

#if defined(__x86_64__)
#define SYS_write 1
#define SYS_execve 59
#define SYS_exit 60
#define SYS_readlinkat 267
static long call(long number, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}
__asm__(".globl _start\n_start: xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call begin\n");
#elif defined(__aarch64__)
#define SYS_write 64
#define SYS_execve 221
#define SYS_exit 93
#define SYS_readlinkat 78
static long call(long number, long a, long b, long c, long d) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
__asm__(".globl _start\n_start: mov x29,#0\n mov x0,sp\n and sp,x0,#-16\n b begin\n");
#else
#error "no system calls are known for this processor"
#endif

static word length(const char *text) {
    word count = 0;
    while (text[count]) count++;
    return count;
}

static char *put(char *to, const char *text) {
    while (*text) *to++ = *text++;
    *to = 0;
    return to;
}

static int same(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

static const char *base(const char *path) {
    const char *last = path;
    for (; *path; path++)
        if (*path == '/') last = path + 1;
    return last;
}

/* The folder above the one this file lies in, without a slash at its end, into `root`. */
static void find_root(char *root, const char *called, word *auxiliary) {
    long size = call(SYS_readlinkat, -100, (long)"/proc/self/exe", (long)root, PATH_ROOM - 64);
    if (size <= 0) {
        const char *path = called;
        for (; auxiliary[0] != AT_NULL; auxiliary += 2)
            if (auxiliary[0] == AT_EXECFN) path = (const char *)auxiliary[1];
        size = (long)length(path);
        if (size > PATH_ROOM - 64) size = PATH_ROOM - 64;
        for (long i = 0; i < size; i++) root[i] = path[i];
    }
    root[size] = 0;
    char *end = (char *)base(root);
    if (end == root) { /* started from within its own folder */
        put(root, "..");
        return;
    }
    end[-1] = 0;
    char *folder = (char *)base(root);
    if (folder == root) put(folder, *root ? "." : "..");
    else folder[-1] = 0;
}

__attribute__((noreturn, used)) void begin(word *stack) {
    word count = stack[0];
    char **arguments = (char **)(stack + 1);
    char **environment = arguments + count + 1;
    char **end = environment;
    word room = 0;
    for (; *end; end++) room += length(*end) + sizeof(KEPT);

    char root[PATH_ROOM], loader[PATH_ROOM], libraries[PATH_ROOM], program[PATH_ROOM], python[PATH_ROOM];
    const char *name = count ? base(arguments[0]) : "";
    find_root(root, count ? arguments[0] : "", (word *)(end + 1));
    put(put(loader, root), "/lib/loader.so");
    put(put(libraries, root), "/lib");
    put(put(program, root), "/libexec/python");
    put(put(python, root), "/bin/python");

    char *next[count + 12];
    word at = 0;
    next[at++] = loader;
    next[at++] = "--argv0";
    next[at++] = python;
    next[at++] = "--library-path";
    next[at++] = libraries;
    next[at++] = program;
    if (same(name, "launcher") || same(name, "mlplatform")) {
        next[at++] = "-I";
        next[at++] = "-m";
        next[at++] = same(name, "launcher") ? "mlplatform.launcher.pod" : "mlplatform.cli.main";
    }
    for (word i = 1; i < count; i++) next[at++] = arguments[i];
    next[at] = 0;

    char renamed[room + 1];
    char *free = renamed;
    for (char **each = environment; *each; each++) {
        char *text = *each;
        if (text[0] != 'L' || text[1] != 'D' || text[2] != '_') continue;
        *each = free;
        free = put(put(free, KEPT), text) + 1;
    }
    call(SYS_execve, (long)loader, (long)next, (long)environment, 0);
    static const char failed[] = "mlplatform: the bundle is not whole: its loader cannot be started\n";
    call(SYS_write, 2, (long)failed, sizeof(failed) - 1, 0);
    call(SYS_exit, 127, 0, 0, 0);
    __builtin_unreachable();
}
