import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram, wait } from '../vzdump/programs.ts';
import type { GuestRecord } from './guest-record.ts';
import type { GuestStore } from './guest-store.ts';

export interface PowerOptions {
  /** The least time it takes. */
  ms: number;
  signal?: AbortSignal;
  /** False: by force, without the guest's own command. */
  command?: boolean;
}

export interface ShutdownLimits {
  ms: number;
  timeoutMs: number;
  /** The guest takes no notice of a shutdown. */
  deaf: boolean;
  signal: AbortSignal;
}

/** Stops what runs in the guest, then shows it stopped. */
export async function stopGuest(guests: GuestStore, vmid: number, options: PowerOptions): Promise<void> {
  await runCommand(options.command === false ? undefined : guests.get(vmid)?.commands.stop, options);
  guests.update(vmid, (guest) => {
    guest.running = false;
    applyPending(guest);
  });
}

/** Asks the guest to stop; false when it still runs after `timeoutMs`. */
export async function shutDown(guests: GuestStore, vmid: number, limits: ShutdownLimits): Promise<boolean> {
  const { ms, timeoutMs, deaf, signal } = limits;
  if (deaf) {
    await wait(timeoutMs, signal);
    return false;
  }
  const timeout = AbortSignal.timeout(Math.max(timeoutMs, ms));
  try {
    await stopGuest(guests, vmid, { ms, signal: AbortSignal.any([signal, timeout]) });
    return true;
  } catch (error) {
    if (signal.aborted || !timeout.aborted) throw error;
    return false;
  }
}

export async function startGuest(guests: GuestStore, vmid: number, options: PowerOptions): Promise<void> {
  guests.update(vmid, applyPending);
  await runCommand(guests.get(vmid)?.commands.start, options);
  guests.update(vmid, (guest) => {
    guest.running = true;
    guest.startedAt = Math.floor(Date.now() / 1000);
  });
}

/** Freezes every process of the guest, ours in it too; without a freezer this does nothing. */
export async function freezeGuest(guest: GuestRecord): Promise<void> {
  if (guest.commands.freezer !== undefined) writeFreezer(guest.commands.freezer, true);
  await runCommand(guest.commands.freeze, { ms: 0 });
}

export async function thawGuest(guest: GuestRecord): Promise<void> {
  await runCommand(guest.commands.thaw, { ms: 0 });
  if (guest.commands.freezer !== undefined) writeFreezer(guest.commands.freezer, false);
}

/** What waited for the guest to be off takes effect. */
function applyPending(guest: GuestRecord): void {
  for (const [key, value] of Object.entries(guest.pending)) {
    if (value === null) delete guest.config[key];
    else guest.config[key] = value;
  }
  guest.pending = {};
}

async function runCommand(command: string | undefined, options: PowerOptions): Promise<void> {
  const began = performance.now();
  if (command !== undefined) {
    // Output goes nowhere: what the command leaves running would otherwise hold our pipe open.
    const quiet = `{ ${command}\n} >/dev/null 2>&1 </dev/null`;
    await runProgram('/bin/sh', ['-c', quiet], {
      label: command,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
  }
  await wait(options.ms - (performance.now() - began), options.signal);
}

function writeFreezer(folder: string, frozen: boolean): void {
  const unified = join(folder, 'cgroup.freeze');
  if (existsSync(unified)) writeFileSync(unified, frozen ? '1' : '0');
  else writeFileSync(join(folder, 'freezer.state'), frozen ? 'FROZEN' : 'THAWED');
}
