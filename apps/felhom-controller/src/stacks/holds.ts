import { join } from 'node:path';
import { type StateFile, stateFile } from '@felhom/durable/state-file.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';

const schema = z.record(
  z.string().max(256),
  z.object({ reason: z.string().max(512).nullable(), at: z.iso.datetime() }),
);

/** Stacks that a person has taken in hand: nothing starts or upgrades them. Backups go on. */
export type Holds = z.output<typeof schema>;

function holdsFile(stateDir: string): StateFile<Holds> {
  return stateFile<Holds>({ path: join(stateDir, 'holds.json'), version: 1, schema });
}

/** @throws Failure `state_unreadable` or `state_newer`: a hold that cannot be read must not be taken for none. */
export async function readHolds(stateDir: string): Promise<Holds> {
  const read = await holdsFile(stateDir).read();
  if (read.kind === 'present') return read.value;
  if (read.kind === 'absent') return {};
  const why = read.kind === 'newer' ? 'was written by a newer version' : `cannot be read: ${read.reason}`;
  throw new Failure(read.kind === 'newer' ? 'state_newer' : 'state_unreadable', {
    message: `${stateDir}/holds.json ${why}; no stack was touched`,
    hint: 'Correct or remove that file, then hold again what is to be held: felhom-controller stack hold STACK',
  });
}

/** Durable when it resolves. */
export async function hold(stateDir: string, stack: string, reason: string | null, nowMs: number): Promise<void> {
  const holds = await readHolds(stateDir);
  await holdsFile(stateDir).write({ ...holds, [stack]: { reason, at: new Date(nowMs).toISOString() } });
}

/** False: it was not held. */
export async function release(stateDir: string, stack: string): Promise<boolean> {
  const { [stack]: held, ...others } = await readHolds(stateDir);
  if (held === undefined) return false;
  await holdsFile(stateDir).write(others);
  return true;
}
