#include "kernels/kernels.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

drt_status drt_device_open(drt_device **out, const char *name, int threads, drt_error *err) {
    *out = NULL;
    if (threads < 0 || threads > 4096) return drt_fail(err, DRT_EARG, "threads: %d is not between 0 (all) and 4096", threads);
    drt_device *dev = calloc(1, sizeof *dev);
    if (!dev) return drt_fail(err, DRT_ENOMEM, "no memory for a device");
    dev->threads = threads ? threads : omp_get_num_procs();
    drt_status status = DRT_OK;
    if (!strcmp(name, "ref")) dev->k = &drt_kernels_ref;
    else if (!strcmp(name, "cpu")) status = drt_cpu_open(dev, err);
    else status = drt_fail(err, DRT_EARG, "device '%s' is unknown; this build has: cpu, ref", name);
    if (status) {
        free(dev);
        return status;
    }
    *out = dev;
    return DRT_OK;
}

void drt_device_close(drt_device *dev) {
    if (!dev) return;
    if (dev->close) dev->close(dev);
    free(dev);
}

void drt_device_fail(drt_device *dev, drt_status code, const char *format, ...) {
    if (dev->error.code) return;
    va_list args;
    dev->error.code = code;
    va_start(args, format);
    vsnprintf(dev->error.text, sizeof dev->error.text, format, args);
    va_end(args);
}
