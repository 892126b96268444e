/* What a task looks at, seen below Python: an LD_PRELOAD interposer for Linux.
 *
 * Loaded into an interpreter it does nothing until mlp_trace_start() is called (a task begins), or until it finds
 * MLPLATFORM_TRACE in the environment at load time (a child process of a task). From then on every file that is opened,
 * stat'ed, listed, written or removed, every peer that is connected to and every program that is executed is one record
 * appended to the trace file with a single write(2). Each process writes down each thing once.
 *
 * It allocates nothing, takes no lock, uses only the stack, and leaves errno alone, so that it may run after vfork and in
 * signal handlers. The format of a record is struct record below; mlplatform/launcher/trace.py reads it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/stat.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MAX_PREFIXES 128
#define MAX_PREFIX_TEXT 16384
#define SEEN_SLOTS 16384
#define SEEN_LIMIT (SEEN_SLOTS * 3 / 4)
#define LOWEST_FD 400

struct record {
    uint32_t length; /* of the record, path included */
    uint8_t op;
    uint8_t type; /* 0 nothing there, 1 file, 2 folder, 3 link, 4 other */
    uint16_t spare;
    int32_t pid;
    int64_t size;
    int64_t mtime_ns;
    uint64_t inode;
} __attribute__((packed));

static volatile int active;
static int trace_fd = -1;
static uint64_t trace_inode, trace_device;
static char trace_path[PATH_MAX];
static char prefix_text[MAX_PREFIX_TEXT];
static const char *prefixes[MAX_PREFIXES];
static size_t prefix_lengths[MAX_PREFIXES];
static int prefix_count;
static uint64_t seen[SEEN_SLOTS];
static uint32_t seen_count;
static __thread int paused;
static volatile int gated;
static pid_t gate_pid;
static char gate_path[PATH_MAX];

/* ------------------------------------------------------------------ writing records */
static int look(int fd, const char *path, int flags, struct statx *out) {
    return (int)syscall(SYS_statx, fd, path, flags, STATX_TYPE | STATX_SIZE | STATX_MTIME | STATX_INO, out);
}

static int open_trace(void) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, trace_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, LOWEST_FD);
    if (high >= 0) {
        syscall(SYS_close, fd);
        fd = high;
    }
    struct statx st;
    if (look(fd, "", AT_EMPTY_PATH, &st) == 0) {
        trace_inode = st.stx_ino;
        trace_device = ((uint64_t)st.stx_dev_major << 32) | st.stx_dev_minor;
    }
    trace_fd = fd;
    return fd;
}

/* User code may close every descriptor, or put something else on ours: never write into a file that is not the trace. */
static int trace_target(void) {
    struct statx st;
    if (trace_fd >= 0 && look(trace_fd, "", AT_EMPTY_PATH, &st) == 0 && st.stx_ino == trace_inode &&
        (((uint64_t)st.stx_dev_major << 32) | st.stx_dev_minor) == trace_device)
        return trace_fd;
    return open_trace();
}

static void put(char op, const char *path, size_t length, const struct statx *st) {
    char buffer[sizeof(struct record) + PATH_MAX + 64];
    struct record *r = (struct record *)buffer;
    if (length > PATH_MAX + 32) length = PATH_MAX + 32;
    memset(r, 0, sizeof *r);
    r->length = (uint32_t)(sizeof *r + length);
    r->op = (uint8_t)op;
    r->pid = (int32_t)syscall(SYS_getpid);
    if (st) {
        int kind = st->stx_mode & S_IFMT;
        r->type = kind == S_IFREG ? 1 : kind == S_IFDIR ? 2 : kind == S_IFLNK ? 3 : 4;
        r->size = (int64_t)st->stx_size;
        r->mtime_ns = (int64_t)st->stx_mtime.tv_sec * 1000000000 + st->stx_mtime.tv_nsec;
        r->inode = st->stx_ino;
    }
    memcpy(buffer + sizeof *r, path, length);
    int fd = trace_target();
    if (fd >= 0) syscall(SYS_write, fd, buffer, (size_t)r->length);
}

