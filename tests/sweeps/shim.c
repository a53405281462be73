/* A library to preload: it stands between a process and every file-system call that changes something below one folder,
 * counts them over all threads, and at the n-th does what `arm` asked for. Python, its C extensions and native wheels
 * all come through here, because they all call the C library.
 *
 * Calls with a path count if it starts with the watched prefix (or, relative to a folder, if that folder lies on the
 * watched device); calls with a descriptor count if it is a file or folder on that device. Nothing else is touched.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum mode { OFF, COUNT, KILL, TEAR, FAIL, FAIL_ON, SIGNAL, STOP };
enum kind { OTHER = 1, NAME = 2, SYNC = 4, WRITE = 8, REMOVE = 16 };

static struct {
    int mode, number;
    long nth;
    dev_t device;
    char prefix[1024];
} plan;

static int no_exchange, no_sync;

/* Shared with the process that forked this one, which may outlive it. */
static struct {
    atomic_long calls, fired;
    ino_t unsynced[64];
    struct timespec signalled;
} *seen;

__attribute__((constructor)) static void share(void) {
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (seen == MAP_FAILED) abort();
}

/* --- what a test says and asks ------------------------------------------------------------------------------------- */

/* `number` is the errno (FAIL, FAIL_ON) or the signal (SIGNAL). STOP stops the process before and after every call that
 * syncs or names something. */
void shim_arm(int mode, long nth, int number, const char *prefix) {
    struct stat status;
    memset(&plan, 0, sizeof plan);
    strncpy(plan.prefix, prefix, sizeof plan.prefix - 1);
    plan.device = stat(prefix, &status) == 0 ? status.st_dev : 0;
    plan.nth = nth;
    plan.number = number;
    if (mode != OFF) memset(seen, 0, sizeof *seen);
    plan.mode = mode;
}

long shim_calls(void) { return seen->calls; }
long shim_fired(void) { return seen->fired; }

/* Seconds on the monotonic clock at which the signal was sent. */
double shim_signalled(void) { return seen->signalled.tv_sec + seen->signalled.tv_nsec / 1e9; }

/* Inode of the i-th file whose sync was made to fail, 0 after the last. */
unsigned long shim_unsynced(int i) { return i < 64 ? seen->unsynced[i] : 0; }

/* Whether two folders cannot be exchanged by one rename, as on NFS. */
void shim_exchanges(int possible) { no_exchange = !possible; }

/* Whether syncs do anything: a disk that lies, to see whether the tests notice. */
void shim_syncs(int honest) { no_sync = !honest; }

/* --- deciding ------------------------------------------------------------------------------------------------------ */

static int on_device(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 && status.st_dev == plan.device && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
}

