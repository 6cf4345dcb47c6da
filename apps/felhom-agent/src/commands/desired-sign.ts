import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { readConfigText } from '@felhom/cli/config-file.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { sealEnvelope } from '@felhom/signed-document/envelope.ts';
import { readSigningKey } from '@felhom/signed-document/keys.ts';
import { type DesiredDocument, desiredPayloadType, largestFileCharacters } from '../desired/document.ts';
import { draftDocument } from '../desired/draft-document.ts';
import { parseGuestDocuments } from '../desired/guest-documents.ts';
import type { CommandContext } from './context.ts';
import { readKeyFile } from './key-file.ts';
import { writeNew } from './new-file.ts';

export interface DesiredSignOptions {
  /** Files of guests, and folders of such. */
  places: readonly string[];
  key: string;
  agents: readonly string[];
  serial: number | undefined;
  validForMs: number;
  out: string | undefined;
}

/**
 * `desired sign`: puts files of guests into one signed document. Runs anywhere; asks nobody. A file with
 * a mistake is not signed: every agent would leave its guest alone.
 */
export async function desiredSign(context: CommandContext, options: DesiredSignOptions): Promise<void> {
  const files = (await Promise.all(options.places.map(filesAt))).flat();
  const { guests, problems } = await parseGuestDocuments(files.map(({ path, text }) => ({ source: path, text })));
  if (problems.length > 0)
    throw refuse(problems.map(({ message }) => message).join('\n'), 'Correct the files, then sign them again.');
  const named = files.map(({ path, text }) => ({ name: basename(path), text }));
  const document = draftDocument({ ...options, nowMs: Date.now(), files: named });
  if (typeof document === 'string') throw refuse(document, 'felhom-agent desired sign --help');
  const key = readSigningKey(await readKeyFile(options.key));
  const envelope = sealEnvelope(desiredPayloadType, Buffer.from(JSON.stringify(document)), [key]);
  if (options.out !== undefined) await writeNew(options.out, envelope, 'Nothing was signed.');
  tell(context, {
    document,
    keyId: key.keyId,
    envelope,
    out: options.out,
    vmids: guests.map(({ guest }) => guest.vmid),
  });
}

interface Signed {
  document: DesiredDocument;
  keyId: string;
  envelope: string;
  out: string | undefined;
  vmids: readonly number[];
}

function tell({ reporter }: CommandContext, { document, keyId, envelope, out, vmids }: Signed): void {
  const { serial, expires, agents } = document;
  const guests = vmids.length === 0 ? 'no guest' : `guests ${vmids.join(', ')}`;
  reporter.say(`${guests}: serial ${serial}, until ${expires}, for ${agents.length} agent(s), signed by ${keyId}`);
  reporter.result(
    {
      schema: 'felhom.signed-desired/1',
      file: out ?? null,
      key_id: keyId,
      serial,
      expires,
      agents,
      guests: vmids,
      envelope: out === undefined ? JSON.parse(envelope) : null,
    } as const,
    () => (out === undefined ? envelope : `${out}: put it where guests_document.url of the agents leads\n`),
  );
}

async function filesAt(place: string): Promise<{ path: string; text: string }[]> {
  const names = await namesAt(place);
  return await Promise.all(
    names.map(async (path) => ({ path, text: (await readConfigText(path, largestFileCharacters)) ?? '' })),
  );
}

/** As the agent takes a folder: YAML files, none that is hidden. */
async function namesAt(place: string): Promise<string[]> {
  try {
    if (!(await stat(place)).isDirectory()) return [place];
    const names = (await readdir(place)).filter((name) => /^[^.].*\.ya?ml$/.test(name));
    return names.toSorted().map((name) => join(place, name));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw refuse(why, 'Name a folder such as guests.d, or files of guests.', cause);
  }
}

function refuse(what: string, hint: string, cause?: unknown): Failure {
  return new Failure('usage', {
    message: `${what}; nothing was signed`,
    hint,
    ...(cause === undefined ? {} : { cause }),
  });
}