/* True the first time this process says it. Races between threads only make doubles. */
static int first_time(char op, const char *path, size_t length) {
    uint64_t hash = 1469598103934665603ULL ^ (uint8_t)op;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (uint8_t)path[i]) * 1099511628211ULL;
    hash ^= hash >> 29;
    if (hash == 0) hash = 1;
    for (uint32_t i = 0; i < 64; i++) {
        uint64_t *slot = &seen[(hash + i) & (SEEN_SLOTS - 1)];
        uint64_t found = __atomic_load_n(slot, __ATOMIC_RELAXED);
        if (found == hash) return 0;
        if (found == 0) {
            if (seen_count >= SEEN_LIMIT) {
                memset(seen, 0, sizeof seen);
                seen_count = 0;
            }
            __atomic_store_n(slot, hash, __ATOMIC_RELAXED);
            __atomic_fetch_add(&seen_count, 1, __ATOMIC_RELAXED);
            return 1;
        }
    }
    return 1;
}

/* ------------------------------------------------------------------ paths */
static int skipped(const char *path, size_t length) {
    if (strstr(path, "/..")) return 0; /* may lead out of the prefix; the reader sorts it out */
    for (int i = 0; i < prefix_count; i++) {
        size_t n = prefix_lengths[i];
        if (length >= n && memcmp(path, prefixes[i], n) == 0 && (path[n] == 0 || path[n] == '/')) return 1;
    }
    return strstr(path, "/__pycache__/") != NULL;
}

/* The absolute path into out; its length, or 0 if it is not known. */
static size_t absolute(int dirfd, const char *path, char *out) {
    size_t at = 0;
    if (!path || !*path) return 0;
    if (path[0] != '/') {
        if (dirfd == AT_FDCWD) {
            long n = syscall(SYS_getcwd, out, (size_t)PATH_MAX);
            if (n <= 0) return 0;
            at = (size_t)n - 1;
        } else {
            char link[40];
            snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
            long n = syscall(SYS_readlinkat, AT_FDCWD, link, out, (size_t)PATH_MAX - 1);
            if (n <= 0 || out[0] != '/') return 0;
            at = (size_t)n;
        }
        while (path[0] == '.' && path[1] == '/') path += 2;
        if (path[0] == '.' && path[1] == 0) path++;
        if (*path && at > 1 && at < PATH_MAX) out[at++] = '/';
    }
    size_t n = strlen(path);
    if (at + n >= PATH_MAX) return 0;
    memcpy(out + at, path, n + 1);
    return at + n;
}

/* Behind the gate nothing may happen that the outside could see: before it does, the reason is left in the gate's file
 * and the whole task ends, from whichever of its processes. */
static void forbid(char op, const char *what, size_t length) {
    char buffer[PATH_MAX + 80];
    if (length > PATH_MAX) length = PATH_MAX;
    buffer[0] = op;
    buffer[1] = ' ';
    memcpy(buffer + 2, what, length);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, gate_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0) syscall(SYS_write, fd, buffer, length + 2);
    syscall(SYS_kill, gate_pid, SIGKILL);
    syscall(SYS_exit_group, 76);
}

static void guard(char op, const char *full, size_t length) {
    struct statx st;
    if (!gated) return;
    int found = look(AT_FDCWD, full, AT_SYMLINK_NOFOLLOW, &st) == 0;
    if (op == 'D' && found) return; /* there already: nothing is made */
    if (op == 'X' && !found) return;
    if (op == 'W' || op == 'X' || op == 'B' || op == 'D') forbid(op, full, length);
}

static void note(char op, int dirfd, const char *path, int nofollow) {
    if (!active || paused) return;
    int saved = errno;
    char full[PATH_MAX];
    size_t length = absolute(dirfd, path, full);
    if (length && !skipped(full, length)) guard(op, full, length);
    if (length && !skipped(full, length) && first_time(op, full, length)) {
        struct statx st;
        int found = look(AT_FDCWD, full, nofollow ? AT_SYMLINK_NOFOLLOW : 0, &st) == 0;
        if (op == 'R' && found && (st.stx_mode & S_IFMT) == S_IFDIR) op = 'L';
        put(op, full, length, found ? &st : NULL);
    }
    errno = saved;
}

static void note_read(int failed, char op, int dirfd, const char *path, int nofollow) {
    if (!active || paused) return;
    if (!failed) note(op, dirfd, path, nofollow);
    else if (errno == ENOENT || errno == ENOTDIR) note('M', dirfd, path, nofollow);
    else note('S', dirfd, path, nofollow);
}

static int writes(int flags) {
    return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
}

