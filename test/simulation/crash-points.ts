import type { CrashPoint, Moment } from './doom.ts';

/**
 * Effects that only look. To die right after one is to die right before it: nothing but the dead process has changed.
 * So each of them is one crash point, and every other effect is two.
 */
const looks =
  /^(?:pve\.(?:guests|guest|whereIs|volumes|findStarted|tasks|task|taskLog|storage|backups)|lane\..*|engine\.(?:identity|list|listRunning|inspect)|markers\.read(?:Newer)?|lock\.isAlive|history\.unfinished|system\.isStopping)$/;

export function isLook(name: string): boolean {
  return looks.test(name);
}

/** Every point at which a life with this trace can end, each leaving another world behind. */
export function crashPoints(trace: readonly string[]): CrashPoint[] {
  return trace.flatMap((name, effect): CrashPoint[] =>
    isLook(name)
      ? [{ effect, when: 'before' }]
      : [
          { effect, when: 'before' },
          { effect, when: 'after' },
        ],
  );
}

/**
 * The same for a process that others learn nothing from but by what it does to the world: points between which it did
 * nothing, and nothing happened, are one.
 */
export function distinctPoints(moments: readonly Moment[]): CrashPoint[] {
  const seen = new Set<string>();
  const points: CrashPoint[] = [];
  for (const [effect, { before, after }] of moments.entries()) {
    for (const [when, moment] of [['before', before] as const, ['after', after] as const]) {
      if (!seen.has(moment)) points.push({ effect, when });
      seen.add(moment);
    }
  }
  return points;
}