static int watched(int folder, const char *path) {
    if (plan.mode == OFF || path == NULL) return 0;
    if (path[0] == '/') return strncmp(path, plan.prefix, strlen(plan.prefix)) == 0;
    return folder != AT_FDCWD && on_device(folder);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Called before a watched call; true if it must fail (errno is set). */
static int refused(int kind, int fd) {
    struct stat status;
    long n;
    if (plan.mode == STOP) {
        if (kind & (NAME | SYNC)) {
            seen->fired++;
            raise(SIGSTOP);
        }
        return 0;
    }
    if (plan.mode == TEAR && !(kind & WRITE)) return 0;
    /* A disk that is full, or cannot be written, for good still lets go of things: only ENOSPC and EDQUOT. */
    n = atomic_fetch_add(&seen->calls, 1) + 1;
    if (plan.mode == FAIL_ON ? n < plan.nth : n != plan.nth) return 0;
    switch (plan.mode) {
    case KILL:
        die();
        return 0;
    case FAIL_ON:
        if ((kind & REMOVE) && (plan.number == ENOSPC || plan.number == EDQUOT)) return 0;
        /* fall through */
    case FAIL:
        if ((kind & SYNC) && fd >= 0 && seen->fired < 64 && fstat(fd, &status) == 0)
            seen->unsynced[seen->fired] = status.st_ino;
        seen->fired++;
        errno = plan.number;
        return 1;
    case SIGNAL:
        seen->fired++;
        clock_gettime(CLOCK_MONOTONIC, &seen->signalled);
        kill(getpid(), plan.number);
        return 0;
    default:
        return 0;
    }
}

static int torn(void) { return plan.mode == TEAR && seen->calls == plan.nth; }

static void done(int kind) {
    if (plan.mode == STOP && (kind & (NAME | SYNC))) raise(SIGSTOP);
}

/* --- the calls ----------------------------------------------------------------------------------------------------- */

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define PATH_CALL(kind, name, folder, path, params, ...) \
    int name params { \
        REAL_OF(name, params); \
        int is_watched = watched(folder, path), result; \
        if (is_watched && refused(kind, -1)) return -1; \
        result = real(__VA_ARGS__); \
        if (is_watched) done(kind); \
        return result; \
    }
#define FD_CALL(kind, name, fd, params, ...) \
    int name params { \
        REAL_OF(name, params); \
        int is_watched = plan.mode != OFF && on_device(fd), result; \
        if (is_watched && refused(kind, fd)) return -1; \
        result = real(__VA_ARGS__); \
        if (is_watched) done(kind); \
        return result; \
    }
#define REAL_OF(name, params) \
    static int(*real) params; \
    if (!real) real = (int(*) params)dlsym(RTLD_NEXT, #name)

PATH_CALL(NAME, rename, AT_FDCWD, new, (const char *old, const char *new), old, new)
PATH_CALL(NAME, renameat, fd2, new, (int fd1, const char *old, int fd2, const char *new), fd1, old, fd2, new)
PATH_CALL(NAME, link, AT_FDCWD, new, (const char *old, const char *new), old, new)
PATH_CALL(NAME, linkat, fd2, new, (int fd1, const char *old, int fd2, const char *new, int flags), fd1, old, fd2, new, flags)
PATH_CALL(OTHER, symlink, AT_FDCWD, path, (const char *target, const char *path), target, path)
PATH_CALL(OTHER, mkdir, AT_FDCWD, path, (const char *path, mode_t mode), path, mode)
PATH_CALL(OTHER, mkdirat, fd, path, (int fd, const char *path, mode_t mode), fd, path, mode)
PATH_CALL(REMOVE, unlink, AT_FDCWD, path, (const char *path), path)
PATH_CALL(REMOVE, unlinkat, fd, path, (int fd, const char *path, int flags), fd, path, flags)
PATH_CALL(REMOVE, rmdir, AT_FDCWD, path, (const char *path), path)
PATH_CALL(OTHER, chmod, AT_FDCWD, path, (const char *path, mode_t mode), path, mode)
PATH_CALL(OTHER, fchmodat, fd, path, (int fd, const char *path, mode_t mode, int flags), fd, path, mode, flags)
PATH_CALL(OTHER, utimensat, fd, path, (int fd, const char *path, const struct timespec times[2], int flags), fd, path, times, flags)

int renameat2(int fd1, const char *old, int fd2, const char *new, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    int is_watched = watched(fd2, new), result;
    if (no_exchange && (flags & RENAME_EXCHANGE)) {
        errno = EINVAL;
        return -1;
    }
    if (is_watched && refused(NAME, -1)) return -1;
    result = real(fd1, old, fd2, new, flags);
    if (is_watched) done(NAME);
    return result;
}

#define SYNC_CALL(name) \
    int name(int fd) { \
        REAL(int, name, int); \
        int is_watched = plan.mode != OFF && on_device(fd), result; \
        if (is_watched && refused(SYNC, fd)) return -1; \
        result = is_watched && no_sync ? 0 : real(fd); \
        if (is_watched) done(SYNC); \
        return result; \
    }
SYNC_CALL(fsync)
SYNC_CALL(fdatasync)
SYNC_CALL(syncfs)
FD_CALL(OTHER, ftruncate, fd, (int fd, off_t size), fd, size)
FD_CALL(OTHER, ftruncate64, fd, (int fd, off64_t size), fd, size)
FD_CALL(OTHER, fallocate, fd, (int fd, int mode, off_t from, off_t size), fd, mode, from, size)
FD_CALL(OTHER, fallocate64, fd, (int fd, int mode, off64_t from, off64_t size), fd, mode, from, size)
FD_CALL(OTHER, fchmod, fd, (int fd, mode_t mode), fd, mode)
FD_CALL(OTHER, futimens, fd, (int fd, const struct timespec times[2]), fd, times)

/* This one returns the error instead of setting errno. */
#define ALLOCATE(name, offset) \
    int name(int fd, offset from, offset size) { \
        REAL(int, name, int, offset, offset); \
        if (plan.mode != OFF && on_device(fd) && refused(OTHER, fd)) return errno; \
        return real(fd, from, size); \
    }
ALLOCATE(posix_fallocate, off_t)
ALLOCATE(posix_fallocate64, off64_t)

#define WRITES(name, params, fd, halved, ...) \
    ssize_t name params { \
        static ssize_t(*real) params; \
        if (!real) real = (ssize_t(*) params)dlsym(RTLD_NEXT, #name); \
        int is_watched = plan.mode != OFF && on_device(fd); \
        if (is_watched && refused(WRITE, fd)) return -1; \
        if (is_watched && torn()) { \
            halved; \
            real(__VA_ARGS__); \
            die(); \
        } \
        return real(__VA_ARGS__); \
    }
WRITES(write, (int fd, const void *data, size_t size), fd, size /= 2, fd, data, size)
WRITES(pwrite, (int fd, const void *data, size_t size, off_t at), fd, size /= 2, fd, data, size, at)
WRITES(pwrite64, (int fd, const void *data, size_t size, off64_t at), fd, size /= 2, fd, data, size, at)
WRITES(writev, (int fd, const struct iovec *parts, int count), fd, count /= 2, fd, parts, count)
WRITES(pwritev, (int fd, const struct iovec *parts, int count, off_t at), fd, count /= 2, fd, parts, count, at)
WRITES(pwritev64, (int fd, const struct iovec *parts, int count, off64_t at), fd, count /= 2, fd, parts, count, at)
WRITES(sendfile64, (int fd, int from, off64_t *at, size_t size), fd, size /= 2, fd, from, at, size)
WRITES(copy_file_range, (int from, off64_t *a, int fd, off64_t *b, size_t size, unsigned flags), fd, size /= 2, from, a, fd, b, size, flags)

#define OPENS(name, params, folder, ...) \
    int name params { \
        mode_t mode = 0; \
        if (flags & (O_CREAT | __O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        static int(*real) params; \
        if (!real) real = (int(*) params)dlsym(RTLD_NEXT, #name); \
        if ((flags & (O_CREAT | O_TRUNC)) && watched(folder, path) && refused(OTHER, -1)) return -1; \
        return real(__VA_ARGS__, mode); \
    }
OPENS(open, (const char *path, int flags, ...), AT_FDCWD, path, flags)
OPENS(open64, (const char *path, int flags, ...), AT_FDCWD, path, flags)
OPENS(openat, (int fd, const char *path, int flags, ...), fd, fd, path, flags)
OPENS(openat64, (int fd, const char *path, int flags, ...), fd, fd, path, flags)

#define CLONE_REQUEST 0x40049409 /* FICLONE */
int ioctl(int fd, unsigned long request, ...) {
    REAL(int, ioctl, int, unsigned long, ...);
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (plan.mode != OFF && request == CLONE_REQUEST && on_device(fd) && refused(OTHER, fd)) return -1;
    return real(fd, request, argument);
}
