#!/usr/bin/env bash
# Starts edged on a private socket, reads document.txt into a session, kills the
# daemon, starts it again and goes on. Checks all answers, and by the token counts
# that the document was read once. Usage: demo.sh EDGED MODEL.gguf
set -euo pipefail
edged=$(realpath "$1") model=$(realpath "$2") model_arg=$2
here=$(dirname "$(realpath "$0")")
dir=$(mktemp -d)
export EDGED_SOCKET=$dir/edged.sock
daemon=
failed=0
cleanup() {
	if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null && wait "$daemon" || true; fi
	rm -rf "$dir"
}
trap cleanup EXIT

fail() {
	echo "demo: $*" >&2
	failed=1
}

start() {
	echo "\$ edged serve --model $model_arg --socket $EDGED_SOCKET &"
	rm -f "$EDGED_SOCKET" # a killed daemon leaves it
	"$edged" serve --config "$dir/config.toml" --model "$model" --socket "$EDGED_SOCKET" 2>>"$dir/log" &
	daemon=$!
	for _ in $(seq 200); do # 10 s; the socket is there long before the model is
		[ -S "$EDGED_SOCKET" ] && return
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.05
	done
	cat "$dir/log" >&2
	exit 1
}

# ask SHOWN ARG... shows a command and runs it. Answers and their cost take the
# same way, so that they stay in order.
ask() {
	echo "\$ edged ask --temperature 0 $1"
	shift
	"$edged" ask --temperature 0 "$@" 2>&1 | tee "$dir/last"
	cat "$dir/last" >>"$dir/answers"
}

# read_at_most N checks the token counts of the last command: of no prompt were
# more than N tokens computed.
read_at_most() {
	local n=0 cost='^([0-9]+) prompt tokens, ([0-9]+) of them cached.*, ([0-9]+) read in'
	while IFS= read -r line; do
		[[ $line =~ $cost ]] || continue
		n=$((n + 1))
		[ "${BASH_REMATCH[3]}" -le "$1" ] || fail "${BASH_REMATCH[3]} of ${BASH_REMATCH[1]} prompt tokens were read, at most $1 should be"
		[ "${BASH_REMATCH[2]}" -ge 5000 ] || fail "only ${BASH_REMATCH[2]} tokens came from what is stored"
	done <"$dir/last"
	[ "$n" -gt 0 ] || fail "no token counts were printed"
}

printf '[store]\ndir = "sessions"\n' >"$dir/config.toml" # not the user's own
mapfile -t questions < <(cut -f1 "$here/questions.tsv")

start
ask "--session book document.txt \"${questions[0]}\"" --session book "$here/document.txt" "${questions[0]}"

echo "\$ kill -9 $daemon"
kill -9 "$daemon"
wait "$daemon" 2>/dev/null || true
start

ask "--session book \"${questions[1]}\"" --session book "${questions[1]}"
read_at_most 64 # the question, and what the chat template puts around it

rest=()
for q in "${questions[@]:2}"; do rest+=(-q "$q"); done
ask "document.txt -q ... ($((${#rest[@]} / 2)) questions, no session)" "$here/document.txt" "${rest[@]}"
read_at_most 320 # beside the question, what follows the last whole block of 256 tokens

echo "\$ edged sessions list"
"$edged" sessions list

while IFS=$'\t' read -r question want; do
	grep -qFx -- "$want" "$dir/answers" || fail "wrong answer to \"$question\", it must be \"$want\""
done <"$here/questions.tsv"

kill -TERM "$daemon"
if ! wait "$daemon"; then
	fail "the daemon did not stop cleanly"
	cat "$dir/log" >&2
fi
daemon=
grep -h 'msg=ready\|msg=stopped' "$dir/log"
[ "$failed" = 0 ] && echo "demo: all $(wc -l <"$here/questions.tsv") answers are correct, and the document was read once"
exit "$failed"
