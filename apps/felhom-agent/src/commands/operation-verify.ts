import { loadAgentConfig } from '../load-config.ts';
import { admit, type Document, readDocument, told } from '../operations/check.ts';
import { readEnvelopeFile } from '../operations/envelope-file.ts';
import { explainPayload } from '../operations/explain.ts';
import { judgeTarget } from '../operations/judge.ts';
import { observeTarget } from '../operations/observe.ts';
import { type Refusal, refusalFailure } from '../operations/refusal.ts';
import { operationSigners, readSigners } from '../operations/signers.ts';
import { trustedOwners } from '../operations/trusted-file.ts';
import { andState } from './and-state.ts';
import type { CommandContext } from './context.ts';

export interface VerifyOptions {
  file: string;
  /** Checks signature and form alone, by these keys: needs no agent. */
  signers: string | undefined;
  /** Leaves PVE out. */
  offline: boolean;
}

interface Finding {
  document: Document | null;
  refusal: Refusal | null;
  /** What was looked at besides signature and form. */
  looked: readonly string[];
  earlier: string | null;
}

/** `operation verify FILE`: explains an envelope and says whether `apply` would act on it now. Changes nothing. */
export async function operationVerify(context: CommandContext, options: VerifyOptions): Promise<void> {
  const bytes = await readEnvelopeFile(options.file);
  const finding =
    options.signers === undefined
      ? await verifyHere(context, bytes, options.offline)
      : await verifyAnywhere(bytes, options.signers);
  const { document, refusal, looked, earlier } = finding;
  const failure = refusal === null ? null : refusalFailure(refusal);
  context.reporter.result(
    {
      schema: 'felhom.operation-check/1',
      acceptable: refusal === null && earlier === null,
      looked_at: looked,
      signed_by: document?.keyIds ?? [],
      payload: document?.payload ?? null,
      earlier,
      error: failure,
    } as const,
    () => [...explained(document), ...verdict(finding)].join('\n'),
  );
  if (failure === null) return;
  context.reporter.failure(failure);
  context.setExit(failure.exit);
}

async function verifyAnywhere(bytes: Uint8Array, signers: string): Promise<Finding> {
  const named = /^(?:revoked )?ed25519:/.test(signers) ? [signers] : signers;
  const keys = await readSigners(named, await trustedOwners());
  const document = readDocument(bytes, keys);
  const nothing = { looked: [], earlier: null };
  return document.kind === 'refused'
    ? { document: null, refusal: document.refusal, ...nothing }
    : { document, refusal: null, ...nothing };
}

async function verifyHere(context: CommandContext, bytes: Uint8Array, offline: boolean): Promise<Finding> {
  const { config, file } = await loadAgentConfig(context.flags.config);
  const document = readDocument(bytes, await operationSigners(config, file));
  if (document.kind === 'refused') return { document: null, refusal: document.refusal, looked: [], earlier: null };
  const { becomeOwnerOf } = await import('../own-state.ts');
  await becomeOwnerOf(config.state);
  const { openOperationPve, openOperationStore } = await import('../operations/wiring.ts');
  const admission = admit(document.payload, await openOperationStore(config.state).read(), Date.now());
  const looked = ['agent', 'clock', 'record'];
  if (admission.kind === 'refused') return { document, refusal: admission.refusal, looked, earlier: null };
  if (admission.kind === 'earlier') return { document, refusal: null, looked, earlier: told(admission.operation) };
  if (offline) return { document, refusal: null, looked, earlier: null };
  const { pve, close } = await openOperationPve(config);
  try {
    const target = await andState('nothing was done', async () => await observeTarget(pve, document.payload));
    const refusal = judgeTarget(document.payload, target);
    return { document, refusal, looked: [...looked, 'target'], earlier: null };
  } finally {
    await close();
  }
}

function explained(document: Document | null): string[] {
  if (document === null) return ['what it says is not shown: nobody who may sign has signed it'];
  return [...explainPayload(document.payload), `  signed by ${document.keyIds.join(', ')}`];
}

function verdict({ refusal, looked, earlier }: Finding): string[] {
  if (refusal !== null) return [];
  if (earlier !== null)
    return [`the same was asked for before under its idempotency key, and is ${earlier}: apply answers that`];
  if (looked.length === 0) return ['the signature is good; agent, clock, record and target were not looked at'];
  return looked.includes('target')
    ? ['apply would act on it now']
    : ['apply would act on it now if the target is as it was signed; it was not looked at'];
}