/* Before a call that may write: what is there now. */
static void before_open(int dirfd, const char *path, int flags) {
    if (!active || (flags & O_TMPFILE) == O_TMPFILE || !writes(flags)) return;
    note((flags & O_ACCMODE) == O_RDWR && !(flags & O_TRUNC) ? 'B' : 'W', dirfd, path, 0);
}

static void after_open(int result, int dirfd, const char *path, int flags) {
    if (!active || writes(flags)) return;
    note_read(result < 0, (flags & O_PATH) ? 'S' : 'R', dirfd, path, 0);
}

static int mode_flags(const char *mode) {
    int plus = strchr(mode, '+') != NULL;
    if (mode[0] == 'r') return plus ? O_RDWR : O_RDONLY;
    if (mode[0] == 'a') return (plus ? O_RDWR : O_WRONLY) | O_CREAT | O_APPEND;
    return (plus ? O_RDWR : O_WRONLY) | O_CREAT | O_TRUNC;
}

/* ------------------------------------------------------------------ switching on */
static void take_prefixes(const char *text) {
    size_t n = strlen(text);
    if (n >= sizeof prefix_text) n = sizeof prefix_text - 1;
    memcpy(prefix_text, text, n);
    prefix_text[n] = 0;
    prefix_count = 0;
    for (char *at = prefix_text; *at && prefix_count < MAX_PREFIXES;) {
        char *end = strchr(at, '\n');
        if (end) *end = 0;
        if (*at == '/' && at[1]) {
            prefixes[prefix_count] = at;
            prefix_lengths[prefix_count++] = strlen(at);
        }
        if (!end) break;
        at = end + 1;
    }
}

/* Begin to record into the file at path; what lies below one of the newline-separated prefixes is left out.
 * Returns 0, or an errno. */
EXPORT int mlp_trace_start(const char *path, const char *skip) {
    if (strlen(path) >= sizeof trace_path) return ENAMETOOLONG;
    strcpy(trace_path, path);
    take_prefixes(skip);
    memset(seen, 0, sizeof seen);
    seen_count = 0;
    if (open_trace() < 0) return errno;
    active = 1;
    return 0;
}

EXPORT void mlp_trace_stop(void) { active = gated = 0; }

/* Until the trace stops: end this process before it writes a file, talks to anybody or runs a program, and leave the
 * reason at path. Returns 0, or an errno. */
EXPORT int mlp_trace_gate(const char *path) {
    if (strlen(path) >= sizeof gate_path) return ENAMETOOLONG;
    strcpy(gate_path, path);
    gate_pid = (pid_t)syscall(SYS_getpid);
    gated = 1;
    return 0;
}

/* What this thread does between pause(1) and pause(0) is not recorded. */
EXPORT void mlp_trace_pause(int on) { paused = on; }

/* Programs written in Go make their system calls themselves: nothing of them can be seen here. */
static int is_go(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_NOTE || header->p_memsz < 16) continue;
        const char *at = (const char *)(info->dlpi_addr + header->p_vaddr);
        const ElfW(Nhdr) *first = (const ElfW(Nhdr) *)at;
        if (first->n_namesz == 4 && memcmp(at + sizeof *first, "Go\0", 4) == 0) *(int *)data = 1;
    }
    return 1; /* the first object is the program */
}

__attribute__((constructor)) static void loaded(void) {
    const char *path = getenv("MLPLATFORM_TRACE");
    const char *skip = getenv("MLPLATFORM_TRACE_SKIP");
    if (!path || !*path || mlp_trace_start(path, skip ? skip : "") != 0) return;
    char program[PATH_MAX];
    long n = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", program, sizeof program - 1);
    if (n < 0) n = 0;
    int go = 0;
    dl_iterate_phdr(is_go, &go);
    put(go ? 'U' : 'P', program, (size_t)n, NULL);
}

#define REAL(result, name, ...)                                   \
    static result (*real)(__VA_ARGS__);                           \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);         \
    if (!real) { errno = ENOSYS; }

/* ------------------------------------------------------------------ opening */
#define OPEN(name)                                                        \
    EXPORT int name(const char *path, int flags, ...) {                   \
        REAL(int, name, const char *, int, ...)                           \
        if (!real) return -1;                                             \
        va_list list;                                                     \
        va_start(list, flags);                                            \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(list, mode_t) : 0; \
        va_end(list);                                                     \
        before_open(AT_FDCWD, path, flags);                               \
        int result = real(path, flags, mode);                             \
        after_open(result, AT_FDCWD, path, flags);                        \
        return result;                                                    \
    }
