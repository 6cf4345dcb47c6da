import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemDisk } from '@felhom/durable/disk.ts';
import { replaceFile } from '@felhom/durable/replace-file.ts';
import { stateFile } from '@felhom/durable/state-file.ts';
import { ensureFolder } from '@felhom/durable/state-folder.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import { persistedMachine } from '@felhom/phases/persisted.ts';
import { z } from 'zod';
import { knownBad, lastGood, memoryVersion, upgradeNotes } from '../upgrade/memory.ts';
import { upgradeMachine } from '../upgrade/phases.ts';
import type { MemoryPort, UpgradeMachine } from '../upgrade/ports.ts';

const keptBad = 50;

/** Everything that is kept of a stack's upgrades lies in one folder. A project name is a file name by Compose's own rule. */
function folderOf(stateDir: string, stack: string): string {
  return join(stateDir, 'upgrades', stack.replaceAll(/[^A-Za-z0-9_-]/g, '_'));
}

/** The persisted phase machine of one stack. */
export function upgradeMachineOf(stateDir: string, clock: Clock): (stack: string) => UpgradeMachine {
  return (stack) =>
    persistedMachine({
      machine: upgradeMachine,
      success: ['success'],
      checked: ['verifying'],
      path: join(folderOf(stateDir, stack), 'state.json'),
      version: memoryVersion,
      data: upgradeNotes,
      clock,
    });
}

/** Last good version and known-bad targets, in files. What cannot be read counts as not known. */
export function fileMemory(stateDir: string): MemoryPort {
  const goodFile = (stack: string) =>
    stateFile({ path: join(folderOf(stateDir, stack), 'last-good.json'), version: memoryVersion, schema: lastGood });
  const badFile = (stack: string) =>
    stateFile({
      path: join(folderOf(stateDir, stack), 'known-bad.json'),
      version: memoryVersion,
      schema: z.array(knownBad),
    });
  const readBad = async (stack: string) => {
    const read = await badFile(stack).read();
    return read.kind === 'present' ? read.value : [];
  };
  const pinsPath = (stack: string): string => join(folderOf(stateDir, stack), 'as-it-was.json');
  return {
    stacks: async () => (await readdir(join(stateDir, 'upgrades')).catch(() => [])).toSorted(), // No folder: none.
    lastGood: async (stack) => {
      const read = await goodFile(stack).read();
      return read.kind === 'present' ? read.value : null;
    },
    saveLastGood: async (good) => await goodFile(good.stack).write(good),
    knownBad: readBad,
    addKnownBad: async (stack, bad) => {
      const others = (await readBad(stack)).filter(({ key }) => key !== bad.key);
      await badFile(stack).write([bad, ...others].slice(0, keptBad));
    },
    allow: async (stack) => {
      const { length } = await readBad(stack);
      await badFile(stack).remove();
      return length;
    },
    pinsPath,
    writePins: async (stack, content) => {
      const path = pinsPath(stack);
      // Unchanged: it is not written, so that a full disk does not stand in the way of a second try.
      if ((await readFile(path, 'utf8').catch(() => null)) === content) return path; // Not there yet.
      await ensureFolder(dirname(path), systemDisk);
      await replaceFile(path, content);
      return path;
    },
  };
}
