# Node itself must be there; what the workspace needs from npm is installed from the lockfile.

need_node() {
  version=$(node --version 2>/dev/null || echo none)
  if [ "$version" = none ]; then
    give_up "Felhom needs Node >= 20.19 and found none: install Node and npm, then run this again"
  fi
  major=${version#v}
  rest=${major#*.}
  major=${major%%.*}
  minor=${rest%%.*}
  if [ "$major" -lt 20 ] || { [ "$major" -eq 20 ] && [ "$minor" -lt 19 ]; }; then
    give_up "Felhom needs Node >= 20.19, this is $version: install a newer Node, then run this again"
  fi
  command -v npx >/dev/null || give_up "npm is missing (Node $version is there): install npm, then run this again"
}

# What an installation depends on, as one line. A change in any manifest or in the lockfile installs again.
dependencies_key() {
  cd "$root" && cat pnpm-lock.yaml pnpm-workspace.yaml package.json apps/*/package.json packages/*/package.json \
    | sha256sum | cut -d ' ' -f 1
}

install_node_dependencies() {
  stamp=$root/node_modules/.felhom-installed
  key=$(dependencies_key)
  if [ "$(cat "$stamp" 2>/dev/null || :)" = "$key" ]; then return 0; fi
  manager=$(sed -n 's/.*"packageManager": "\(pnpm@[0-9.]*\)".*/\1/p' "$root/package.json")
  cd "$root"
  # CI=true: never ask whether an older node_modules may be replaced, there may be nobody to answer.
  run_logged "installing the npm packages of the lockfile" env CI=true npx --yes "$manager" install --frozen-lockfile
  printf '%s\n' "$key" >"$stamp"
}
