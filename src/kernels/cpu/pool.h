// The threads of a device. A loop is cut into pieces; whoever is awake claims the next one, the caller first of all.
//
// Why not OpenMP's own team: its caller waits until every thread of the team has come, so that on a machine with other
// work each of the some 200 loops of a step waits for a time slice (a step of a small LLaVA: 4.7 s with two threads,
// 1.2 s with one, five other processes on two cores). Here a thread that does not come costs nothing but its help.
// Which thread runs a piece is open, what a piece computes is not: results depend on the cut alone.
#ifndef DRT_KERNELS_CPU_POOL_H
#define DRT_KERNELS_CPU_POOL_H

#include <stdint.h>

typedef struct drt_pool drt_pool;

// Works on [first, end); worker is below the number of threads and belongs to one running piece at a time.
typedef void drt_pool_body(const void *args, int64_t first, int64_t end, int worker);

// `threads` counts the caller; NULL when the system refuses memory or threads.
drt_pool *drt_pool_open(int threads);
void drt_pool_close(drt_pool *pool);

// Runs body over [0, n) in pieces of `grain` and returns when all are done. One piece runs at once on the caller.
void drt_pool_run(drt_pool *pool, int64_t n, int64_t grain, drt_pool_body *body, const void *args);

#endif
