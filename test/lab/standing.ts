import { runningContainers } from './backup.ts';
import type { Lab } from './lab.ts';
import { debtFiles } from './steps.ts';
import { waitUntil } from './wait-until.ts';

/** How a guest stands after a blow. */
export interface Standing {
  running: string[];
  /** Files of unpaid debts. */
  owed: string[];
}

/** What runs, and what is owed. */
export async function standingNow(lab: Lab): Promise<Standing> {
  return { running: await runningContainers(lab), owed: await debtFiles(lab) };
}

/** How the guest stands once all of `apps` run and nothing is owed, or when `boundMs` are over. */
export async function standingWithin(lab: Lab, apps: readonly string[], boundMs: number): Promise<Standing> {
  const end = performance.now() + boundMs;
  const look = async (): Promise<Standing | false> => {
    const standing = await standingNow(lab);
    const isWell = standing.running.length === apps.length && standing.owed.length === 0;
    return (isWell || performance.now() > end) && standing;
  };
  return await waitUntil('the guest stands somehow', look, { boundMs: boundMs + 30_000 });
}

/** Throws unless all of `apps` run and nothing is owed: for a look after a test, when nothing is under way any more. */
export async function mustStandWell(lab: Lab, apps: readonly string[]): Promise<void> {
  const { running, owed } = await standingNow(lab);
  if (running.join() !== apps.join() || owed.length > 0)
    throw new Error(`once all was over: ${running.join(', ') || 'nothing'} ran, owed: ${owed.join(', ') || 'nothing'}`);
}
