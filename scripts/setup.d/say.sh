# Progress and the one line that ends a setup that cannot go on.

say() { printf 'setup: %s\n' "$*" >&2; }

give_up() {
  say "$*"
  exit 2
}

# run_logged WHAT COMMAND...: quiet while it works, its last lines when it does not.
run_logged() {
  what=$1
  shift
  say "$what"
  log=$(mktemp)
  if "$@" >"$log" 2>&1 </dev/null 9>&-; then
    rm -f "$log"
  else
    code=$?
    tail -n 20 "$log" >&2
    rm -f "$log"
    give_up "$what: failed with exit code $code, its last lines are above"
  fi
}
