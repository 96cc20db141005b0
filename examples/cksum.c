/*
 * cksum.c - POSIX cksum with a thread for every file.
 *
 * Main walks the operands and starts a thread for each file. The threads that
 * it has not joined yet form a window, a ring in the order of the files. When
 * the window is full, main joins the oldest thread and prints its line. So the
 * output has the order of the files, and only main uses the ring and stdout. A
 * million files need no more threads, descriptors and memory than one window.
 *
 * A job belongs to its thread from start to join, and to main before and after.
 * These two calls are the only synchronization.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64

#include <pythread.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "pythread-cksum"

/* ---- the CRC ---------------------------------------------------------------------------- */

/*
 * The CRC of POSIX shifts left, so the first byte in memory is the highest byte
 * of a word. crc_after[n][b] is the CRC of byte b with n zero bytes after it.
 * The CRC of sixteen bytes is the xor of sixteen such values. The processor
 * looks these up at the same time, instead of one after the other.
 */
static uint32_t crc_after[16][256];

static void crc_init(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte << 24;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc << 1 ^ (crc >> 31) * 0x04C11DB7u;
        }
        crc_after[0][byte] = crc;
    }
    for (int n = 1; n < 16; n++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t crc = crc_after[n - 1][byte];
            crc_after[n][byte] = crc << 8 ^ crc_after[0][crc >> 24];
        }
    }
}

/* The CRC of four bytes with n more bytes after them. */
static inline uint32_t crc_word(uint32_t word, int n)
{
    return crc_after[n + 3][word >> 24] ^ crc_after[n + 2][word >> 16 & 0xFF] ^
           crc_after[n + 1][word >> 8 & 0xFF] ^ crc_after[n][word & 0xFF];
}

static uint32_t crc_update(uint32_t crc, const unsigned char *bytes, size_t size)
{
    for (; size >= 16; size -= 16, bytes += 16) {
        uint32_t words[4];
        memcpy(words, bytes, sizeof words);
        crc = crc_word(be32toh(words[0]) ^ crc, 12) ^ crc_word(be32toh(words[1]), 8) ^
              crc_word(be32toh(words[2]), 4) ^ crc_word(be32toh(words[3]), 0);
    }
    for (; size > 0; size--, bytes++) {
        crc = crc << 8 ^ crc_after[0][crc >> 24 ^ *bytes];
    }
    return crc;
}

/* The CRC also covers the size: its bytes, lowest first, without zeros at the end. */
static uint32_t crc_finish(uint32_t crc, uint64_t size)
{
    for (; size > 0; size >>= 8) {
        unsigned char byte = size & 0xFF;
        crc = crc_update(crc, &byte, 1);
    }
    return ~crc;
}

/* ---- one file, one thread --------------------------------------------------------------- */

struct job {
    char *name; /* the job's own copy; NULL: stdin without a name */
    uint32_t crc;
    uint64_t size;
    int error;     /* an errno; 0: crc and size are right */
    bool threaded; /* it has a thread that is not joined yet */
    union {
        PyThread_handle_t handle;
        pthread_t pthread;
    };
};

static bool is_stdin(const char *name)
{
    return name == NULL || strcmp(name, "-") == 0;
}

/*
 * The function of every thread. The buffer is on the stack, which an earlier
 * thread may have brought into the cache. So a file needs no allocation, and a
 * small file touches only the part of the buffer that it fills.
 */
