import { spawn } from 'node:child_process';
import type { GuardPort, StartedGuard } from '../quiesce/ports.ts';

/*
 * Invariants
 * - The guard holds the one reading end of a pipe whose writing end only we hold (close-on-exec): our
 *   death, however it comes, is the end of that pipe.
 * - It leads a session of its own: neither Ctrl-C nor a closed terminal reaches it.
 * - It does not hold the run lock: descriptors of ours are close-on-exec, and none is passed on.
 * - Whatever it reads but the word `done` makes it recover: recovery is safe at any time.
 */

/**
 * First line: how many seconds it waits from then on, or `done`. Second line: `done`. A pipe that
 * ends, or a limit that passes, is followed by recovery. `timeout` measures on a clock that nobody sets.
 */
const script = `
read -r limit || exec "$@"
[ "$limit" = done ] && exit 0
answer=$(timeout "$limit" head -n 1)
[ "$answer" = done ] && exit 0
exec "$@"
`;

export interface ShellGuardOptions {
  /** Absolute: our node, our script, `recover`, with the same configuration and state folder. */
  command: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
}

/** The guard as a shell in a session of its own: it costs no Node to keep, and starts one only to recover. */
export function shellGuard({ command, env }: ShellGuardOptions): GuardPort {
  return {
    start: async () => {
      const child = spawn('/bin/sh', ['-c', script, 'felhom-guard', ...command], {
        cwd: '/',
        detached: true,
        stdio: ['pipe', 'ignore', 'ignore'],
        env: withoutCompose(env),
      });
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', reject);
      });
      const pipe = child.stdin;
      // A guard that is gone is no reason to stop: the recovery timer is the next in line.
      pipe.on('error', () => undefined);
      child.on('error', () => undefined);
      child.unref();
      if ('unref' in pipe && typeof pipe.unref === 'function') pipe.unref();
      return {
        arm: (limitMs) => void pipe.write(`${Math.max(1, limitMs) / 1_000}\n`),
        disarm: () => void pipe.end('done\n'),
      } satisfies StartedGuard;
    },
  };
}

function withoutCompose(env: ShellGuardOptions['env']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && !entry[0].startsWith('COMPOSE_'),
    ),
  );
}
