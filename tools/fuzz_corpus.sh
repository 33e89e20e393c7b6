#!/bin/sh
# fuzz_corpus.sh NAME...: tests/fuzz/corpus/NAME anew from build-fuzz/NAME, that is, the smallest inputs that together
# reach most, of at most MOST bytes (2048), and COUNT (48) of them evenly over their sizes; `make fuzz` begins there.
# What is committed was made so, tokenizers with MOST=12000 COUNT=14. Inputs with a '-' in their names stay: what once
# failed (NAME-crash-HASH) and what tools/fuzz_edges.py writes.
most=${MOST:-2048} count=${COUNT:-48}
for name; do
    new=build-fuzz/$name-minimal
    rm -rf "$new"
    mkdir -p "$new" "tests/fuzz/corpus/$name"
    "build-fuzz/${name}_fuzz" -merge=1 -max_len="$most" -rss_limit_mb=2000 "$new" "build-fuzz/$name" \
        "tests/fuzz/corpus/$name" >"build-fuzz/$name-minimal.log" 2>&1 || exit 1
    find "tests/fuzz/corpus/$name" -type f ! -name '*-*' -delete
    find "$new" -type f -printf '%s %p\n' | sort -n | cut -d' ' -f2 | awk -v count="$count" '
        { file[NR] = $0 }
        END {
            if (count > NR) count = NR
            for (i = 1; i <= count; i++) { k = int(i * NR / count); print file[k] }
        }' | xargs -I{} cp {} "tests/fuzz/corpus/$name/"
    echo "$name: $(find "tests/fuzz/corpus/$name" -type f | wc -l) inputs of $(find "$new" -type f | wc -l)"
done