static void checksum(void *arg)
{
    struct job *job = arg;
    unsigned char buffer[32 * 1024];
    ssize_t got;
    bool opened = !is_stdin(job->name);
    int fd = opened ? open(job->name, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (fd < 0) {
        job->error = errno;
        return;
    }
    while ((got = read(fd, buffer, sizeof buffer)) > 0) {
        job->crc = crc_update(job->crc, buffer, (size_t)got);
        job->size += (uint64_t)got;
    }
    if (got < 0) {
        job->error = errno;
    }
    job->crc = crc_finish(job->crc, job->size);
    if (opened) {
        close(fd);
    }
}

/* The two kinds of threads. start returns false if there is no thread. */
struct threads {
    bool (*start)(struct job *job);
    void (*join)(struct job *job);
};

static bool start_pythread(struct job *job)
{
    PyThread_ident_t ident;
    return PyThread_start_joinable_thread(checksum, job, &ident, &job->handle) == 0;
}

static void join_pythread(struct job *job)
{
    PyThread_join_thread(job->handle);
}

static void *checksum_pthread(void *job)
{
    checksum(job);
    return NULL;
}

static bool start_pthread(struct job *job)
{
    return pthread_create(&job->pthread, NULL, checksum_pthread, job) == 0;
}

static void join_pthread(struct job *job)
{
    pthread_join(job->pthread, NULL);
}

static const struct threads pythreads = {start_pythread, join_pythread};
static const struct threads pthreads = {start_pthread, join_pthread};

/* ---- the window of threads -------------------------------------------------------------- */

struct run {
    const struct threads *threads;
    struct job *window;
    size_t size, oldest, count;
    uintmax_t files, bytes, started;
    bool failed;
    bool progress;
    double shown; /* when the progress line was last written; 0: never */
};

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void clear_progress(struct run *run)
{
    if (run->shown != 0) {
        fputs("\r\033[K", stderr);
    }
}

static void show_progress(struct run *run)
{
    if (run->progress && seconds() - run->shown >= 0.1) {
        run->shown = seconds();
        fprintf(stderr, "\r%ju files, %ju MB", run->files, run->bytes / 1000000);
    }
}

static void complain(struct run *run, const char *name, int error)
{
    clear_progress(run);
    fprintf(stderr, PROGRAM ": %s: %s\n", name, strerror(error));
    run->failed = true;
}

/* Removes the oldest job from the window: joins its thread and prints its line. */
static void retire(struct run *run)
{
    struct job *job = &run->window[run->oldest];
    if (job->threaded) {
        run->threads->join(job);
    }
    if (job->error != 0) {
        const char *name = is_stdin(job->name) ? "standard input" : job->name;
        complain(run, *name != '\0' ? name : "''", job->error);
    } else {
        bool named = job->name != NULL;
        printf("%" PRIu32 " %" PRIu64 "%s%s\n", job->crc, job->size, named ? " " : "",
               named ? job->name : "");
        run->files++;
        run->bytes += job->size;
    }
    show_progress(run);
    free(job->name);
    run->oldest = (run->oldest + 1) % run->size;
    run->count--;
}

static void retire_all(struct run *run)
{
    while (run->count > 0) {
        retire(run);
    }
}

static void die(const char *what)
{
    fprintf(stderr, PROGRAM ": %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/*
 * Puts a file into the window and starts its thread. With an error there is
 * nothing to read, and the error is printed in its turn. If no thread can be
 * started, main joins its oldest thread and tries again. Without a thread to
 * join, main reads the file itself.
 */
static void submit(struct run *run, const char *name, int error)
{
    if (run->count == run->size) {
        retire(run);
    }
    struct job *job = &run->window[(run->oldest + run->count) % run->size];
    *job = (struct job){.name = name == NULL ? NULL : strdup(name), .error = error};
    if (name != NULL && job->name == NULL) {
        die(name);
    }
    if (error == 0) {
        /* retire adds 1 to oldest and takes 1 from count. So job keeps its place. */
        while (!(job->threaded = run->threads->start(job)) && run->count > 0) {
            retire(run);
        }
        if (job->threaded) {
            run->started++;
        } else {
            checksum(job);
        }
    }
    run->count++;
}

/* ---- the operands ----------------------------------------------------------------------- */

/*
 * Sorts a directory so that the whole walk has the order of the sorted paths.
 * So the name of a directory counts with a slash at its end.
 */
static int by_path(const FTSENT **left, const FTSENT **right)
{
    const unsigned char *l = (const unsigned char *)(*left)->fts_name;
    const unsigned char *r = (const unsigned char *)(*right)->fts_name;
    while (*l == *r && *l != '\0') {
        l++;
        r++;
    }
    return (*l == '\0' && (*left)->fts_info == FTS_D ? '/' : *l) -
           (*r == '\0' && (*right)->fts_info == FTS_D ? '/' : *r);
}

/*
 * An operand of any type is opened, as cksum does. A directory stands for the
 * regular files below it, as in `find -H DIR -type f`: to open a FIFO could
 * block for ever, and symbolic links could form a ring. FTS_NOCHDIR, because
 * the threads open names relative to the directory of the process.
 */
static void walk(struct run *run, char *operand)
{
    char *operands[] = {operand, NULL};
    FTS *tree = fts_open(operands, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_path);
    if (tree == NULL) {
        submit(run, operand, errno);
        return;
    }
    FTSENT *entry;
    while ((entry = fts_read(tree)) != NULL) {
        switch (entry->fts_info) {
        case FTS_D:
        case FTS_DP:
            break;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
            submit(run, entry->fts_path, entry->fts_errno);
            break;
        default:
            if (entry->fts_info == FTS_F || entry->fts_level == FTS_ROOTLEVEL) {
                submit(run, entry->fts_path, 0);
            }
        }
    }
    if (errno != 0) {
        submit(run, operand, errno);
    }
    fts_close(tree);
}

static void add(struct run *run, char *operand)
{
    if (is_stdin(operand)) {
        /* A second "-" continues where the first has stopped, so the first must end. */
        submit(run, operand, 0);
        retire_all(run);
    } else {
        walk(run, operand);
    }
}

/*
 * The number of threads at a time: what the user asks for, or enough that the
 * processors have work while a large file is the oldest. Each thread has one
 * open file. Eight descriptors remain for the standard streams, the walk and the
 * thread library, and half of the others for those that the program inherits.
 */
static size_t window_size(size_t jobs)
{
    struct rlimit limit;
    size_t size = jobs != 0 ? jobs : 256;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        rlim_t spare = limit.rlim_cur > 8 ? (limit.rlim_cur - 8) / 2 : 0;
        size = size < spare ? size : spare;
    }
    return size > 0 ? size : 1;
}

/*
 * Opens each standard stream that is closed. Otherwise a file could get the
 * number of the stream, and be read as stdin. The stream is opened in the wrong
 * direction, so that it fails with the same error as a closed one.
 */
static void hold_standard_streams(void)
{
    /* Where this starts Go, Go opens files for a moment, with any free numbers. */
    PyThread_init_thread();
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        }
    }
}

