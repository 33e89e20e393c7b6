#include "kernels/cpu/pool.h"

#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

// How often a thread without work looks for some before it sleeps: 20 to 50 us, longer than the gap between two
// kernels, shorter than what a neighbour on a busy machine would mind.
enum { SPINS = 1000 };

typedef struct {
    drt_pool *pool;
    int number;
    pthread_t thread;
} helper;

struct drt_pool {
    int threads; // with the caller
    helper *helpers;
    // Number of the loop (high half) and its next piece. Claiming is one compare-and-swap on both, so that a thread
    // that comes late cannot take a piece of another loop than the one it has read.
    _Alignas(64) _Atomic uint64_t ticket;
    _Atomic int64_t n, grain, pieces;
    _Atomic(drt_pool_body *) body;
    _Atomic(const void *) args;
    _Alignas(64) _Atomic int64_t left; // pieces not yet done
    _Alignas(64) _Atomic int sleepers;
    _Atomic bool waiting, quit; // the caller sleeps until left is 0; the helpers shall end
    pthread_mutex_t lock;
    pthread_cond_t work, done;
};

static inline void relax(void) {
#if defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

// Numbers below 1.2e-38 count as zero while kernels run: GELU and softmax make them, and one such operand costs some
// 150 cycles on x86 (a projector's weight gradient of 192x192x2048 took 110 ms instead of 0.8). Returns the mode
// before.
static inline uint32_t flush_tiny(void) {
#if defined __x86_64__
    uint32_t before = _mm_getcsr();
    _mm_setcsr(before | _MM_FLUSH_ZERO_ON | 0x40 /* denormals are zero */);
    return before;
#else
    return 0;
#endif
}
static inline void restore_mode(uint32_t mode) {
#if defined __x86_64__
    _mm_setcsr(mode);
#else
    (void)mode;
#endif
}

// Claims and runs pieces until the loop has none; returns the loop's number.
static uint32_t run_pieces(drt_pool *pool, int worker) {
    for (;;) {
        uint64_t ticket = atomic_load(&pool->ticket);
        int64_t piece = (int64_t)(ticket & UINT32_MAX), n = atomic_load(&pool->n), grain = atomic_load(&pool->grain);
        drt_pool_body *body = atomic_load(&pool->body);
        const void *args = atomic_load(&pool->args);
        if (piece >= atomic_load(&pool->pieces)) return (uint32_t)(ticket >> 32);
        // Success means that no other loop has begun since the ticket was read: what was read after it belongs to it.
        if (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + 1)) continue;
        body(args, piece * grain, piece == n / grain ? n : (piece + 1) * grain, worker);
        if (atomic_fetch_sub(&pool->left, 1) == 1 && atomic_load(&pool->waiting)) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static bool is_idle(drt_pool *pool, uint32_t loop) {
    return (uint32_t)(atomic_load(&pool->ticket) >> 32) == loop && !atomic_load(&pool->quit);
}

static void *help(void *arg) {
    helper *me = arg;
    drt_pool *pool = me->pool;
    omp_set_num_threads(1); // for oneDNN, which asks the thread that calls it
    flush_tiny();
    while (!atomic_load(&pool->quit)) {
        uint32_t loop = run_pieces(pool, me->number);
        for (int i = 0; i < SPINS && is_idle(pool, loop); i++) relax();
        if (!is_idle(pool, loop)) continue;
        pthread_mutex_lock(&pool->lock);
        atomic_fetch_add(&pool->sleepers, 1);
        while (is_idle(pool, loop)) pthread_cond_wait(&pool->work, &pool->lock);
        atomic_fetch_sub(&pool->sleepers, 1);
        pthread_mutex_unlock(&pool->lock);
    }
    return NULL;
}

void drt_pool_run(drt_pool *pool, int64_t n, int64_t grain, drt_pool_body *body, const void *args) {
    if (grain < n / INT32_MAX + 1) grain = n / INT32_MAX + 1;
    int64_t pieces = (n + grain - 1) / grain;
    uint32_t mode = flush_tiny();
    if (pieces < 2 || pool->threads == 1) {
        for (int64_t i = 0; i < pieces; i++) body(args, i * grain, i == n / grain ? n : (i + 1) * grain, 0);
        restore_mode(mode);
        return;
    }
    // First a loop without pieces: nobody may claim while the fields are between two loops.
    uint64_t loop = (atomic_load(&pool->ticket) >> 32) + 1;
    atomic_store(&pool->ticket, loop << 32 | UINT32_MAX);
    atomic_store(&pool->n, n);
    atomic_store(&pool->grain, grain);
    atomic_store(&pool->body, body);
    atomic_store(&pool->args, args);
    atomic_store(&pool->left, pieces);
    atomic_store(&pool->pieces, pieces);
    atomic_store(&pool->ticket, (loop + 1) << 32);
    if (atomic_load(&pool->sleepers)) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->work);
        pthread_mutex_unlock(&pool->lock);
    }
    run_pieces(pool, 0);
    restore_mode(mode);
    for (int i = 0; i < SPINS && atomic_load(&pool->left); i++) relax();
    if (!atomic_load(&pool->left)) return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->waiting, true);
    while (atomic_load(&pool->left)) pthread_cond_wait(&pool->done, &pool->lock);
    atomic_store(&pool->waiting, false);
    pthread_mutex_unlock(&pool->lock);
}

void drt_pool_close(drt_pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->quit, true);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->threads - 1; i++) pthread_join(pool->helpers[i].thread, NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->done);
    free(pool->helpers);
    free(pool);
}

drt_pool *drt_pool_open(int threads) {
    drt_pool *pool = aligned_alloc(64, sizeof *pool);
    if (!pool) return NULL;
    *pool = (drt_pool){.threads = 1, .helpers = calloc((size_t)threads, sizeof(helper))};
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    // Helpers take no signals: these are the program's, and see matmul.c.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (int i = 1; pool->helpers && i < threads; i++) {
        helper *h = &pool->helpers[i - 1];
        *h = (helper){.pool = pool, .number = i};
        if (pthread_create(&h->thread, NULL, help, h)) break;
        pool->threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pool->helpers && pool->threads == threads) return pool;
    drt_pool_close(pool);
    return NULL;
}
