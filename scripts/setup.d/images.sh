# Images without a registry: everything comes from Debian's packages and is kept in the engine.
#   felhom/busybox:test    a static busybox, 2 MB
#   felhom/debian:test     a minimal Debian with PostgreSQL and systemd: the base of the next one
#   felhom/postgres:test   PostgreSQL that starts an empty folder by itself (scripts/images/postgres-entrypoint)
# An image carries the hash of its recipe; a changed recipe builds it again.

recipe_of() { cat "$@" | sha256sum | cut -c 1-16; }

# image_is_current TAG FILES...: whether the engine has the image as these files of its recipe make it.
image_is_current() {
  current=$(docker image inspect --format '{{index .Config.Labels "felhom.recipe"}}' "$1" 2>/dev/null || :)
  shift
  [ "$current" = "$(recipe_of "$@")" ]
}

build_images() {
  build_image felhom/busybox:test "$root/scripts/images/build-busybox" "busybox (a few seconds)"
  build_image felhom/debian:test "$root/scripts/images/build-debian" "Debian with PostgreSQL (about a minute, once)"
  build_image felhom/postgres:test "$root/scripts/images/build-postgres" "PostgreSQL (a few seconds)" \
    "$root/scripts/images/build-debian" "$root/scripts/images/postgres-entrypoint"
}

# build_image TAG SCRIPT WHAT [MORE-FILES-OF-THE-RECIPE...]
build_image() {
  tag=$1
  script=$2
  what=$3
  shift 3
  if image_is_current "$tag" "$script" "$@"; then return 0; fi
  recipe=$(recipe_of "$script" "$@")
  replaced=$(docker image inspect --format '{{.Id}}' "$tag" 2>/dev/null || :)
  is_root && is_debian || give_up "the test image $tag is missing: run this as root on Debian once, it builds it"
  refresh_package_lists
  run_logged "building the image $tag: $what" env FELHOM_MIRROR="$(own_mirror)" FELHOM_RELEASE="$(release_name)" \
    "$script" "$tag" "$recipe"
  # The image before it, unless a container still uses it.
  if [ -n "$replaced" ]; then docker image rm "$replaced" >/dev/null 2>&1 || :; fi
}
