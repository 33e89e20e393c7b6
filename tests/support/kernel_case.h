// One call of one kernel with everything around it: its arguments with guards, what it must answer, and how far
// off an answer may be. kernel_check.h runs such cases on the devices.
//
// A kernel test declares a `ktest`; its `build` declares the arguments of one case from the numbers in c->p:
//
//   static void build(kcase *c) {
//       karg_in(c, "x", c->p[0], c->p[1]);
//       karg_out(c, "y", c->p[0], c->p[1], 1);
//   }
//   static void run(drt_device *dev, kcase *c) { dev->k->scale(dev, 2, M(c, 0), false, M(c, 1)); }
//
// Tolerance. There is one formula for every kernel, device and shape; an answer is accepted when
//
//   |got - expected| <= rounding_tolerance(DRT_F32, n) * magnitude / step
//
// n          how many terms the longest sum behind one number of the output has (support/tolerance.h). 16-bit inputs
//            change nothing: kernels take their numbers as they stand, and sum in f32
// magnitude  the largest |expected| in the number's row, but at least `partial`, the size to which sums grow on the
//            way: where terms cancel, the error is that of the terms. 1 unless the case says otherwise, because inputs
//            are drawn with standard deviation 1; sqrt(n) where n such terms are added and nothing divides
// step       1; for slopes measured by finite differences the step, because a difference quotient divides the errors
//            of the forward kernel by it
#ifndef DRT_TESTS_KERNEL_CASE_H
#define DRT_TESTS_KERNEL_CASE_H

#include "base/rng.h"
#include "format/safetensors.h"
#include "kernels/kernels.h"
#include "support/tolerance.h"

enum { K_ARGS = 16, K_PARAMS = 12, K_INDICES = 4, K_WHY = 400 };

// K_OUT starts as NaN, so that a number that is not written (or is read) shows. K_ADD starts with random numbers.
// K_WORK is the test's own scratch and is not looked at.
typedef enum { K_IN, K_OUT, K_ADD, K_WORK } krole;

typedef struct {
    const char *name;
    krole role;
    drt_mat m;            // what the kernel gets; data NULL: absent
    float *whole, *start; // the allocation around m, and its contents before the kernel runs
    size_t room;          // of both, in floats
    float *expected;      // outputs: [rows, cols] without gaps
    double n, partial;    // of the tolerance
    bool raw;             // reaches the kernel as a plain array (or not at all): it has no data type to refuse
    bool any;             // may be of any type
} karg;

typedef struct kcase {
    const struct ktest *test;
    int p[K_PARAMS];
    char name[200];
    karg arg[K_ARGS];
    int args;
    int pad; // columns of the allocations beyond those of the matrices declared from now on
    drt_rng rng;
    const drt_weights *golden; // NULL: inputs are drawn
    char prefix[64];
    struct kmemory *memory;
    // What kernels take besides matrices.
    bool ta, tb, acc, inverse;
    drt_activation kind;
    float number;
    int head_size;
    int64_t n;
    int32_t *index[K_INDICES];
    drt_attention att;
    drt_adamw adam;
} kcase;

typedef bool (*kwrong)(kcase *c);

typedef struct ktest {
    const char *name;
    bool golden; // the golden file of the suite has cases of this name
    void (*build)(kcase *c);
    // Fills the inputs that another kernel computes (statistics, outputs of the forward); NULL: there are none.
    void (*prepare)(drt_device *dev, kcase *c);
    void (*run)(drt_device *dev, kcase *c);
    bool (*sweep)(int i, int p[K_PARAMS]); // the i-th case of cpu against ref; false: no more

    // Finite differences: `slopes` pairs of an input and the output that is its gradient; `loss` runs the forward
    // kernel and returns the projection of its outputs on the output gradients of the case.
    double (*loss)(drt_device *dev, kcase *c);
    bool (*slope_case)(int i, int p[K_PARAMS]);
    int slopes;
    struct {
        int input, gradient;
    } slope[4];

    // Each changes a case so that running it is running a wrong kernel; false: without effect on this case.
    // NULL-terminated; may be NULL.
    const kwrong *wrong;
} ktest;

#define M(c, i) ((c)->arg[i].m)

// Building. Arguments are numbered in the order of declaration.
void kcase_begin(kcase *c, const ktest *test, const int p[K_PARAMS], uint64_t seed);
void kcase_begin_golden(kcase *c, const ktest *test, const drt_weights *golden, int i); // c->args 0: no such case
void kcase_end(kcase *c);
void *kcase_alloc(kcase *c, size_t bytes); // lives until kcase_end; also in copies of the case

karg *karg_in(kcase *c, const char *name, int64_t rows, int64_t cols);
karg *karg_later(kcase *c, const char *name, int64_t rows, int64_t cols); // an input that `prepare` fills
karg *karg_out(kcase *c, const char *name, int64_t rows, int64_t cols, double n);
karg *karg_add(kcase *c, const char *name, int64_t rows, int64_t cols, double n);
karg *karg_sum(karg *a); // its numbers are sums of a->n terms like the inputs: partial = sqrt(n)
karg *karg_acc(kcase *c, const char *name, int64_t rows, int64_t cols, double n); // added to if c->acc, else written
karg *karg_work(kcase *c, const char *name, int64_t rows, int64_t cols);
karg *karg_none(kcase *c, const char *name);
karg *karg_vector(kcase *c, const char *name, krole role, int64_t n); // raw, without gaps; not K_WORK
// An input that the kernel takes in any type; here it is stored in this one (its numbers rounded to it).
karg *karg_stored(kcase *c, karg *a, drt_dtype type);
void karg_drop(karg *a); // the kernel gets data NULL
// An array of indices; golden cases read it, others get numbers in [0, below).
int32_t *kcase_indices(kcase *c, const char *name, int64_t n, int64_t below);
float *kdata(const kcase *c, int i); // of a vector argument: [n, 1] or [1, n] declared with pad 0

// Running.
void kcase_reset(kcase *c);                         // every argument as it was built
void kcase_poison(kcase *c);                        // inputs are NaN until the next reset
void kcase_freeze(kcase *c);                        // what inputs hold now is what they are reset to
void kcase_expect(kcase *c);                        // what outputs hold now is expected
bool kcase_expect_golden(kcase *c);                 // false: the file lacks an output (its name is in c->name)
bool kcase_intact(const kcase *c, char why[K_WHY]); // inputs and guards are as they were
// The largest error of output `i` in units of magnitude; NaN counts as infinite. Where the expected number is
// infinite (log-sum-exp of nothing) nothing is asked.
double karg_error(const kcase *c, int i);
double karg_tolerance(const kcase *c, int i, double step); // in the same units
bool kcase_accepts(const kcase *c, double step, char why[K_WHY]);
bool karg_is_output(const kcase *c, int i); // and present, and not empty
uint64_t kcase_bits(const kcase *c);        // a hash of all outputs

// Helpers of cases.
double kmat_dot(drt_mat a, drt_mat b);
double kmat_most(drt_mat m); // the largest absolute number
void kmat_copy(drt_mat to, drt_mat from);
drt_mat kmat_zeros(kcase *c, int64_t rows, int64_t cols);
bool kgrid(int i, int p[K_PARAMS], int axes, const int *const axis[], const int length[]); // case i of a product
int kchance(int i, int what, int below); // a number that looks random, the same for the same (i, what)

extern const int K_EDGES[15]; // lengths around the blocks that kernels work in, and primes

#endif
