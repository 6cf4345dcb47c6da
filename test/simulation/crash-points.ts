import type { CrashPoint } from './doom.ts';

/**
 * Effects that only look. To die right after one is to die right before it: nothing but the dead process has changed.
 * So each of them is one crash point, and every other effect is two.
 */
const looks =
  /^(?:pve\.(?:guests|guest|whereIs|volumes|findStarted|tasks|task|taskLog|storage|backups)|lane\..*|engine\.(?:identity|list|listRunning|inspect)|markers\.read(?:Newer)?|lock\.isAlive|history\.unfinished|system\.isStopping)$/;

/** Every point at which a life with this trace can end, each leaving another world behind. */
export function crashPoints(trace: readonly string[]): CrashPoint[] {
  return trace.flatMap((name, effect): CrashPoint[] =>
    looks.test(name)
      ? [{ effect, when: 'before' }]
      : [
          { effect, when: 'before' },
          { effect, when: 'after' },
        ],
  );
}
