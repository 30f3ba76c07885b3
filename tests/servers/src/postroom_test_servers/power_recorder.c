/* Preloaded into a process, writes down what it does to files in one folder, so that `power` can tell
   what would be left of them if the power failed now: POWER_FOLDER is the folder, POWER_JOURNAL the
   file for the notes. One record: a letter, four numbers (length of the path, of a second path or of
   the bytes, the offset, the time), then these. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

struct head {
    char what;
    uint32_t path_length;
    uint32_t length;
    int64_t offset;
} __attribute__((packed));

static int is_watched(const char *path) {
    const char *folder = getenv("POWER_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    return length && strncmp(path, folder, length) == 0 && (path[length] == '/' || !path[length]);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_watched(path);
}

static void note(char what, const char *path, const void *bytes, size_t length, int64_t offset) {
    const char *journal = getenv("POWER_JOURNAL");
    if (!journal) return;
    struct head head = {what, (uint32_t)strlen(path), (uint32_t)length, offset};
    struct iovec parts[3] = {
        {&head, sizeof head}, {(void *)path, head.path_length}, {(void *)bytes, length}};
    long fd = syscall(SYS_openat, AT_FDCWD, journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) abort();
    if (syscall(SYS_writev, fd, parts, 3) < 0) abort();  /* appended in one piece */
    syscall(SYS_close, fd);
}

static void note_written(int fd, const void *bytes, ssize_t length, int64_t offset) {
    char path[PATH_MAX];
    if (length > 0 && path_of(fd, path)) note('w', path, bytes, (size_t)length, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    ssize_t done = real(fd, bytes, length, offset);
    note_written(fd, bytes, done, offset);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    ssize_t done = real(fd, bytes, length, offset);
    note_written(fd, bytes, done, offset);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(ssize_t, "write", int, const void *, size_t);
    ssize_t done = real(fd, bytes, length);
    char path[PATH_MAX];
    if (done > 0 && path_of(fd, path))
        note('w', path, bytes, (size_t)done, (int64_t)lseek(fd, 0, SEEK_CUR) - done);
    return done;
}

static void note_synced(int fd, int done) {
    char path[PATH_MAX];
    if (done == 0 && path_of(fd, path)) note('s', path, "", 0, 0);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    int done = real(fd);
    note_synced(fd, done);
    return done;
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    int done = real(fd);
    note_synced(fd, done);
    return done;
}

static void note_cut(int fd, int done, int64_t length) {
    char path[PATH_MAX];
    if (done == 0 && path_of(fd, path)) note('t', path, "", 0, length);
}

int ftruncate(int fd, off_t length) {
    REAL(int, "ftruncate", int, off_t);
    int done = real(fd, length);
    note_cut(fd, done, length);
    return done;
}

int ftruncate64(int fd, off64_t length) {
    REAL(int, "ftruncate64", int, off64_t);
    int done = real(fd, length);
    note_cut(fd, done, length);
    return done;
}

static void note_opened(int fd, int flags, int existed) {
    char path[PATH_MAX];
    if (fd < 0 || !path_of(fd, path)) return;
    if ((flags & O_CREAT) && !existed) note('c', path, "", 0, 0);
    if ((flags & O_TRUNC) && existed) note('t', path, "", 0, 0);
}

static int exists(int folder, const char *path) {
    return faccessat(folder, path, F_OK, 0) == 0;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, #name, const char *, int, ...); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = (flags & O_CREAT) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        int existed = exists(AT_FDCWD, path); \
        int fd = real(path, flags, mode); \
        note_opened(fd, flags, existed); \
        return fd; \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(int, #name, int, const char *, int, ...); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = (flags & O_CREAT) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        int existed = exists(folder, path); \
        int fd = real(folder, path, flags, mode); \
        note_opened(fd, flags, existed); \
        return fd; \
    }
OPENAT(openat)
OPENAT(openat64)

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    char whole[PATH_MAX];
    const char *name = realpath(path, whole) ? whole : path;
    int done = real(path);
    if (done == 0 && is_watched(name)) note('u', name, "", 0, 0);
    return done;
}

static void note_moved(char what, const char *from, const char *to, int done) {
    if (done == 0 && is_watched(to)) note(what, from, to, strlen(to), 0);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    int done = real(from, to);
    note_moved('r', from, to, done);
    return done;
}

int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *);
    int done = real(from, to);
    note_moved('l', from, to, done);
    return done;
}
