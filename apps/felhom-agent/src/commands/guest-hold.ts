import { Failure } from '@felhom/kernel/failure.ts';
import { fileLanes } from '../lanes/lanes.ts';
import { loadConfig } from '../load-config.ts';
import { becomeOwnerOf } from '../own-state.ts';
import { type GuestEntry, openGuestsState } from '../serve/guests-state.ts';
import { guestsFile, lanesFolder } from '../state-files.ts';
import type { CommandContext } from './context.ts';
import { guestRow } from './guest.ts';
import { askServe } from './host-client.ts';

/** `guest hold VMID`: leaves a guest to a person, until `guest release`. Works with and without a running serve. */
export async function guestHold(context: CommandContext, vmid: number, reason: string): Promise<void> {
  const { config, guests } = await loadConfig(context.flags.config);
  const hold = { reason, at: new Date().toISOString() };
  await change(config, { vmid, verb: 'hold', body: { reason }, entry: { hold } });
  if (!guests.has(vmid)) context.reporter.say(`guest ${vmid} has no file in ${config.guests}`);
  await sayWhoIsAtWork(context, config.state, vmid);
  context.reporter.result(
    { schema: 'felhom.hold/1', vmid, held: true, reason } as const,
    () =>
      `guest ${vmid} is left to you: ${reason}\nno reconcile, no scheduled backup and no start of ours until: felhom-agent guest release ${vmid}`,
  );
}

/** `guest release VMID`: the agent looks after the guest again. */
export async function guestRelease(context: CommandContext, vmid: number): Promise<void> {
  const { config, guests } = await loadConfig(context.flags.config);
  await change(config, { vmid, verb: 'release', body: {}, entry: { hold: null } });
  const inFile = guests.get(vmid)?.held ?? null;
  const still = inFile === null ? '' : `; its file still holds it: ${inFile}`;
  context.reporter.result(
    { schema: 'felhom.hold/1', vmid, held: inFile !== null, reason: inFile } as const,
    () => `guest ${vmid} is released${still}`,
  );
}

/** Nothing new is begun on a guest on hold; what is under way comes to its end. */
async function sayWhoIsAtWork(context: CommandContext, state: string, vmid: number): Promise<void> {
  // A lane that root made could not be taken by serve.
  await becomeOwnerOf(state);
  const lanes = fileLanes(lanesFolder(state), 'guest hold');
  const lane = await lanes.tryGuest(vmid);
  if (lane !== null) return await lane.release();
  const who = await lanes.guestHolder(vmid);
  context.reporter.say(
    `something of ours is still under way on guest ${vmid}${who === null ? '' : ` (${who})`} and comes to its end; nothing more is begun`,
  );
}

interface Change {
  vmid: number;
  verb: 'hold' | 'release';
  body: Record<string, unknown>;
  entry: Pick<GuestEntry, 'hold'>;
}

async function change({ socket, state }: { socket: string; state: string }, wanted: Change): Promise<void> {
  const { vmid, verb, body, entry } = wanted;
  try {
    await askServe(socket, { method: 'POST', path: `/host/guests/${vmid}/${verb}`, body, answer: guestRow });
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'serve_absent') throw error;
    await withoutServe(state, vmid, entry);
  }
}

/** No serve: its lock is taken, so that none starts in the middle. */
async function withoutServe(state: string, vmid: number, entry: Pick<GuestEntry, 'hold'>): Promise<void> {
  await becomeOwnerOf(state);
  const { takeServeLock } = await import('../wiring.ts');
  const lock = await takeServeLock(state);
  try {
    const guests = await openGuestsState(guestsFile(state), () => []);
    await guests.set(vmid, entry);
  } finally {
    await lock.release();
  }
}
