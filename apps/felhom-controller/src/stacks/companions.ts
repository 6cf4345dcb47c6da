import type { DeclaredCompanion } from './declared.ts';

/** What systemd says of a unit (`systemctl show`). */
export interface UnitState {
  /** `loaded`, `not-found`, `masked`, `bad-setting`, … */
  load: string;
  /** `active`, `activating`, `inactive`, `failed`, … */
  active: string;
  /** Of a service: `oneshot`, `simple`, …; empty for other units. */
  type: string;
}

/** The one door to systemd. */
export interface UnitsPort {
  /** Null where systemd is not the init. */
  look(unit: string): Promise<UnitState | null>;
  /** The text of the declared file; throws where it cannot be read. */
  read(file: string): Promise<string>;
  /** Writes the unit's file, durable and whole, and has systemd read it. Never over one that is there. */
  write(unit: string, text: string): Promise<void>;
  start(unit: string): Promise<void>;
}

export type CompanionVerdict = 'fine' | 'masked' | 'missing' | 'start';

/**
 * What to do about a companion, by what systemd says of it. Pure. A masked unit is a person's word; a oneshot service is
 * there for its timer, and run by nobody else.
 */
export function judgeCompanion({ load, active, type }: UnitState): CompanionVerdict {
  if (load === 'masked') return 'masked';
  if (load === 'not-found') return 'missing';
  const isUp = ['active', 'activating', 'reloading', 'refreshing'].includes(active);
  return isUp || type === 'oneshot' ? 'fine' : 'start';
}

export interface CompanionEnd {
  unit: string;
  outcome: 'fine' | 'started' | 'written' | 'masked' | 'no_systemd' | 'failed';
  why: string | null;
}

/**
 * Writes the companions that are missing, all of them first, because a timer does not start without its service; then
 * starts what is not active. Never throws: a companion is no reason to leave apps down.
 */
export async function settleCompanions(
  units: UnitsPort,
  companions: readonly DeclaredCompanion[],
): Promise<CompanionEnd[]> {
  const ends = new Map<string, CompanionEnd>();
  const each = async (step: (companion: DeclaredCompanion) => Promise<CompanionEnd['outcome']>): Promise<void> => {
    for (const companion of companions) {
      const { unit } = companion;
      if (ends.get(unit)?.outcome === 'failed') continue;
      try {
        ends.set(unit, { unit, outcome: await step(companion), why: null });
      } catch (error) {
        ends.set(unit, { unit, outcome: 'failed', why: error instanceof Error ? error.message : String(error) });
      }
    }
  };
  await each(async ({ unit, file }) => {
    const seen = await units.look(unit);
    if (seen === null || judgeCompanion(seen) !== 'missing') return 'fine';
    await units.write(unit, await units.read(file));
    return 'written';
  });
  await each(async ({ unit }) => {
    const seen = await units.look(unit);
    const verdict = seen === null ? 'no_systemd' : judgeCompanion(seen);
    if (verdict === 'start') await units.start(unit);
    if (verdict === 'missing') throw new Error('systemd does not know it although its file was written');
    if (verdict !== 'start' && verdict !== 'fine') return verdict;
    return ends.get(unit)?.outcome === 'written' ? 'written' : verdict === 'start' ? 'started' : 'fine';
  });
  return [...ends.values()];
}
