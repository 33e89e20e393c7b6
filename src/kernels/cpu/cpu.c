// A place for the fast device until its kernels land: opening it is refused, so that everything above links and runs
// on `ref`.
#include "kernels/kernels.h"

drt_status drt_cpu_open(drt_device *dev, drt_error *err) {
    (void)dev;
    return drt_fail(err, DRT_EARG, "device 'cpu' is not part of this build yet; use device 'ref'");
}
