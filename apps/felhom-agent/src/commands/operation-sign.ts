import { sealEnvelope } from '@felhom/signed-document/envelope.ts';
import { readSigningKey } from '@felhom/signed-document/keys.ts';
import { loadAgentConfig } from '../load-config.ts';
import { type DraftParts, draftPayload, signCommand } from '../operations/draft.ts';
import { explainPayload } from '../operations/explain.ts';
import { describeOperation, operationPayloadType, type Payload } from '../operations/payload.ts';
import { andState } from './and-state.ts';
import type { CommandContext } from './context.ts';
import { readKeyFile } from './key-file.ts';
import { createFile } from './new-file.ts';

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
  { parts, key, out, fromAgent }: SignOptions,
): Promise<void> {
  // Both before the agent is asked: for that root is given up.
  const signing = key === undefined ? null : readSigningKey(await readKeyFile(key));
  const file = out === undefined || signing === null ? null : await createFile(out, 'Nothing was signed.');
  try {
    const whole = fromAgent ? await completed(context, parts) : parts;
    const payload = draftPayload(whole, Date.now());
    if (signing === null) return tellCommand(context, whole);
    const envelope = sealEnvelope(operationPayloadType, Buffer.from(JSON.stringify(payload)), [signing]);
    await file?.write(envelope);
    tellSigned(context, { payload, envelope, keyId: signing.keyId, out });
  } catch (error) {
    await file?.discard();
    throw error;
  }
}

function tellSigned(
  { reporter }: CommandContext,
  { payload, envelope, keyId, out }: { payload: Payload; envelope: string; keyId: string; out: string | undefined },
): void {
  for (const line of explainPayload(payload)) reporter.say(line);
  reporter.result(
    {
      schema: 'felhom.signed-operation/1',
      file: out ?? null,
      key_id: keyId,
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
  const { config } = await loadAgentConfig(context.flags.config);
  const { becomeOwnerOf } = await import('../own-state.ts');
  await becomeOwnerOf(config.state);
  const { openOperationPve, openOperationStore } = await import('../operations/wiring.ts');
  const { completeDraft } = await import('../operations/complete-draft.ts');
  const { agent_id: agent } = await openOperationStore(config.state).read();
  const { pve, close } = await openOperationPve(config);
  try {
    const known = { agent, ...withoutUndefined(parts) };
    return await andState('nothing was signed', async () => await completeDraft(pve, known));
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
