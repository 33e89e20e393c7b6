#include "data/prefetch.h"

#include "base/progress.h"

#include <omp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// Steps are counted from `first`: made are in slots, taken were given to the consumer, released came back.
// released <= taken <= made <= released + n_slots; step k uses slot k % n_slots.
struct drt_prefetch {
    drt_prefetch_make *make;
    void *user, **slots;
    int n_slots;
    int64_t first, steps;
    pthread_t thread;
    pthread_mutex_t lock; // guards everything below
    pthread_cond_t changed;
    int64_t made, taken, released;
    bool stop;
    drt_status failed; // of step `made`
    drt_error why;
    double waited;
};

static void *work(void *user) {
    drt_prefetch *p = user;
    omp_set_num_threads(1); // holds for this thread
    pthread_mutex_lock(&p->lock);
    while (p->made < p->steps && !p->failed) {
        while (!p->stop && p->made == p->released + p->n_slots) pthread_cond_wait(&p->changed, &p->lock);
        if (p->stop) break;
        int64_t k = p->made;
        drt_error why = {0};
        pthread_mutex_unlock(&p->lock);
        drt_status bad = p->make(p->user, p->first + k, p->slots[k % p->n_slots], &why);
        pthread_mutex_lock(&p->lock);
        if (bad) {
            p->failed = bad;
            p->why = why;
            p->why.code = bad;
        } else {
            p->made = k + 1;
        }
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void destroy(drt_prefetch *p) {
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p->slots);
    free(p);
}

drt_status drt_prefetch_start(drt_prefetch **out, drt_prefetch_make *make, void *user, void *const *slots, int n_slots,
                              int64_t first, int64_t end, drt_error *err) {
    *out = NULL;
    if (n_slots < 1 || end < first)
        return drt_fail(err, DRT_EARG, "prefetching steps %lld to %lld into %d slots: it takes at least one slot, and "
                        "the end must not come before the start", (long long)first, (long long)end, n_slots);
    drt_prefetch *p = calloc(1, sizeof *p);
    void **copy = malloc((size_t)n_slots * sizeof *copy);
    if (!p || !copy) {
        free(p), free(copy);
        return drt_fail(err, DRT_ENOMEM, "no memory for %d prefetch slots", n_slots);
    }
    memcpy(copy, slots, (size_t)n_slots * sizeof *copy);
    p->make = make, p->user = user, p->slots = copy, p->n_slots = n_slots;
    p->first = first, p->steps = end - first;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    int cause = pthread_create(&p->thread, NULL, work, p);
    if (cause) {
        destroy(p);
        return drt_fail(err, DRT_ENOMEM, "cannot start the thread that prepares batches: %s", strerror(cause));
    }
    *out = p;
    return DRT_OK;
}

drt_status drt_prefetch_next(drt_prefetch *p, int64_t *step, void **slot, drt_error *err) {
    drt_status bad = DRT_OK;
    *slot = NULL;
    pthread_mutex_lock(&p->lock);
    *step = p->first + p->taken;
    bool ready = p->taken < p->made || p->taken == p->steps || p->failed;
    if (!ready && p->taken == p->released + p->n_slots) {
        bad = drt_fail(err, DRT_EARG, "all %d prefetch slots are held; release one first", p->n_slots);
    } else if (!ready) {
        double from = drt_clock();
        while (p->taken == p->made && !p->failed) pthread_cond_wait(&p->changed, &p->lock);
        p->waited += drt_clock() - from;
    }
    if (!bad && p->taken < p->made) {
        *slot = p->slots[p->taken++ % p->n_slots];
    } else if (!bad && p->failed) {
        if (err) *err = p->why;
        bad = p->failed;
    }
    pthread_mutex_unlock(&p->lock);
    return bad;
}

void drt_prefetch_release(drt_prefetch *p) {
    pthread_mutex_lock(&p->lock);
    if (p->released < p->taken) p->released++;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

double drt_prefetch_waited(const drt_prefetch *p) { return p->waited; }

void drt_prefetch_stop(drt_prefetch *p) {
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    destroy(p);
}
