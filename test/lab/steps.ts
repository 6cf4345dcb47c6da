import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { glanceAt } from 'felhom-agent/status/glance.ts';
import { waitUntilDown } from './backup.ts';
import { findProcesses } from './find-processes.ts';
import type { Lab } from './lab.ts';
import type { Background } from './process.ts';
import { waitUntil } from './wait-until.ts';

/** The steps of a run, as the controller tells them, in order. */
export const runSteps = [
  'requested',
  'ready',
  'stopping',
  'stopped',
  'quiesced',
  'snapshotted',
  'starting',
  'running',
] as const;
export type RunStep = (typeof runSteps)[number];

let started = 0;

/** Starts `backup now` and resolves as soon as it has told `step`. */
export async function runToStep(lab: Lab, step: RunStep): Promise<Background> {
  started += 1;
  const controller = lab.startInGuest(`step-${started}`, ['backup', 'now'], { FELHOM_LOG: 'debug' });
  await waitUntil(`the run says "${step}"`, () => told(controller, step), { everyMs: 2 });
  return controller;
}

function told(controller: Background, step: RunStep): boolean {
  const output = controller.output();
  if (new RegExp(`^\\S+ (debug|info) +(\\S+: )?${step}$`, 'm').test(output)) return true;
  if (controller.hasEnded()) throw new Error(`the run was over before it said "${step}":\n${output}`);
  return false;
}

/** Starts `backup now` against a snapshot that hangs, and resolves once `containers` are down for it. */
export async function runToHangingSnapshot(lab: Lab, containers: readonly string[]): Promise<Background> {
  await lab.order({ fault: 'freeze_hangs' });
  const controller = await runToStep(lab, 'quiesced');
  await waitUntilDown(lab, containers);
  return controller;
}

/** The files of unpaid debts: none, when nothing is owed. */
export async function debtFiles(lab: Lab, state = join(lab.guest, 'var/lib/felhom')): Promise<string[]> {
  return await readdir(join(state, 'debts')).catch(() => []); // No folder yet: no debts.
}

/** Waits until the agent has no job under way. */
export async function waitUntilNoJob(lab: Lab, boundMs = 60_000): Promise<void> {
  await waitUntil(
    'the agent has no job under way',
    () => glanceAt(join(lab.folder, 'host/state')).jobs.every(({ open }) => !open),
    { boundMs },
  );
}

/** Waits until no recovery is under way, nor a guard that would start one: it holds the lock that the next run needs. */
export async function waitUntilNoRecovery(lab: Lab, boundMs = 30_000): Promise<void> {
  await waitUntil(
    'no recovery is under way',
    () => {
      const ours = (words: readonly string[]): boolean =>
        words.includes('recover') && words.some((word) => word.startsWith(lab.guest));
      return findProcesses(ours).length === 0;
    },
    { boundMs },
  );
}
