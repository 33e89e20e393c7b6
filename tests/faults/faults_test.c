// Faults are injected into a training (inject.c): a full disk, I/O errors and short writes at every operation on the
// run folder, a failed allocation at every place of a step that allocates, and signals in the midst of a step's parts.
// Whatever fails, the message names the cause, what is in the run folder can be read, and resuming makes the weights of
// a run that nothing happened to.
//
// Here a few of the places are tried; DRT_FAULTS=all tries all.
#include "support/check.h"
#include "support/world.h"

#include "train/checkpoint.h"

#include <stdio.h>

static const char keys[] = "train.steps=4 checkpoint.every=1 objectives.image_order=1 log.history=none "
                           "log.tensorboard=false";

static bool leave_out(const world *w) {
#if defined __SANITIZE_ADDRESS__
    (void)w;
    return true; // its allocator is not to be replaced
#else
    return !w->folder;
#endif
}

// Trains with a fault; what it said, and its exit status. *n: how many operations or places there were.
static char *faulted(const world *w, const char *recipe, const char *fault, int *rc, int *n) {
    char *said = world_run(w, rc,
                           "LD_PRELOAD=%s/tests/faults/inject.so DRT_FAULT=%s DRT_FAULT_PATH=/faulted "
                           "DRT_FAULT_ARM=run.jsonl drt train %s %s out=./faulted --resume",
                           w->path, fault, world_keys, recipe);
    char *at = strstr(said, "faults: ");
    *n = at ? atoi(at + 8) : -1;
    return said;
}

// The run folder is what a run left that did not come to its end, or did; going on from it ends as `whole` does.
static void is_sound(const world *w, const char *recipe, const char *fault, const char *whole) {
    char path[600], more[400], hash[20];
    drt_error err = {0};
    uint64_t h;
    int n;
    snprintf(path, sizeof path, "%s/faulted", w->folder);
    int64_t *steps;
    check_ok(drt_checkpoint_steps(path, &steps, &n, &err));
    for (int i = 0; i < n; i++)
        if (drt_checkpoint_hash(path, steps[i], &h, &err)) fail_msg("%s: %s", fault, err.text);
    free(steps);
    snprintf(more, sizeof more, "%s --resume", recipe);
    world_weights(w, "faulted", more, hash);
    if (strcmp(hash, whole)) fail_msg("%s: %s, not %s", fault, hash, whole);
    world_must(w, "rm -rf faulted");
}

// All, or about eight of n.
static int stride(int n) { return getenv("DRT_FAULTS") || n < 8 ? 1 : n / 8; }

static void disks_fail(void **state) {
    static const struct {
        const char *name, *cause;
    } kinds[] = {{"enospc", "No space left on device"}, {"eio", "Input/output error"}, {"short", "No space left"}};
    const world *w = *state;
    char whole[20], fault[40];
    int n, rc;
    if (leave_out(w)) skip();
    world_weights(w, "whole", keys, whole);
    for (size_t k = 0; k < 3; k++) {
        int tried = 0, failed = 0, wrong = 0;
        snprintf(fault, sizeof fault, "%s:1000000", kinds[k].name);
        free(faulted(w, keys, fault, &rc, &n));
        if (rc || n < 20) fail_msg("status %d, %d operations", rc, n);
        is_sound(w, keys, fault, whole);
        for (int i = 1 + (int)k; i <= n; i += stride(n), tried++) {
            int operations;
            snprintf(fault, sizeof fault, "%s:%d", kinds[k].name, i);
            char *said = faulted(w, keys, fault, &rc, &operations);
            bool named = strstr(said, kinds[k].cause) && strstr(said, "/faulted");
            if ((rc && rc != 1) || (rc == 1 && !named)) print_message("%s: status %d: %s", fault, rc, said), wrong++;
            failed += rc == 1;
            is_sound(w, keys, fault, whole);
            free(said);
        }
        print_message("%s at %d of %d operations: %d runs ended by it\n", kinds[k].name, tried, n, failed);
        check(failed > 0 && !wrong);
    }
}

static void memory_fails(void **state) {
    const world *w = *state;
    char whole[20], fault[40];
    int n, rc, tried = 0, failed = 0, wrong = 0;
    if (leave_out(w)) skip();
    world_weights(w, "roomy", keys, whole);
    free(faulted(w, keys, "memory:1000000", &rc, &n));
    if (rc || n < 20) fail_msg("status %d, %d places", rc, n);
    is_sound(w, keys, "memory", whole);
    for (int i = 1; i <= n; i += stride(n), tried++) {
        int places;
        snprintf(fault, sizeof fault, "memory:%d", i);
        char *said = faulted(w, keys, fault, &rc, &places);
        bool named = strstr(said, "memory") || strstr(said, "Memory");
        if ((rc && rc != 1) || (rc == 1 && !named)) print_message("%s: status %d: %s", fault, rc, said), wrong++;
        failed += rc == 1;
        is_sound(w, keys, fault, whole);
        free(said);
    }
    print_message("no memory at %d of %d places: %d runs ended by it\n", tried, n, failed);
    check(failed > 0 && !wrong);
}

// A step in four parts, with noise of its own in each: one that is stopped, killed, or finds the disk full between two
// of them goes on as if nothing had been.
static void parts_are_interrupted(void **state) {
    enum { PLACES = 6 };
    static const char parts[] = "train.steps=4 checkpoint.every=1 train.accumulate=4 objectives.image_order=1 "
                                "lora.targets=all-linear lora.rank=2 lora.dropout=0.3 groups.language=0 "
                                "log.history=none log.tensorboard=false";
    static const char *const kinds[] = {"term", "kill", "enospc"};
    const world *w = *state;
    char whole[20], fault[40];
    int n, rc, others;
    if (leave_out(w)) skip();
    world_weights(w, "parts", parts, whole);
    for (int k = 0; k < 3; k++) {
        int hit = 0;
        snprintf(fault, sizeof fault, "%s:1000000", kinds[k]);
        free(faulted(w, parts, fault, &rc, &n));
        if (rc || n < 20) fail_msg("%s: status %d, %d places", fault, rc, n);
        is_sound(w, parts, fault, whole);
        for (int i = 0; i < PLACES; i++) {
            snprintf(fault, sizeof fault, "%s:%d", kinds[k],
                     n * 3 / 4 * (2 * i + 1) / (2 * PLACES)); // the last step is done anyway
            char *said = faulted(w, parts, fault, &rc, &others);
            if (k == 0 && (rc != 128 + 15 || !strstr(said, "stopped after step ")))
                fail_msg("%s: %d %s", fault, rc, said);
            if (k == 1 && rc != 128 + 9) fail_msg("%s: %d %s", fault, rc, said);
            hit += k < 2 || (rc == 1 && strstr(said, "/faulted/checkpoints/"));
            free(said);
            is_sound(w, parts, fault, whole);
        }
        print_message("%s: %d of %d places\n", kinds[k], hit, n);
        check(hit >= (k < 2 ? PLACES : 1));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(disks_fail), cmocka_unit_test(memory_fails),
                                       cmocka_unit_test(parts_are_interrupted)};
    return cmocka_run_group_tests(tests, world_open, world_close);
}
