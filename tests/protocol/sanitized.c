/* The steps of the ring as the compiled cores do them, between threads, for ThreadSanitizer.

   It does not look across processes, so here processes are threads that share nothing but the
   words, the semaphores and the slots. `macros.h` is what `dora_rt/compiled/primitives.pxi` defines;
   the numbers are the steps of `dora_rt/transport/ring/protocol.py`. Slots are written and read
   plainly: ThreadSanitizer reports each access that no semaphore and no word puts in an order. */

#include "macros.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 8, QUEUE = 2, PAYLOAD = 8, LENGTH = 4 * SLOTS, SLOT_BITS = 16, LOG_SHIFT = 17 };
enum { BLOCK, DROP_OLDEST, READERS };
#define BEING_WRITTEN UINT64_MAX
#define SLOT_MASK 0xFFFF

static uint64_t place[SLOTS], order[SLOTS], head;
/* In words: ThreadSanitizer keeps the last four accesses of each. */
static uint64_t slots[SLOTS][PAYLOAD];

struct edge {
    sem_t tokens[SLOTS], returned, doorbell;
    uint64_t log[LENGTH], floor;
    /* The writer's own. */
    uint64_t log_read, pending[LENGTH], first, last, dropped;
    /* The reader's own. */
    uint64_t logged, taken, passed;
    int policy;
};
static struct edge edges[READERS];
static uint64_t samples;

static void fail(const char *what, uint64_t number)
{
    fprintf(stderr, "VIOLATED: %s (sample %llu)\n", what, (unsigned long long)number);
    exit(3);
}

static int count(sem_t *semaphore)
{
    int value;
    sem_getvalue(semaphore, &value);
    return value;
}

/* The writer's own: which readers may have a slot, and the slot of each sample. */
static int batons[SLOTS];
static uint64_t slot_of[LENGTH];

static void read_log(struct edge *edge, int bit) /* 12 */
{
    for (;;) {
        uint64_t entry = drt_load(&edge->log[edge->log_read % LENGTH]);
        if (entry >> LOG_SHIFT != edge->log_read + 1)
            return;
        uint64_t slot = entry & SLOT_MASK;
        if (edge->first < edge->last && slot_of[edge->pending[edge->first % LENGTH] % LENGTH] == slot)
            edge->first++;
        batons[slot] &= ~bit;
        edge->log_read++;
    }
}

static void trim(struct edge *edge, int bit) /* 4 */
{
    int has_dropped = 0;
    while (edge->last - edge->first > QUEUE) {
        uint64_t seq = edge->pending[edge->first++ % LENGTH];
        uint64_t slot = slot_of[seq % LENGTH];
        if (count(&edge->tokens[slot]) && !sem_trywait(&edge->tokens[slot])) {
            batons[slot] &= ~bit;
            edge->dropped++;
            has_dropped = 1;
        }
    }
    if (has_dropped)
        drt_store(&edge->floor, edge->first < edge->last ? edge->pending[edge->first % LENGTH] : head);
}

static int find_free(void)
{
    for (int slot = 0; slot < SLOTS; slot++)
        if (!batons[slot])
            return slot;
    return -1;
}

static void *run_writer(void *unused)
{
    for (uint64_t seq = 0; seq < samples; seq++) {
        int slot;
        for (;;) {
            /* As in `do_read_log` alone: entries are read whose post was not taken. */
            for (int e = 0; e < READERS; e++)
                read_log(&edges[e], 1 << e);
            slot = find_free();
            if (slot < 0)
                fail("there is no free slot", seq);
            if (edges[BLOCK].last - edges[BLOCK].first < QUEUE)
                break;
            sem_wait(&edges[BLOCK].returned);
        }
        drt_store(&place[slot], BEING_WRITTEN); /* 1 */
        for (int n = 0; n < PAYLOAD; n++)
            slots[slot][n] = seq + n;
        batons[slot] = (1 << READERS) - 1;
        slot_of[seq % LENGTH] = slot;
        drt_store(&place[slot], seq << SLOT_BITS); /* 2 */
        drt_store(&order[seq % SLOTS], (seq + 1) << SLOT_BITS | slot);
        drt_store(&head, seq + 1);
        for (int e = 0; e < READERS; e++)
            sem_post(&edges[e].tokens[slot]); /* 3 */
        for (int e = 0; e < READERS; e++) {
            edges[e].pending[edges[e].last++ % LENGTH] = seq;
            if (edges[e].policy == DROP_OLDEST)
                trim(&edges[e], 1 << e);
            sem_post(&edges[e].doorbell); /* 5 */
        }
    }
    return unused;
}

static void give_back(struct edge *edge, uint64_t slot)
{
    drt_store(&edge->log[edge->logged % LENGTH], (edge->logged + 1) << LOG_SHIFT | slot); /* 10 */
    edge->logged++;
    sem_post(&edge->returned); /* 11 */
}

static void look_at(uint64_t slot, uint64_t seq)
{
    for (int n = 0; n < PAYLOAD; n++)
        if (slots[slot][n] != seq + n)
            fail("a sample changed in the hands of its reader", seq);
}

static void *run_reader(void *argument)
{
    struct edge *edge = argument;
    uint64_t early[SLOTS]; /* claims of later samples, by slot: 0, or the sample and one */
    memset(early, 0, sizeof early);
    for (uint64_t seq = 0; seq < samples;) {
        uint64_t slot, floor = drt_load(&edge->floor), now;
        for (slot = 0; slot < SLOTS && early[slot] != seq + 1; slot++)
            ;
        if (slot == SLOTS) {
            if (seq < floor) {
                edge->passed++;
                seq++;
                continue;
            }
            uint64_t word = drt_load(&order[seq % SLOTS]); /* 6 */
            slot = word & SLOT_MASK;
            if (word >> SLOT_BITS != seq + 1 || sem_trywait(&edge->tokens[slot])) { /* 7 */
                if (drt_load(&edge->floor) <= seq)
                    sem_wait(&edge->doorbell);
                continue;
            }
            now = drt_load(&place[slot]) >> SLOT_BITS; /* 8 */
            if (now != seq) {
                early[slot] = now + 1;
                continue;
            }
        }
        early[slot] = 0;
#ifdef GIVES_BACK_FIRST
        give_back(edge, slot);
        look_at(slot, seq);
#else
        look_at(slot, seq);
        give_back(edge, slot);
#endif
        edge->taken++;
        seq++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[READERS + 1];
    samples = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
    for (int e = 0; e < READERS; e++) {
        for (int n = 0; n < SLOTS; n++)
            sem_init(&edges[e].tokens[n], 0, 0);
        sem_init(&edges[e].returned, 0, 0);
        sem_init(&edges[e].doorbell, 0, 0);
        edges[e].policy = e;
    }
    pthread_create(&threads[READERS], NULL, run_writer, NULL);
    for (int e = 0; e < READERS; e++)
        pthread_create(&threads[e], NULL, run_reader, &edges[e]);
    for (int n = 0; n <= READERS; n++)
        pthread_join(threads[n], NULL);
    for (int e = 0; e < READERS; e++) {
        if (edges[e].taken + edges[e].passed != samples || edges[e].passed != edges[e].dropped)
            fail("published is not delivered and dropped", edges[e].taken);
        printf("%s: %llu delivered, %llu dropped\n", e ? "drop_oldest" : "block",
               (unsigned long long)edges[e].taken, (unsigned long long)edges[e].dropped);
    }
    return 0;
}
