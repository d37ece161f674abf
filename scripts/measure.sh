#!/bin/sh
# Prints every figure of docs/results.md anew, into docs/results/ (needs NAS_AGENT_DATA; about an hour on two cores).
set -eu
: "${NAS_AGENT_DATA:?set it to the folder that holds nb201.npz}"
mkdir -p docs/results docs/images
for task in cifar100 cifar10 ImageNet16-120; do
    nas-agent bench --task "$task" --budget 200 --seeds 50 \
        --methods agent,agent-joint,random,evolution,local-search,bananas,tpe \
        --markdown "docs/results/$task.md" --plot "docs/images/bench-$task.png"
    nas-agent bench --task "$task" --budget 100 --seeds 200 --stop-at-optimum \
        --methods agent,agent-no-principles,agent-no-surrogate --markdown "docs/results/$task-ablations.md"
    nas-agent bench --task "$task" --budget 100 --seeds 200 --stop-at-optimum \
        --methods agent,agent-memory --markdown "docs/results/$task-memory.md"
done
python benchmarks/planted_principles.py --seeds 30 | tee docs/results/planted_principles.md
python benchmarks/other_spaces.py --seeds 10 --spaces trans101-micro | tee docs/results/trans101-micro.md
python benchmarks/surrogate_variants.py --seeds 50 | tee docs/results/surrogate_variants.md
python benchmarks/overhead.py | tee docs/results/overhead.txt
