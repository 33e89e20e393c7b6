#!/bin/sh
# Runs every test program under $BUILD/tests (or those whose name contains $1) and ends with "N passed, N failed".
# A program that crashes counts as one failure.
BUILD=${BUILD:-build}
passed=0 failed=0
# Threads that spin between small kernels make the kernel tests ten times slower when other programs run beside them.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
# Runs of the tests have a history of their own.
export DRT_RUNS="$BUILD/runs.sqlite"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for t in "$BUILD"/tests/*/*_test; do
    case "$t" in *"${1:-}"*) ;; *) continue ;; esac
    name=${t#"$BUILD"/tests/}
    start=$(date +%s)
    DRT="$BUILD/drt" timeout 600 "$t" >"$log" 2>&1
    rc=$?
    ok=$(grep -c '^\[       OK \]' "$log")
    bad=$(sed -n 's/^\[  FAILED  \] .*: \{0,1\}\([0-9][0-9]*\) test(s), listed below.*/\1/p;s/^\[  FAILED  \] \([0-9][0-9]*\) test(s), listed below.*/\1/p' "$log" | tail -n 1)
    bad=${bad:-0}
    [ $rc -ne 0 ] && [ "$bad" = 0 ] && bad=1
    passed=$((passed + ok)) failed=$((failed + bad))
    printf '%-40s %3d passed, %d failed  (%d s)\n' "${name%_test}" "$ok" "$bad" $(($(date +%s) - start))
    [ "$bad" = 0 ] || { grep -v '^\[ RUN\|^\[       OK' "$log"; echo "  $name ended with status $rc"; }
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