#define OPENAT(name)                                                      \
    EXPORT int name(int fd, const char *path, int flags, ...) {           \
        REAL(int, name, int, const char *, int, ...)                      \
        if (!real) return -1;                                             \
        va_list list;                                                     \
        va_start(list, flags);                                            \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(list, mode_t) : 0; \
        va_end(list);                                                     \
        before_open(fd, path, flags);                                     \
        int result = real(fd, path, flags, mode);                         \
        after_open(result, fd, path, flags);                              \
        return result;                                                    \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define OPEN_2(name)                                      \
    EXPORT int name(const char *path, int flags) {        \
        REAL(int, name, const char *, int)                \
        if (!real) return -1;                             \
        before_open(AT_FDCWD, path, flags);               \
        int result = real(path, flags);                   \
        after_open(result, AT_FDCWD, path, flags);        \
        return result;                                    \
    }
#define OPENAT_2(name)                                    \
    EXPORT int name(int fd, const char *path, int flags) { \
        REAL(int, name, int, const char *, int)           \
        if (!real) return -1;                             \
        before_open(fd, path, flags);                     \
        int result = real(fd, path, flags);               \
        after_open(result, fd, path, flags);              \
        return result;                                    \
    }
OPEN_2(__open_2)
OPEN_2(__open64_2)
OPENAT_2(__openat_2)
OPENAT_2(__openat64_2)

#define CREAT(name)                                       \
    EXPORT int name(const char *path, mode_t mode) {      \
        REAL(int, name, const char *, mode_t)             \
        if (!real) return -1;                             \
        note('W', AT_FDCWD, path, 0);                     \
        return real(path, mode);                          \
    }
CREAT(creat)
CREAT(creat64)

#define FOPEN(name)                                              \
    EXPORT FILE *name(const char *path, const char *mode) {      \
        REAL(FILE *, name, const char *, const char *)           \
        if (!real) return NULL;                                  \
        before_open(AT_FDCWD, path, mode_flags(mode));           \
        FILE *result = real(path, mode);                         \
        after_open(result ? 0 : -1, AT_FDCWD, path, mode_flags(mode)); \
        return result;                                           \
    }
FOPEN(fopen)
FOPEN(fopen64)

#define FREOPEN(name)                                                     \
    EXPORT FILE *name(const char *path, const char *mode, FILE *stream) { \
        REAL(FILE *, name, const char *, const char *, FILE *)            \
        if (!real) return NULL;                                           \
        if (path) before_open(AT_FDCWD, path, mode_flags(mode));          \
        FILE *result = real(path, mode, stream);                          \
        if (path) after_open(result ? 0 : -1, AT_FDCWD, path, mode_flags(mode)); \
        return result;                                                    \
    }
FREOPEN(freopen)
FREOPEN(freopen64)

EXPORT DIR *opendir(const char *path) {
    REAL(DIR *, opendir, const char *)
    if (!real) return NULL;
    DIR *result = real(path);
    note_read(!result, 'L', AT_FDCWD, path, 0);
    return result;
}

#define SCANDIR(name, entry)                                                                  \
    EXPORT int name(const char *path, struct entry ***list, int (*filter)(const struct entry *), \
                    int (*compare)(const struct entry **, const struct entry **)) {           \
        REAL(int, name, const char *, struct entry ***, int (*)(const struct entry *),        \
             int (*)(const struct entry **, const struct entry **))                           \
        if (!real) return -1;                                                                 \
        int result = real(path, list, filter, compare);                                       \
        note_read(result < 0, 'L', AT_FDCWD, path, 0);                                        \
        return result;                                                                        \
    }
SCANDIR(scandir, dirent)
SCANDIR(scandir64, dirent64)

/* ------------------------------------------------------------------ looking */
#define STAT(name, nofollow)                              \
    EXPORT int name(const char *path, void *out) {        \
        REAL(int, name, const char *, void *)             \
        if (!real) return -1;                             \
        int result = real(path, out);                     \
        note_read(result, 'S', AT_FDCWD, path, nofollow); \
        return result;                                    \
    }
#define XSTAT(name, nofollow)                             \
    EXPORT int name(int version, const char *path, void *out) { \
        REAL(int, name, int, const char *, void *)        \
        if (!real) return -1;                             \
        int result = real(version, path, out);            \
        note_read(result, 'S', AT_FDCWD, path, nofollow); \
        return result;                                    \
    }
#define STATAT(name)                                      \
    EXPORT int name(int fd, const char *path, void *out, int flags) { \
        REAL(int, name, int, const char *, void *, int)   \
        if (!real) return -1;                             \
        int result = real(fd, path, out, flags);          \
        note_read(result, 'S', fd, path, flags & AT_SYMLINK_NOFOLLOW); \
        return result;                                    \
    }
#define XSTATAT(name)                                     \
    EXPORT int name(int version, int fd, const char *path, void *out, int flags) { \
        REAL(int, name, int, int, const char *, void *, int) \
        if (!real) return -1;                             \
        int result = real(version, fd, path, out, flags); \
        note_read(result, 'S', fd, path, flags & AT_SYMLINK_NOFOLLOW); \
        return result;                                    \
    }
STAT(stat, 0)
STAT(stat64, 0)
STAT(lstat, 1)
STAT(lstat64, 1)
XSTAT(__xstat, 0)
XSTAT(__xstat64, 0)
XSTAT(__lxstat, 1)
XSTAT(__lxstat64, 1)
STATAT(fstatat)
STATAT(fstatat64)
XSTATAT(__fxstatat)
XSTATAT(__fxstatat64)

EXPORT int statx(int fd, const char *path, int flags, unsigned mask, struct statx *out) {
    REAL(int, statx, int, const char *, int, unsigned, struct statx *)
    if (!real) return -1;
    int result = real(fd, path, flags, mask, out);
    note_read(result, 'S', fd, path, flags & AT_SYMLINK_NOFOLLOW);
    return result;
}

#define ACCESS(name)                                      \
    EXPORT int name(const char *path, int mode) {         \
        REAL(int, name, const char *, int)                \
        if (!real) return -1;                             \
        int result = real(path, mode);                    \
        note_read(result, 'S', AT_FDCWD, path, 0);        \
        return result;                                    \
    }
ACCESS(access)
ACCESS(eaccess)
ACCESS(euidaccess)

EXPORT int faccessat(int fd, const char *path, int mode, int flags) {
    REAL(int, faccessat, int, const char *, int, int)
    if (!real) return -1;
    int result = real(fd, path, mode, flags);
    note_read(result, 'S', fd, path, flags & AT_SYMLINK_NOFOLLOW);
    return result;
}

EXPORT ssize_t readlink(const char *path, char *out, size_t size) {
    REAL(ssize_t, readlink, const char *, char *, size_t)
    if (!real) return -1;
    ssize_t result = real(path, out, size);
    note_read(result < 0, 'K', AT_FDCWD, path, 1);
    return result;
}

EXPORT ssize_t readlinkat(int fd, const char *path, char *out, size_t size) {
    REAL(ssize_t, readlinkat, int, const char *, char *, size_t)
    if (!real) return -1;
    ssize_t result = real(fd, path, out, size);
    note_read(result < 0, 'K', fd, path, 1);
    return result;
}

/* ------------------------------------------------------------------ changing */
EXPORT int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *)
    if (!real) return -1;
    note('X', AT_FDCWD, from, 1);
    note('W', AT_FDCWD, to, 0);
    return real(from, to);
}

