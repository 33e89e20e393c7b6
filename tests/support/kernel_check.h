// Runs kernel cases (kernel_case.h) on every device of the machine: `ref`, `cpu` with two threads once per instruction
// set and with bf16 instructions, and `cpu` with three threads. DRT_ISA in the environment is the last set to run.
// For every ktest of a suite these tests are made:
//
//   golden    the answers of PyTorch (tools/golden_kernels.py), on every device
//   slopes    gradients against finite differences of the same device's forward kernel
//   sweep     cpu against ref on random inputs in odd shapes; the same bits from a second device
//             that computed NaN before
//   bf16      an argument of another data type than the kernel takes is refused, the error sticks
//
// Golden, slopes and sweep also prove that they can fail: after a case is accepted, its outputs are spoiled in
// several ways and wrong kernels are run on it, and each of these answers must be rejected by the same comparison.
// A wrong answer has to be rejected if it is off by more than a thousandth of its magnitude; every way of being wrong
// must get that far in at least one case of its test.
#ifndef DRT_TESTS_KERNEL_CHECK_H
#define DRT_TESTS_KERNEL_CHECK_H

#include "support/kernel_case.h"

// The body of main: tests of `count` kernels named "suite: kernel: kind", golden values from
// tests/golden/kernels/<suite>.safetensors. `extra` are tests of the suite's own (their state is the kdevices).
struct CMUnitTest;
int kernel_suite(const char *suite, const ktest *const *tests, int count, const struct CMUnitTest *extra, int extras);

typedef struct {
    struct {
        drt_device *dev, *twin; // the twin is opened like it, and repeats
        char name[24];
    } at[6]; // at[0] is ref
    int count;
    drt_weights *golden;
} kdevices;

#endif
