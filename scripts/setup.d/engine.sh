# The Docker engine. systemd starts it where there is systemd; elsewhere we do, with a log file, and wait for an answer.

engine_log=/var/log/felhom-dockerd.log

engine_answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

wait_for_engine() {
  tries=0
  until engine_answers; do
    tries=$((tries + 1))
    [ "$tries" -lt 120 ] || return 1
    # A dockerd of ours that has ended will not answer any more.
    if [ -n "${engine_pid:-}" ] && ! kill -0 "$engine_pid" 2>/dev/null; then return 1; fi
    sleep 0.5
  done
}

# A pid file of a dockerd that is gone (the machine was switched off) stops the next one when the number lives again.
drop_stale_pid_file() {
  pid=$(cat /var/run/docker.pid 2>/dev/null || :)
  [ -n "$pid" ] || return 0
  [ "$(cat "/proc/$pid/comm" 2>/dev/null || :)" = dockerd ] || rm -f /var/run/docker.pid
}

# The default pools hold about thirty networks; every Compose project of a test takes one. /24s make it 256.
launch_dockerd() {
  drop_stale_pid_file
  # Newer engines refuse to start containers where /proc/sys is read-only, as inside a container.
  export DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE=1
  setsid dockerd --default-address-pool base=172.17.0.0/16,size=24 "$@" >>"$engine_log" 2>&1 </dev/null 9>&- &
  engine_pid=$!
  wait_for_engine
}

start_engine() {
  if engine_answers; then return 0; fi
  if [ -n "${DOCKER_HOST:-}" ]; then
    give_up "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST: unset it, or start that engine"
  fi
  is_root || give_up "no Docker engine answers: start it, or run this as root"
  if [ -d /run/systemd/system ]; then
    run_logged "starting the Docker engine" systemctl start docker
    engine_pid=
    wait_for_engine || give_up "the Docker engine does not answer: look with 'systemctl status docker'"
    return 0
  fi
  say "starting the Docker engine (its log: $engine_log)"
  PATH=$PATH:/usr/sbin:/sbin
  if launch_dockerd; then return 0; fi
  # A kernel without nf_tables has only the legacy tables: the same engine with those, for this process alone.
  if [ -x /usr/sbin/iptables-legacy ]; then
    legacy=/run/felhom-iptables-legacy
    mkdir -p "$legacy"
    ln -sf /usr/sbin/iptables-legacy "$legacy/iptables"
    ln -sf /usr/sbin/ip6tables-legacy "$legacy/ip6tables"
    PATH=$legacy:$PATH
    if launch_dockerd; then return 0; fi
  fi
  tail -n 5 "$engine_log" >&2
  give_up "the Docker engine does not start: its last words are above, the rest in $engine_log"
}