EXPORT int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *)
    if (!real) return -1;
    note('X', a, from, 1);
    note('W', b, to, 0);
    return real(a, from, b, to);
}

EXPORT int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned)
    if (!real) return -1;
    note('X', a, from, 1);
    note('W', b, to, 0);
    return real(a, from, b, to, flags);
}

#define REMOVE(name)                        \
    EXPORT int name(const char *path) {     \
        REAL(int, name, const char *)       \
        if (!real) return -1;               \
        note('X', AT_FDCWD, path, 1);       \
        return real(path);                  \
    }
REMOVE(unlink)
REMOVE(rmdir)
REMOVE(remove)

EXPORT int unlinkat(int fd, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int)
    if (!real) return -1;
    note('X', fd, path, 1);
    return real(fd, path, flags);
}

EXPORT int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t)
    if (!real) return -1;
    note('D', AT_FDCWD, path, 0);
    return real(path, mode);
}

EXPORT int mkdirat(int fd, const char *path, mode_t mode) {
    REAL(int, mkdirat, int, const char *, mode_t)
    if (!real) return -1;
    note('D', fd, path, 0);
    return real(fd, path, mode);
}

EXPORT int symlink(const char *target, const char *path) {
    REAL(int, symlink, const char *, const char *)
    if (!real) return -1;
    note('W', AT_FDCWD, path, 1);
    return real(target, path);
}

