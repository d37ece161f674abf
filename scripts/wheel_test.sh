#!/bin/sh
# Builds the wheel, installs it into an empty environment and runs the first command of the README from
# another folder, with no data and no key: prompts, weights and cards must travel in the wheel.
set -eu
python=$1
root=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m build --wheel --outdir "$work/dist" . >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --constraint constraints.txt "$work"/dist/*.whl
mkdir "$work/elsewhere" "$work/home"
cd "$work/elsewhere"
env -u NAS_AGENT_DATA -u OPENAI_API_KEY NAS_AGENT_HOME="$work/home" \
    "$work/venv/bin/nas-agent" run --task cifar100 --json >result.json
"$work/venv/bin/python" - <<'PY'
import json
result = json.load(open("result.json"))
assert result["evaluator"] == "embedded", result["evaluator"]
assert result["evaluations"] == 100 and len(result["curve"]) == 100
print("wheel: ran", result["evaluations"], "evaluations, best", round(result["best"]["val"], 2), "predicted")
PY
for space in nb201 nb101 darts; do
    env NAS_AGENT_HOME="$work/home" "$work/venv/bin/nas-agent" generator sample --space $space -n 100 >/dev/null
done
cd "$root"
