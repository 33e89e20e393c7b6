// What the benches share: clocks, medians, the process's memory.
#ifndef DRT_BENCH_TIMING_H
#define DRT_BENCH_TIMING_H

#include <stdbool.h>
#include <stddef.h>

// Seconds: of the clock, or (cpu) of the processor for this process, all threads together. On a busy machine, with one
// thread, the latter is the steadier of the two.
double bench_now(bool cpu);

typedef struct {
    double median, best, spread; // spread: (p90 - p10) / median
} bench_times;
bench_times bench_summary(double *seconds, int n); // sorts

// 64-byte aligned; ends the program when there is none.
void *bench_memory(size_t bytes);

// Bytes of this process by a field of /proc/self/status: "VmRSS", all that is resident; "VmHWM", the most there were
// since bench_memory_watch.
double bench_held(const char *field);
void bench_memory_watch(void);

#endif