EXPORT int symlinkat(const char *target, int fd, const char *path) {
    REAL(int, symlinkat, const char *, int, const char *)
    if (!real) return -1;
    note('W', fd, path, 1);
    return real(target, fd, path);
}

EXPORT int link(const char *from, const char *to) {
    REAL(int, link, const char *, const char *)
    if (!real) return -1;
    note('R', AT_FDCWD, from, 0);
    note('W', AT_FDCWD, to, 0);
    return real(from, to);
}

EXPORT int linkat(int a, const char *from, int b, const char *to, int flags) {
    REAL(int, linkat, int, const char *, int, const char *, int)
    if (!real) return -1;
    note('R', a, from, 0);
    note('W', b, to, 0);
    return real(a, from, b, to, flags);
}

#define TRUNCATE(name, offset)                        \
    EXPORT int name(const char *path, offset size) {  \
        REAL(int, name, const char *, offset)         \
        if (!real) return -1;                         \
        note('W', AT_FDCWD, path, 0);                 \
        return real(path, size);                      \
    }
TRUNCATE(truncate, off_t)
TRUNCATE(truncate64, off64_t)

/* Changes that are no record, and that must not happen behind the gate either. */
static void guard_change(int dirfd, const char *path) {
    if (!active || paused || !gated) return;
    int saved = errno;
    char full[PATH_MAX];
    size_t length = absolute(dirfd, path, full);
    if (length && !skipped(full, length)) guard('W', full, length);
    errno = saved;
}

EXPORT int chmod(const char *path, mode_t mode) {
    REAL(int, chmod, const char *, mode_t)
    if (!real) return -1;
    guard_change(AT_FDCWD, path);
    return real(path, mode);
}

EXPORT int fchmodat(int fd, const char *path, mode_t mode, int flags) {
    REAL(int, fchmodat, int, const char *, mode_t, int)
    if (!real) return -1;
    guard_change(fd, path);
    return real(fd, path, mode, flags);
}

EXPORT int utimensat(int fd, const char *path, const struct timespec times[2], int flags) {
    REAL(int, utimensat, int, const char *, const struct timespec *, int)
    if (!real) return -1;
    guard_change(fd, path);
    return real(fd, path, times, flags);
}

EXPORT int mkfifo(const char *path, mode_t mode) {
    REAL(int, mkfifo, const char *, mode_t)
    if (!real) return -1;
    guard_change(AT_FDCWD, path);
    return real(path, mode);
}

/* ------------------------------------------------------------------ peers */
static void note_peer(char op, const struct sockaddr *address, socklen_t length) {
    if (!active || paused || !address) return;
    int saved = errno;
    char text[PATH_MAX];
    int n = 0;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        char host[INET_ADDRSTRLEN];
        if (inet_ntop(AF_INET, &in->sin_addr, host, sizeof host))
            n = snprintf(text, sizeof text, "inet %s %d", host, ntohs(in->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
        char host[INET6_ADDRSTRLEN];
        if (inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host))
            n = snprintf(text, sizeof text, "inet %s %d", host, ntohs(in->sin6_port));
    } else if (address->sa_family == AF_UNIX && length > sizeof(sa_family_t)) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)address;
        if (un->sun_path[0])
            n = snprintf(text, sizeof text, "unix %.*s", (int)(length - sizeof(sa_family_t)), un->sun_path);
        else
            n = snprintf(text, sizeof text, "unix @%.*s", (int)(length - sizeof(sa_family_t) - 1), un->sun_path + 1);
    }
    if (gated && n > 0) forbid(op, text, (size_t)n);
    if (n > 0 && first_time(op, text, (size_t)n)) put(op, text, (size_t)n, NULL);
    errno = saved;
}

EXPORT int connect(int fd, const struct sockaddr *address, socklen_t length) {
    REAL(int, connect, int, const struct sockaddr *, socklen_t)
    if (!real) return -1;
    note_peer('C', address, length);
    return real(fd, address, length);
}

