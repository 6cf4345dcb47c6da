# Compose v2. Debian 13 has it as a package. Debian 12 has only the old v1, but the package of Debian 13 runs there:
# that one package is fetched through a list of its own, which apt never sees outside this function.

has_compose() { docker compose version >/dev/null 2>&1; }

# The machine's own mirror: the address of the apt entry that names its release. Both formats of apt's files.
own_mirror() {
  release=$(release_name)
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null \
    | sed -n "s/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\)  *$release .*/\2/p" | head -n 1 | grep . && return 0
  awk -v release="$release" '
    /^URIs:/ { address = $2 }
    /^Suites:/ { for (i = 2; i <= NF; i++) if ($i == release) wanted = 1 }
    /^$/ { if (wanted && address != "") exit; wanted = 0; address = "" }
    END { if (wanted && address != "") print address }
  ' RS='\n' /etc/apt/sources.list.d/*.sources 2>/dev/null | grep .
}

install_compose() {
  if has_compose; then return 0; fi
  is_debian || give_up "Docker Compose v2 is missing: install the Compose plugin of docker, then run this again"
  is_root || give_up "Docker Compose v2 is missing: run this as root once, it installs Debian's package"
  refresh_package_lists
  if [ "$(release_name)" = bookworm ]; then
    run_logged "installing Compose v2 from the next Debian release" borrow_compose_plugin
  else
    run_logged "installing docker-compose" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y --no-install-recommends docker-compose
  fi
  has_compose || give_up "Compose v2 was installed, but 'docker compose version' fails: look at its words"
}

borrow_compose_plugin() (
  set -e
  mirror=$(own_mirror) || {
    echo "no apt entry names the release $(release_name)"
    exit 1
  }
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  chmod 755 "$folder"
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/unpacked"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$folder/trixie.list"
  cd "$folder"
  set -- -o "Dir::Etc::sourcelist=$folder/trixie.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$folder/lists" \
    -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root
  apt-get "$@" update
  apt-get "$@" download docker-compose
  dpkg-deb -x docker-compose_*.deb unpacked
  mkdir -p /usr/local/lib/docker/cli-plugins
  install -m 755 unpacked/usr/libexec/docker/cli-plugins/docker-compose /usr/local/lib/docker/cli-plugins/docker-compose
)
