import { Failure } from '@felhom/kernel/failure.ts';
import type { DesiredDocument } from '../desired/document.ts';
import { type DocumentReason, judgeDocument } from '../desired/judge-document.ts';
import { guestsIn } from '../desired/remote-provider.ts';
import { becomeOwnerOf } from '../own-state.ts';
import type { DesiredProblem } from '../reconcile/model.ts';
import { tellProblem } from '../reconcile/tell-problem.ts';
import type { CommandContext } from './context.ts';

export interface DesiredVerifyOptions {
  /** `-` is standard input. */
  file: string;
}

/** `desired verify FILE`: whether this agent would follow a document that its server offers now. Changes nothing. */
export async function desiredVerify(context: CommandContext, { file }: DesiredVerifyOptions): Promise<void> {
  const { loadAgentConfig } = await import('../load-config.ts');
  const { config } = await loadAgentConfig(context.flags.config);
  if (config.guests_document === undefined) throw notConfigured();
  // While we are root: the file may be root's.
  const bytes = await bytesOf(file, config.guests_document.max_size);
  await becomeOwnerOf(config.state);
  const { judgingRules } = await import('../desired/wiring.ts');
  const rules = await judgingRules(config.guests_document, config.state);
  const judged = judgeDocument(bytes, rules);
  if (judged.kind === 'refused') throw refused(file, judged);
  const { document, keyIds } = judged;
  const { guests, problems } = await guestsIn(document, file);
  const vmids = guests.map(({ guest }) => guest.vmid);
  context.reporter.result(
    {
      schema: 'felhom.desired-check/1',
      acceptable: true,
      in_force: judged.kind === 'same',
      ...factsOf(document),
      signed_by: keyIds,
      guests: vmids,
      problems: problems.map(({ source, message }) => ({ source, message })),
    } as const,
    () => textOf(document, judged.kind === 'same', vmids, problems),
  );
}

function factsOf({ serial, issued, expires, agents }: DesiredDocument) {
  return { serial, issued, expires, agents: agents.length };
}

function textOf(
  { serial, expires }: DesiredDocument,
  inForce: boolean,
  vmids: readonly number[],
  problems: readonly DesiredProblem[],
): string {
  const what = inForce ? 'is in force' : 'would be taken';
  return [
    `serial ${serial}, good until ${expires}: ${what}; it declares ${vmids.length} guest(s)${vmids.length === 0 ? '' : `: ${vmids.join(', ')}`}`,
    ...problems.map(tellProblem),
  ].join('\n');
}

async function bytesOf(path: string, maxBytes: number): Promise<Buffer> {
  const { open } = await import('node:fs/promises');
  try {
    const file = await open(path === '-' ? '/dev/stdin' : path, 'r');
    try {
      const chunks: Buffer[] = [];
      // One byte more than is allowed is enough to be refused as too long.
      for (let left = maxBytes + 1; left > 0; ) {
        const { bytesRead, buffer } = await file.read(Buffer.alloc(Math.min(left, 65_536)), 0, undefined, null);
        if (bytesRead === 0) break;
        chunks.push(buffer.subarray(0, bytesRead));
        left -= bytesRead;
      }
      return Buffer.concat(chunks);
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new Failure('usage', {
      message: `the document cannot be read: ${cause instanceof Error ? cause.message : String(cause)}; nothing was changed`,
      hint: 'Name the file that "desired sign --out FILE" wrote.',
      cause,
    });
  }
}

function refused(file: string, { reason, detail }: { reason: DocumentReason; detail: string }): Failure {
  return new Failure('policy_refused', {
    message: `${file} would be refused (${reason}): ${detail}; what is in force stays in force`,
    hint: 'felhom-agent desired show prints the agent, its serial and what is in force. Sign anew: felhom-agent desired sign --help',
    reason,
  });
}

export function notConfigured(): Failure {
  return new Failure('config_missing', {
    message: 'no server of signed documents is configured: what is declared lies in files; nothing was changed',
    hint: 'Name one in agent.yaml, guests_document (felhom-agent config schema shows its keys), or see felhom-agent plan.',
  });
}
