import { sealEnvelope } from '@felhom/signed-document/envelope.ts';
import { readSigningKey } from '@felhom/signed-document/keys.ts';
import { loadConfig } from '../load-config.ts';
import { type DraftParts, draftPayload, signCommand } from '../operations/draft.ts';
import { explainPayload } from '../operations/explain.ts';
import { describeOperation, operationPayloadType } from '../operations/payload.ts';
import type { CommandContext } from './context.ts';
import { readKeyFile } from './key-file.ts';
import { writeNew } from './operation-keygen.ts';

export interface SignOptions {
  parts: DraftParts;
  key: string | undefined;
  out: string | undefined;
  fromAgent: boolean;
}

/**
 * `operation sign`: makes an envelope. Needs neither agent nor PVE when everything is named; `--from-agent` reads on
 * the host what is not. Without a key it tells the words that sign the same where the key is.
 */
export async function operationSign(
  context: CommandContext,
  { key, out, fromAgent, ...given }: SignOptions,
): Promise<void> {
  const parts = fromAgent ? await completed(context, given.parts) : given.parts;
  const payload = draftPayload(parts, Date.now());
  if (key === undefined) return tellCommand(context, parts);
  const signing = readSigningKey(await readKeyFile(key));
  const envelope = sealEnvelope(operationPayloadType, Buffer.from(JSON.stringify(payload)), [signing]);
  if (out !== undefined) await writeNew(out, envelope);
  for (const line of explainPayload(payload)) context.reporter.say(line);
  context.reporter.result(
    {
      schema: 'felhom.signed-operation/1',
      file: out ?? null,
      key_id: signing.keyId,
      payload,
      envelope: out === undefined ? JSON.parse(envelope) : null,
    } as const,
    () => (out === undefined ? envelope : `${out}: to ${describeOperation(payload)}\n`),
  );
}

function tellCommand(context: CommandContext, parts: DraftParts): void {
  const command = signCommand(parts);
  context.reporter.result({ schema: 'felhom.sign-command/1', command } as const, () => `${command}\n`);
  context.reporter.say('No --key was named, so nothing was signed. Type this where the key is.');
}

/** What the host knows and nobody said. @throws Failure for a target that is not there */
async function completed(context: CommandContext, parts: DraftParts): Promise<DraftParts> {
  const { config } = await loadConfig(context.flags.config);
  const { becomeOwnerOf } = await import('../own-state.ts');
  await becomeOwnerOf(config.state);
  const { openOperationPve, openOperationStore } = await import('../operations/wiring.ts');
  const { completeDraft } = await import('../operations/complete-draft.ts');
  const { agent_id: agent } = await openOperationStore(config.state).read();
  const { pve, close } = await openOperationPve(config);
  try {
    return await completeDraft(pve, { agent, ...withoutUndefined(parts) });
  } finally {
    await close();
  }
}

function withoutUndefined(parts: DraftParts): DraftParts {
  const { operation, vmid, validForMs } = parts;
  return {
    ...Object.fromEntries(Object.entries(parts).filter(([, value]) => value !== undefined)),
    operation,
    vmid,
    validForMs,
  };
}
