#!/usr/bin/env bash
# Starts edged on a private socket, asks questions about document.txt and checks
# the answers. Usage: demo.sh EDGED MODEL.gguf
set -euo pipefail
edged=$(realpath "$1") model=$(realpath "$2")
here=$(dirname "$(realpath "$0")")
dir=$(mktemp -d)
socket=$dir/edged.sock
daemon=
cleanup() {
	if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null && wait "$daemon" || true; fi
	rm -rf "$dir"
}
trap cleanup EXIT

echo "\$ edged serve --model ${2} --socket $socket"
printf '[store]\ndir = "sessions"\n' >"$dir/config.toml" # not the user's own
"$edged" serve --config "$dir/config.toml" --model "$model" --socket "$socket" 2>"$dir/log" &
daemon=$!
for _ in $(seq 200); do # 10 s; the socket is there long before the model is
	[ -S "$socket" ] && break
	kill -0 "$daemon" 2>/dev/null || { cat "$dir/log" >&2; exit 1; }
	sleep 0.05
done

questions=()
while IFS=$'\t' read -r question _; do questions+=(-q "$question"); done <"$here/questions.tsv"
echo "\$ edged ask --temperature 0 document.txt -q ... ($((${#questions[@]} / 2)) questions)"
# Answers and their cost take the same way, so that they stay in order.
"$edged" ask --socket "$socket" --temperature 0 "$here/document.txt" "${questions[@]}" 2>&1 | tee "$dir/answers"

failed=0
while IFS=$'\t' read -r question want; do
	if ! grep -qFx -- "$want" "$dir/answers"; then
		echo "demo: wrong answer to \"$question\", it must be \"$want\"" >&2
		failed=1
	fi
done <"$here/questions.tsv"

kill -TERM "$daemon"
if ! wait "$daemon"; then
	echo "demo: the daemon did not stop cleanly" >&2
	cat "$dir/log" >&2
	failed=1
fi
daemon=
grep -h 'msg=ready\|msg=stopped' "$dir/log"
[ "$failed" = 0 ] && echo "demo: all $(wc -l <"$here/questions.tsv") answers are correct"
exit "$failed"
