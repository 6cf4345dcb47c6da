import type { UpgradePorts } from './ports.ts';
import type { StackPolicy, UpgradeSettings } from './run.ts';
import { isWithin, parseWindow } from './window.ts';

export interface DueStack {
  stack: string;
  /** Why it is left alone; null: it is not. */
  why: string | null;
}

/** Every Compose project of the engine, with whether it is upgraded now. A timer (`due`) keeps to policy and window. */
export async function dueStacks(
  { engine, clock }: Pick<UpgradePorts, 'engine' | 'clock'>,
  { policyOf }: Pick<UpgradeSettings, 'policyOf'>,
  { due }: { due: boolean },
): Promise<DueStack[]> {
  const containers = await engine.list();
  const stacks = [...new Set(containers.flatMap(({ project }) => (project === null ? [] : [project])))];
  return stacks
    .toSorted()
    .map((stack) => ({ stack, why: reasonToWait(policyOf(stack), due, new Date(clock.nowMs())) }));
}

export function reasonToWait({ policy, window }: StackPolicy, due: boolean, now: Date): string | null {
  if (policy === 'never') return 'its policy is never';
  if (!due) return null;
  if (policy === 'ask') return 'its policy is ask: a person upgrades it';
  const daily = window === null ? null : parseWindow(window);
  return daily === null || isWithin(daily, now) ? null : `outside of its window ${window ?? ''}`;
}
