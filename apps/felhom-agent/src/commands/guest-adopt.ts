import { rm } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';
import { registerSecret } from '@felhom/kernel/redact.ts';
import { z } from 'zod';
import { loadAgentConfig } from '../load-config.ts';
import { becomeOwnerOf } from '../own-state.ts';
import { hashToken, newToken } from '../serve/auth.ts';
import { adoptionIn, openGuestsState } from '../serve/guests-state.ts';
import { adoptRefused } from '../serve/identity.ts';
import { guestsFile } from '../state-files.ts';
import type { CommandContext } from './context.ts';
import { guestRow } from './guest.ts';
import { askServe } from './host-client.ts';
import { writeNew } from './new-file.ts';

/**
 * `guest adopt VMID`: lets a refused guest in; with `--token-out` it gets a new token, which is written
 * to that file and nowhere else. Works with and without a running serve.
 */
export async function guestAdopt(context: CommandContext, vmid: number, tokenOut: string | undefined): Promise<void> {
  const { config } = await loadAgentConfig(context.flags.config);
  const hash = tokenOut === undefined ? undefined : await writeNewToken(tokenOut);
  try {
    await adopt({ socket: config.socket, state: config.state }, vmid, hash);
  } catch (error) {
    // It stays where we gave root up meanwhile: a token that counts for nobody.
    if (tokenOut !== undefined) await rm(tokenOut, { force: true }).catch(() => undefined);
    throw error;
  }
  const token = tokenOut === undefined ? '' : `; its new token lies in ${tokenOut}, the old one no longer counts`;
  context.reporter.result(
    { schema: 'felhom.adopt/1', vmid, token_file: tokenOut ?? null } as const,
    () => `guest ${vmid} is adopted${token}`,
  );
}

async function adopt(
  { socket, state }: { socket: string; state: string },
  vmid: number,
  hash: string | undefined,
): Promise<void> {
  const body = hash === undefined ? {} : { token_sha256: hash };
  try {
    await askServe(socket, { method: 'POST', path: `/host/guests/${vmid}/adopt`, body, answer: guestRow });
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'serve_absent') throw error;
    await adoptWithoutServe(state, vmid, hash);
  }
}

/** No serve: its lock is taken, so that none starts in the middle. */
async function adoptWithoutServe(state: string, vmid: number, hash: string | undefined): Promise<void> {
  await becomeOwnerOf(state);
  const { takeServeLock } = await import('../wiring.ts');
  const lock = await takeServeLock(state);
  try {
    const guests = await openGuestsState(guestsFile(state), () => []);
    await guests.set(vmid, {
      identity: adoptRefused(guests.entry(vmid).identity),
      ...(hash === undefined ? {} : { token_sha256: hash }),
    });
  } finally {
    await lock.release();
  }
}

/** Writes a new token to `path`, which must not exist. Answers its hash. */
async function writeNewToken(path: string): Promise<string> {
  const token = newToken();
  registerSecret(token);
  await writeNew(path, `${token}\n`, 'No token was made, the old one still counts.');
  return hashToken(token);
}

/** Adopts a guest that a signed operation put back to an earlier time, with and without a running serve. */
export function adoptionOf({ socket, state }: { socket: string; state: string }): {
  adopt(vmid: number): Promise<string | null>;
} {
  return {
    adopt: async (vmid) => {
      const call = { method: 'POST', path: `/host/guests/${vmid}/restored`, answer: restoredAnswer } as const;
      try {
        return (await askServe(socket, call)).todo;
      } catch (error) {
        if (!(error instanceof Failure) || error.code !== 'serve_absent') throw error;
        return await adoptRestoredWithoutServe(state, vmid);
      }
    },
  };
}

const restoredAnswer = z.object({ todo: z.string().nullable() });

async function adoptRestoredWithoutServe(state: string, vmid: number): Promise<string | null> {
  const { takeServeLock } = await import('../wiring.ts');
  const lock = await takeServeLock(state);
  try {
    return await adoptionIn(await openGuestsState(guestsFile(state), () => [])).adopt(vmid);
  } finally {
    await lock.release();
  }
}
