import type { Clock } from '@felhom/kernel/clock.ts';
import type { CommandRunner } from '@felhom/kernel/command.ts';

/**
 * What a service manager is told (sd_notify(3)). Node has no datagram sockets of the unix kind, so systemd's own program
 * sends the words; it is there wherever NOTIFY_SOCKET is set. The unit needs NotifyAccess=all: the sender is a child.
 * See docs/adr for what else was weighed.
 */
export interface ServiceNotifier {
  /** We serve: units that come after us may start. */
  ready(): Promise<void>;
  stopping(): Promise<void>;
  /** Tells the watchdog that we live, for as long as `isAlive` says so, until `stop`. Nothing where there is no watchdog. */
  keepAlive(isAlive: () => boolean, stop: AbortSignal): Promise<void>;
}

const program = '/usr/bin/systemd-notify';
const limitMs = 5_000;
/** systemd advises half of the watchdog's time; a third leaves room for one that comes late. */
const beatsPerWatch = 3;

/** Says nothing to anybody where NOTIFY_SOCKET is not set. A word that cannot be delivered is told to `warn`, once. */
export function serviceNotifier(given: {
  env: NodeJS.ProcessEnv;
  pid: number;
  commands: CommandRunner;
  clock: Clock;
  warn: (message: string) => void;
}): ServiceNotifier {
  const { env, pid, commands, clock } = given;
  const socket = env['NOTIFY_SOCKET'];
  const watchMs = watchdogMs(env, pid);
  let warned = false;
  const say = async (word: string): Promise<void> => {
    if (socket === undefined || socket === '') return;
    const end = await commands.run(program, [word], { env: { NOTIFY_SOCKET: socket }, timeoutMs: limitMs });
    if (end.exitCode === 0 || warned) return;
    warned = true;
    given.warn(`the service manager was not told ${word}: ${end.spawnError?.message ?? end.stderr.trim()}`);
  };
  return {
    ready: async () => await say('READY=1'),
    stopping: async () => await say('STOPPING=1'),
    keepAlive: async (isAlive, stop) => {
      if (watchMs === null) return;
      while (!stop.aborted) {
        if (isAlive()) await say('WATCHDOG=1');
        await clock.sleep(watchMs / beatsPerWatch, stop);
      }
    },
  };
}

/** WATCHDOG_USEC, where it is meant for this process (sd_watchdog_enabled(3)). */
function watchdogMs(env: NodeJS.ProcessEnv, pid: number): number | null {
  const [micros, meant] = [env['WATCHDOG_USEC'] ?? '', env['WATCHDOG_PID']];
  if (!/^[1-9]\d{0,15}$/.test(micros) || (meant !== undefined && meant !== String(pid))) return null;
  return Number(micros) / 1_000;
}
