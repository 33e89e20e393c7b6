// Memory as the system sees it: what this process holds, what it may still take, and addresses that cost nothing.
#ifndef DRT_BASE_MEMORY_H
#define DRT_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int64_t drt_memory_resident(void); // bytes of memory this process holds now; 0 where the system does not say
// Bytes that this process can still get, of the machine or of its control group; 0 where the system does not say.
int64_t drt_memory_free(void);
// Bytes that this process may hold: what it holds and what is free, or the limit of its control group (v2 or v1) if
// that is less. 0 where the system does not say.
int64_t drt_memory_given(void);

// Whole pages for `bytes` bytes, which read as zero; drt_memory_return gives them back to the system at once, which
// free() need not. NULL: the system refuses.
void *drt_memory_take(size_t bytes);
// The same where memory is not to be had: addresses that cost nothing before they are written to.
void *drt_memory_reserve(size_t bytes);
void drt_memory_return(void *p, size_t bytes); // of either; NULL is allowed

// "4G", "512M", "1.5GiB" (powers of 1024), "4GB" (of 1000), "4096" (bytes).
bool drt_memory_parse(const char *text, int64_t *bytes);
char *drt_memory_text(char out[24], int64_t bytes); // "213 MB", "1.23 GB" (powers of 1000); returns out

#endif
