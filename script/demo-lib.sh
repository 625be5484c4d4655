# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# How the demo's scenes look, and how they count (sourced; the caller sets $demo_log, and DEMO_VERBOSE or nothing):
# colour and a moving clock on a terminal, plain lines in a pipe.

export DEMO_VERBOSE=${DEMO_VERBOSE:-}
if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${NO_COLOR:-}" ]; then
	terminal=1 bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
	terminal='' bold='' dim='' green='' red='' plain=''
fi
columns=$(tput cols 2>/dev/null) || columns=80
export DEMO_STARTED=${DEMO_STARTED:-$(date +%s)}

elapsed() { echo $(($(date +%s) - DEMO_STARTED)); }
stamp() { printf '%s[%3d s]%s' "$dim" "$(elapsed)" "$plain"; }
heading() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
say() { fold -s -w $((columns > 100 ? 100 : columns - 4)) <<<"$1" | sed 's/^/  /; s/ *$//'; }

# working WHAT COMMAND...: runs the command; meanwhile says what is going on and for how long.
# Returns its status; its output is in $demo_log.
working() {
	local what=$1 pid status=0 began=$SECONDS next=15
	shift
	[ -n "$terminal" ] || printf '%s %s ...\n' "$(stamp)" "$what"
	"$@" >"$demo_log" 2>&1 &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		if [ -n "$terminal" ]; then
			printf '\r\e[K%s %s ... %d s' "$(stamp)" "$what" $((SECONDS - began))
		elif [ $((SECONDS - began)) -ge $next ]; then
			printf '%s %s ... %d s so far\n' "$(stamp)" "$what" $((SECONDS - began))
			next=$((next + 15))
		fi
		sleep 0.2
	done
	wait "$pid" || status=$?
	if [ -n "$terminal" ]; then
		printf '\r\e[K'
		[ "$status" != 0 ] || printf '%s %s%s, %d s%s\n' "$(stamp)" "$dim" "$what" $((SECONDS - began)) "$plain"
	fi
	if [ "$status" = 0 ] && [ -n "$DEMO_VERBOSE" ]; then
		sed 's/^/         | /' "$demo_log"
	fi
	return "$status"
}

stop() {
	printf '%s %s%s%s\n' "$(stamp)" "$red" "$1" "$plain" >&2
	tail -n 30 "$demo_log" | sed 's/^/         | /' >&2
	exit "${2:-1}"
}

names=() results=() notes=()
bad=0

# result WHAT NOTE COMMAND...: one row of the table; good if the command succeeds.
result() {
	names+=("$1")
	notes+=("$2")
	shift 2
	if "$@" >/dev/null 2>&1; then
		results+=(ok)
		printf '%s %sok%s  %s\n' "$(stamp)" "$green" "$plain" "${names[-1]}: ${notes[-1]}"
	else
		results+=(BAD)
		bad=$((bad + 1))
		printf '%s %sBAD%s %s\n' "$(stamp)" "$red" "$plain" "${names[-1]}: ${notes[-1]}"
	fi
}

table() {
	local i colour
	heading 'Summary'
	for i in "${!names[@]}"; do
		colour=$green
		[ "${results[$i]}" = ok ] || colour=$red
		printf '  %s%-4s%s %-36s %s\n' "$colour" "${results[$i]}" "$plain" "${names[$i]}" \
			"${notes[$i]}"
	done
	printf '\n  %d of %d as they should be, %d s\n' $((${#names[@]} - bad)) "${#names[@]}" "$(elapsed)"
}

# give_up WHAT: ends the demo with what there is so far.
give_up() {
	result "$1" 'did not work; the details are above' false
	tail -n 40 "$demo_log" | sed 's/^/         | /'
	table
	exit 1
}

# must WHAT COMMAND...: like working, and ends the demo if the command fails.
must() {
	working "$@" || give_up "$1"
}
