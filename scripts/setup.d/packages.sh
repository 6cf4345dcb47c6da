# What comes from Debian's own packages. A table of programs and packages; only what is absent is installed.

release_name() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null || :; }
is_debian() { grep -qx 'ID=debian' /etc/os-release 2>/dev/null; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# want PROGRAM PACKAGE: adds the package to $missing where the program is not on the path.
want() {
  PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || missing="$missing $2"
}

# Debian 13 has the docker client as a package of its own, in Debian 12 it is part of the engine's.
client_package() {
  if [ "$(release_name)" = bookworm ]; then echo docker.io; else echo docker-cli; fi
}

# An engine that answers, wherever it lives, needs no engine package here.
find_missing_packages() {
  missing=
  engine_answers || {
    want dockerd docker.io
    want iptables iptables
  }
  want docker "$(client_package)"
  if is_root; then
    want mkfs.btrfs btrfs-progs
    want ip iproute2
    want ps procps
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
    image_is_current felhom/debian:test "$root/scripts/images/build-debian" || want debootstrap debootstrap
  fi
  want zstd zstd
  want openssl openssl
  case $1 in
    test | bench) want systemd-analyze systemd ;;
  esac
  # What snapshots must bring back is set and compared with these.
  case $1 in
    test)
      want setfacl acl
      want setfattr attr
      if is_root; then want mkfs.ext4 e2fsprogs; fi
      ;;
  esac
  case $1 in
    bench)
      # Debian only recommends the module by which proxmoxer speaks HTTP.
      for module in proxmoxer requests; do
        [ -d "/usr/lib/python3/dist-packages/$module" ] || missing="$missing python3-$module"
      done
      ;;
  esac
  missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
  missing=${missing% }
}

# Package lists older than a day, or none at all, are fetched first: a fresh machine has none.
refresh_package_lists() {
  if [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mtime -1 2>/dev/null | head -n 1)" ]; then return 0; fi
  run_logged "fetching Debian's package lists" apt-get update
}

install_packages() {
  find_missing_packages "$1"
  if [ -z "$missing" ]; then return 0; fi
  is_debian || give_up "missing: $missing (Debian's names): install them, then run this again"
  is_root || give_up "missing: $missing: run this as root, or type: sudo apt-get install $missing"
  refresh_package_lists
  # The engine is started by start_engine, in one way for every machine.
  # shellcheck disable=SC2086
  run_logged "installing $missing" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends $missing
}
