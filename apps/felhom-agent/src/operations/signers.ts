import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@felhom/durable/disk.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { parseKeyLine, type SignerKey } from '@felhom/signed-document/keys.ts';
import type { AgentConfig } from '../config.ts';
import { readTrustedFile, requireTrustedFolder, trustedOwners } from './trusted-file.ts';

const largestKeyFile = 4096;
const largestConfigFile = 16 * 1024 * 1024;

/**
 * The keys that may sign: a list of lines as `operation keygen` prints them, or a folder of files `*.pub` that hold
 * such lines (`#` begins a comment). None: nobody may. A key that is revoked anywhere is revoked.
 * @param owners whom folder and files may belong to (trusted-file.ts)
 * @throws Failure `config_invalid` for a line that is no key, and for a folder or file that cannot be read or that
 *   somebody else could have written
 */
export async function readSigners(
  signers: string | readonly string[],
  owners: ReadonlySet<number>,
): Promise<SignerKey[]> {
  const lines =
    typeof signers === 'string'
      ? await linesOfFolder(signers, owners)
      : signers.map((text) => ({ text, from: 'signers' }));
  const keys = lines.map(({ text, from }) => {
    const key = parseKeyLine(text);
    if (key === null) throw invalid(`${from}: ${JSON.stringify(text.slice(0, 40))} is no key line`);
    return key;
  });
  const revoked = new Set(keys.filter((key) => key.revoked).map(({ keyId }) => keyId));
  const known = new Map(keys.map((key) => [key.keyId, { ...key, revoked: revoked.has(key.keyId) }]));
  return [...known.values()];
}

/**
 * Who may sign operations on this host: the keys of `signers` in agent.yaml. The lines themselves stand in that file, so
 * it is judged as a file of keys is. So is the state folder: who can put an older record there makes a nonce good again.
 * @throws as `readSigners`
 */
export async function operationSigners(
  { signers, state }: Pick<AgentConfig, 'signers' | 'state'>,
  configFile: string,
): Promise<SignerKey[]> {
  const owners = await trustedOwners(state);
  if (signers.length > 0) {
    await trusting(`${configFile}, which says who may sign,`, async () => {
      await readTrustedFile(configFile, owners, largestConfigFile);
    });
    await trusting(`the state folder ${state}, which remembers what was done,`, async () => {
      await requireTrustedFolder(state, owners).catch((error: unknown) => {
        if (errorCode(error) !== 'ENOENT') throw error; // Not there yet, so nothing was done yet.
      });
    });
  }
  return await readSigners(signers, owners);
}

interface Line {
  text: string;
  from: string;
}

async function linesOfFolder(folder: string, owners: ReadonlySet<number>): Promise<Line[]> {
  return await trusting(`the folder of signers ${folder}`, async () => {
    const real = await requireTrustedFolder(folder, owners);
    const names = (await readdir(real)).filter((name) => /^[^.].*\.pub$/.test(name)).toSorted();
    return (await Promise.all(names.map(async (name) => await linesOfFile(join(real, name), owners)))).flat();
  });
}

async function linesOfFile(path: string, owners: ReadonlySet<number>): Promise<Line[]> {
  const text = await readTrustedFile(path, owners, largestKeyFile);
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '' && !line.startsWith('#')).map((line) => ({ text: line, from: path }));
}

async function trusting<T>(what: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw invalid(`${what} cannot be trusted: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

function invalid(what: string, cause?: unknown): Failure {
  return new Failure('config_invalid', {
    message: `${what}; no operation is taken, guests keep running`,
    hint: 'felhom-agent operation keygen prints a line as it must stand there: ed25519:… NAME. Files and folders that say who may sign must belong to root or to the agent, and nobody else may write there (chown root, chmod go-w).',
    cause,
  });
}
