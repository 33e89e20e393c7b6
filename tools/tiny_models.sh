#!/bin/sh
# Makes models/tiny-clip and models/tiny-llama from nothing, with drt alone: a world, a vocabulary, two towers.
# The towers train side by side, one thread each, and an interrupted run goes on where it stopped.
set -eu
drt=${DRT:-build/drt}
out=${OUT:-out/tiny}
mkdir -p "$out"
[ -f "$out/world/world.json" ] || $drt shapes --out "$out/world" --train 12000 --eval 600 --text 60000 --seed 11
[ -f "$out/tokenizer/tokenizer.json" ] ||
    $drt tokenizer --size 1024 --out "$out/tokenizer" "$out/world/pretrain.json" "$out/world/finetune.json" \
        "$out/world/map.json" "$out/world/repeat.json"
# A folder without config.json was not finished.
for name in clip llama; do
    [ -f "$out/$name-start/config.json" ] && continue
    rm -rf "$out/$name-start"
    $drt new --config "configs/tiny-$name.json" --tokenizer "$out/tokenizer" --out "$out/$name-start"
done

# train NAME FILE OVERRIDES...: unless it is done
train() {
    name=$1 file=$2
    shift 2
    [ -f "$out/$name/model/config.json" ] || $drt train "$file" out="$out/$name" --resume "$@"
}
# Six lessons: to repeat words; to answer from descriptions; relations, twice (of these they are learned last); maps, twice
# (of these the order of words is learned last).
language() {
    train llama-repeat configs/tiny-llama.yaml model="$out/llama-start" data.file="$out/world/repeat.json" \
        train.steps=300 train.batch=32 optimizer.schedule=constant
    train llama-text configs/tiny-llama.yaml model="$out/llama-repeat/model" data.file="$out/world/text.json" train.stop=5000
    train llama-relate configs/tiny-llama.yaml model="$out/llama-text/model" data.file="$out/world/relate.json" \
        train.steps=7000 lr=1.5e-3 min_lr=5e-5
    train llama-again configs/tiny-llama.yaml model="$out/llama-relate/model" data.file="$out/world/relate.json" \
        train.steps=8000 lr=1.5e-3 min_lr=2e-5 threads=2 seed=43
    train llama-map configs/tiny-llama.yaml model="$out/llama-again/model" data.file="$out/world/map.json" \
        train.steps=5000 lr=1.5e-3 min_lr=5e-5 threads=2 seed=44
    train llama-order configs/tiny-llama.yaml model="$out/llama-map/model" data.file="$out/world/map.json" \
        train.steps=4000 lr=1.5e-3 min_lr=5e-5 threads=2 seed=45
}
vision() { train clip configs/tiny-clip.yaml model="$out/clip-start" data.file="$out/world/clip.json"; }

vision >"$out/clip.log" 2>&1 &
pid=$!
language
wait $pid || { cat "$out/clip.log"; exit 1; }
rm -rf "$out/tiny-clip" "$out/tiny-llama"
$drt convert "$out/clip/model" "$out/tiny-clip" --dtype bf16
$drt convert "$out/llama-order/model" "$out/tiny-llama" --dtype bf16
rm -rf models/tiny-clip models/tiny-llama
mv "$out/tiny-clip" "$out/tiny-llama" models/
$drt probe models/tiny-clip --data "$out/world"
$drt eval models/tiny-llama --data "$out/world"