static void usage(void)
{
    fputs("usage: " PROGRAM " [--pthreads] [--jobs N] [--trace=FILE] [FILE|DIR]...\n"
          "Prints CRC, size and name of each file as cksum does, with a thread per file.\n"
          "A directory stands for the regular files below it, sorted; no FILE or - is stdin.\n"
          "\n"
          "  --pthreads    use plain pthreads instead of PyThreads, for comparison\n"
          "  --jobs N      have at most N threads at a time (0: the default)\n"
          "  --trace=FILE  write what the threads did, for https://ui.perfetto.dev\n"
          "  -h, --help    print this\n",
          stderr);
    exit(2);
}

static size_t parse_jobs(const char *text)
{
    char *end;
    errno = 0;
    uintmax_t jobs = strtoumax(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || jobs > SIZE_MAX) {
        fprintf(stderr, PROGRAM ": --jobs takes a number, not '%s'\n", text);
        usage();
    }
    return (size_t)jobs;
}

static void begin_trace(const char *path)
{
    int error = pythread_trace(path);
    if (error != 0) {
        errno = error;
        die(path);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"pthreads", no_argument, NULL, 'p'},
                                            {"jobs", required_argument, NULL, 'j'},
                                            {"trace", required_argument, NULL, 't'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    /* If stdout is a terminal too, the results show the progress. */
    struct run run = {.threads = &pythreads,
                      .progress = isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO)};
    double begin = seconds();
    hold_standard_streams();
    size_t jobs = 0;
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'p':
            run.threads = &pthreads;
            break;
        case 'j':
            jobs = parse_jobs(optarg);
            break;
        case 't':
            begin_trace(optarg);
            break;
        default:
            usage();
        }
    }
    run.size = window_size(jobs);
    run.window = calloc(run.size, sizeof *run.window);
    if (run.window == NULL) {
        die("window of threads");
    }
    crc_init();
    if (optind == argc) {
        add(&run, NULL);
    }
    for (; optind < argc; optind++) {
        add(&run, argv[optind]);
    }
    retire_all(&run);
    free(run.window);
    clear_progress(&run);
    errno = pythread_trace(NULL);
    if (errno != 0) {
        complain(&run, "trace", errno);
    }
    int error = ferror(stdout) ? EIO : 0;
    if (fclose(stdout) != 0) {
        error = errno;
    }
    if (error != 0) {
        complain(&run, "write error", error);
    }
    fprintf(stderr, PROGRAM ": %ju files, %ju bytes, %ju threads, %.3f seconds\n", run.files,
            run.bytes, run.started, seconds() - begin);
    return run.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
