import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lab } from './lab.ts';
import type { Background } from './process.ts';
import { debtFiles } from './steps.ts';
import { addShop, editShop, type StandingStack, standingOf, upgradeToStep } from './upgrades.ts';
import { waitUntil } from './wait-until.ts';

/*
 * A stack on the lab's engine whose controller has a state and a run lock of its own, as if it were alone in its guest:
 * many of them are upgraded side by side, and each dies its own death.
 */

export interface LoneShop {
  name: string;
  /** Starts `upgrade apply` and resolves as soon as it has told `step`. */
  upgradeTo(step: string): Promise<Background>;
  /** The same by the phase that is on disk. */
  upgradeToPhase(phase: string): Promise<Background>;
  /** The files of what is owed to it. */
  debts(): Promise<string[]>;
  /** How far it had come, by the debt on disk; null: nothing is owed. */
  owedPhase(): Promise<string | null>;
  standing(): Promise<LoneStanding>;
}

export interface LoneStanding extends StandingStack {
  /** Versions that found no data and made a fresh one, besides the first. */
  madeFresh: string[];
  /** Containers of the stack, running or not: of a mix there would be more than one. */
  containers: number;
}

/** Makes it on the version `from`, with data that nobody may lose, and edits its Compose file to `to`. */
export async function openLoneShop(lab: Lab, name: string, from: string, to: string): Promise<LoneShop> {
  const state = join(lab.guest, 'var/lib/felhom-of', name);
  const env = { FELHOM_STATE_DIR: state, FELHOM_RUN_DIR: join(lab.folder, 'run-of', name) };
  await addShop(lab, name, from, { env });
  await editShop(lab, name, to);
  const debts = async (): Promise<string[]> => await debtFiles(lab, state);
  return {
    name,
    debts,
    owedPhase: async () => {
      const text = await readFile(join(state, 'debts/upgrade.a.json'), 'utf8').catch(() => ''); // Nothing is owed.
      return /"phase":\s*"(\w+)"/.exec(text)?.[1] ?? null;
    },
    upgradeTo: async (step) => await upgradeToStep(lab, name, step, env),
    upgradeToPhase: async (phase) => {
      const controller = lab.startInGuest(`phase-${name}`, ['upgrade', 'apply', name, '--no-pull'], env);
      const file = join(state, 'upgrades', name, 'state.json');
      await waitUntil(
        `the upgrade is in the phase ${phase}`,
        async () => {
          if (controller.hasEnded()) throw new Error(`the upgrade was over before "${phase}":\n${controller.output()}`);
          return new RegExp(`"phase":\\s*"${phase}"`).test(await readFile(file, 'utf8').catch(() => '')); // Not begun.
        },
        { everyMs: 2 },
      );
      return controller;
    },
    standing: async () => {
      const filter = ['--filter', `label=com.docker.compose.project=${name}`];
      const found = await lab.engine.tryDocker('ps', '--all', '--quiet', ...filter);
      const data = await readdir(join(lab.guest, 'srv', name, 'data'));
      return {
        ...(await standingOf(lab, name)),
        owed: await debts(),
        madeFresh: data.filter((file) => file.startsWith('made-fresh-by-') && file !== 'made-fresh-by-1'),
        containers: found.stdout.split('\n').filter((id) => id !== '').length,
      };
    },
  };
}

/** How it stands once it is one of `wanted`, or when the bound is over. Calls nothing of ours. */
export async function standingWithin(
  shop: LoneShop,
  wanted: readonly LoneStanding[],
  boundMs: number,
): Promise<LoneStanding> {
  const end = performance.now() + boundMs;
  const texts = new Set(wanted.map(textOf));
  return await waitUntil(
    `${shop.name} stands somehow`,
    async () => {
      const isOver = performance.now() > end;
      if (!isOver && (await shop.debts()).length > 0) return false;
      const found = await shop.standing();
      return (isOver || texts.has(textOf(found))) && found;
    },
    { boundMs: boundMs + 30_000, everyMs: 100 },
  );
}

function textOf(standing: LoneStanding): string {
  return JSON.stringify(Object.entries(standing).toSorted());
}
