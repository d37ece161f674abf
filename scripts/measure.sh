#!/bin/sh
# Prints every figure of docs/results.md anew, into docs/results/ (needs NAS_AGENT_DATA; about five hours on two cores).
set -eu
: "${NAS_AGENT_DATA:?set it to the folder that holds nb201.npz and the other tables}"
mkdir -p docs/results docs/images
for task in cifar100 cifar10 ImageNet16-120; do
    nas-agent bench --task "$task" --budget 200 --seeds 50 \
        --methods agent,agent-joint,random,evolution,local-search,bananas,tpe \
        --markdown "docs/results/$task.md" --plot "docs/images/bench-$task.png"
    nas-agent bench --task "$task" --budget 100 --seeds 200 --stop-at-optimum \
        --methods agent,agent-no-principles,agent-no-surrogate --markdown "docs/results/$task-ablations.md"
    nas-agent bench --task "$task" --budget 100 --seeds 200 --stop-at-optimum \
        --methods agent,agent-memory --markdown "docs/results/$task-memory.md"
    python benchmarks/wrong_principles.py --task "$task" --seeds 50 | tee "docs/results/wrong-principles-$task.md"
done
crossings="nas-agent bench --task cifar100 --seeds 50 --stop-at-optimum --test-curves"
$crossings --methods bananas --encoding path,cole,structure,joint --budget 500 --markdown docs/results/bananas.md
$crossings --methods bananas --encoding path,cole,structure,joint --budget 500 --predictor gp --markdown docs/results/bananas-gp.md
$crossings --methods agent-joint,agent,local-search --set initial=5 --budget 100 --markdown docs/results/bananas-agent.md
python benchmarks/bananas_limits.py --seeds 50 | tee docs/results/bananas-limits.md
python benchmarks/unlisted_proposals.py --seeds 10 | tee docs/results/unlisted-proposals.md
for suite in nb201 trans101 spaces; do
    nas-agent bench lapt --suite "$suite" --seeds 50 --markdown "docs/results/lapt-$suite.md"
done
evaluate="nas-agent surrogate eval --task cifar10,cifar100,ImageNet16-120 --head gp --repeats 20 --test-folds 1"
$evaluate --blocks structure,code,joint --embedder all-minilm,random:all-minilm,tfidf --n 14,55,220,879 \
    --markdown docs/results/surrogate-nb201.md --plot docs/images/surrogate-nb201.png
$evaluate --blocks structure,joint --n 3516 --markdown docs/results/surrogate-nb201-3516.md
python benchmarks/embedding.py | tee docs/results/embedding.txt
python benchmarks/gate.py --seeds 10 --arms shuffled,reversed --budget 60 | tee docs/results/gate.md
python benchmarks/einspace.py | tee docs/results/einspace.md
python benchmarks/planted_principles.py --seeds 30 | tee docs/results/planted_principles.md
python benchmarks/other_spaces.py --seeds 50 | tee docs/results/other-spaces.md
python benchmarks/surrogate_variants.py --seeds 50 | tee docs/results/surrogate_variants.md
python benchmarks/overhead.py | tee docs/results/overhead.txt
for seed in 0 1 2; do
    python scripts/train_generators.py --space nb101 --seed $seed --out runs/nb101-$seed
done
nas-agent generator eval --space nb201 -n 1000 --against grammar
nas-agent generator eval --space nb101 --seeds 1 --temperatures 0.4,0.6,0.8,1.0,1.2,1.5,1.8 \
    --against grammar --model runs/nb101-0 --model runs/nb101-1 --model runs/nb101-2 \
    --plot docs/images/generator-nb101.png --heat-map docs/images/generator-codes-nb101.png
nas-agent generator eval --space darts --temperatures 0.6,0.7,0.8,0.9,1.0,1.2,1.5
for space in nb201 nb101 darts; do
    OMP_NUM_THREADS=2 python benchmarks/generator.py --space $space
done
