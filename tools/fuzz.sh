#!/bin/sh
# fuzz.sh SECONDS NAME...: each target for so long, from tests/fuzz/corpus/NAME and what earlier runs found.
# Inputs that reach new code go to build-fuzz/NAME, what fails to build-fuzz/NAME-crash-*; logs beside them.
seconds=$1 failed=0
shift
export UBSAN_OPTIONS=print_stacktrace=1
for name; do
    here=build-fuzz/$name
    mkdir -p "$here"
    if "build-fuzz/${name}_fuzz" -max_total_time="$seconds" -rss_limit_mb=2000 -timeout=20 -max_len=20000 -verbosity=1 \
        -artifact_prefix="$here-" -print_final_stats=1 "$here" "tests/fuzz/corpus/$name" >"$here.log" 2>&1; then
        verdict=clean
    else
        verdict="FAILED, see $here.log"
        failed=$((failed + 1))
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$here.log")
    printf '%-14s %10s runs in %s s  %s\n' "$name" "${runs:-?}" "$seconds" "$verdict"
done
[ "$failed" = 0 ]
