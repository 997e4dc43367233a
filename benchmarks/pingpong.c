/* The floor of the machine: two processes wake each other by POSIX semaphores in shared memory.
 *
 *   pingpong CORE CORE SECONDS      prints the nanoseconds of each round trip
 */
#define _GNU_SOURCE
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { WARM_UP = 100, LEAST = 100, MOST = 100000 };

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void pin(const char *core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(atoi(core), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        perror("sched_setaffinity");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: pingpong CORE CORE SECONDS\n");
        return 2;
    }
    sem_t *bells = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    static long long samples[MOST];
    int count = 0;
    if (bells == MAP_FAILED || sem_init(&bells[0], 1, 0) || sem_init(&bells[1], 1, 0)) {
        perror("pingpong");
        return 1;
    }
    pid_t reader = fork();
    if (reader == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(argv[2]);
        for (;;) {
            sem_wait(&bells[0]);
            sem_post(&bells[1]);
        }
    }
    pin(argv[1]);
    long long end_ns = now_ns() + (long long)(atof(argv[3]) * 1e9);
    for (int n = -WARM_UP; n < MOST; n++) {
        long long begin = now_ns();
        sem_post(&bells[0]);
        sem_wait(&bells[1]);
        long long done = now_ns();
        if (n >= 0)
            samples[count++] = done - begin;
        if (n >= LEAST && done > end_ns)
            break;
    }
    kill(reader, SIGKILL);
    waitpid(reader, NULL, 0);
    for (int n = 0; n < count; n++)
        printf("%lld\n", samples[n]);
    return 0;
}