EXPORT ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t n) {
    REAL(ssize_t, sendto, int, const void *, size_t, int, const struct sockaddr *, socklen_t)
    if (!real) return -1;
    if (address) note_peer('C', address, n);
    return real(fd, data, size, flags, address, n);
}

EXPORT int listen(int fd, int backlog) {
    REAL(int, listen, int, int)
    if (!real) return -1;
    if (active && gated && !paused) forbid('N', "", 0);
    int result = real(fd, backlog);
    if (active && result == 0) {
        struct sockaddr_storage own;
        socklen_t length = sizeof own;
        if (getsockname(fd, (struct sockaddr *)&own, &length) == 0) note_peer('N', (struct sockaddr *)&own, length);
    }
    return result;
}

/* ------------------------------------------------------------------ programs */
static void note_exec(char op, const char *program, int search) {
    if (!active || paused || !program) return;
    if (gated && op == 'E') forbid(op, program, strlen(program));
    int saved = errno;
    char full[PATH_MAX];
    struct statx st;
    size_t length = 0;
    if (!search || strchr(program, '/')) {
        length = absolute(AT_FDCWD, program, full);
    } else {
        const char *at = getenv("PATH");
        while (at && *at && !length) {
            const char *end = strchrnul(at, ':');
            size_t n = (size_t)(end - at), m = strlen(program);
            if (n && n + m + 2 < sizeof full) {
                memcpy(full, at, n);
                full[n] = '/';
                memcpy(full + n + 1, program, m + 1);
                if (look(AT_FDCWD, full, 0, &st) == 0) length = n + 1 + m;
            }
            at = *end ? end + 1 : NULL;
        }
    }
    if (length && look(AT_FDCWD, full, 0, &st) == 0) put(op, full, length, &st);
    errno = saved;
}

EXPORT int execve(const char *path, char *const argv[], char *const env[]) {
    REAL(int, execve, const char *, char *const[], char *const[])
    if (!real) return -1;
    note_exec('E', path, 0);
    return real(path, argv, env);
}

EXPORT int execv(const char *path, char *const argv[]) {
    REAL(int, execv, const char *, char *const[])
    if (!real) return -1;
    note_exec('E', path, 0);
    return real(path, argv);
}

EXPORT int execvp(const char *file, char *const argv[]) {
    REAL(int, execvp, const char *, char *const[])
    if (!real) return -1;
    note_exec('E', file, 1);
    return real(file, argv);
}

EXPORT int execvpe(const char *file, char *const argv[], char *const env[]) {
    REAL(int, execvpe, const char *, char *const[], char *const[])
    if (!real) return -1;
    note_exec('E', file, 1);
    return real(file, argv, env);
}

/* Their children are seen when they load this library; behind the gate there must be none. */
EXPORT int system(const char *command) {
    REAL(int, system, const char *)
    if (!real) return -1;
    if (active && gated && !paused && command) forbid('E', command, strlen(command));
    return real(command);
}

EXPORT FILE *popen(const char *command, const char *mode) {
    REAL(FILE *, popen, const char *, const char *)
    if (!real) return NULL;
    if (active && gated && !paused && command) forbid('E', command, strlen(command));
    return real(command, mode);
}

#define SPAWN(name, search)                                                                      \
    EXPORT int name(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,     \
                    const posix_spawnattr_t *attributes, char *const argv[], char *const env[]) { \
        REAL(int, name, pid_t *, const char *, const posix_spawn_file_actions_t *,               \
             const posix_spawnattr_t *, char *const[], char *const[])                            \
        if (!real) return ENOSYS;                                                                \
        if (active && gated && !paused) forbid('E', path, strlen(path));                         \
        pid_t child = 0;                                                                         \
        int result = real(&child, path, actions, attributes, argv, env);                         \
        if (pid) *pid = child;                                                                   \
        if (active && result == 0) {                                                             \
            char text[24];                                                                       \
            int n = snprintf(text, sizeof text, "%d", (int)child);                               \
            put('F', text, (size_t)n, NULL);                                                     \
            note_exec('e', path, search);                                                        \
        }                                                                                        \
        return result;                                                                           \
    }
SPAWN(posix_spawn, 0)
SPAWN(posix_spawnp, 1)
