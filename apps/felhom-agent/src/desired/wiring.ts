import { readFile } from 'node:fs/promises';
import { readSecretFile } from '@felhom/cli/secret-file.ts';
import { systemClock } from '@felhom/kernel/clock.ts';
import type { PeerTrust } from '@felhom/pinned-tls/connector.ts';
import { canonicalFingerprint } from '@felhom/pinned-tls/fingerprint.ts';
import type { AgentConfig } from '../config.ts';
import { readSigners } from '../operations/signers.ts';
import { trustedOwners } from '../operations/trusted-file.ts';
import { openOperationStore } from '../operations/wiring.ts';
import { guestsFile } from '../state-files.ts';
import { boundedProvider } from './bounded.ts';
import type { DocumentConfig } from './document-config.ts';
import { documentStore, readKept, unwrittenStore } from './document-store.ts';
import type { Fetched } from './fetch-document.ts';
import type { GuestDocuments } from './guest-documents.ts';
import { withHolds } from './holds.ts';
import { type DocumentRules, openDocument } from './judge-document.ts';
import type { Kept } from './kept-document.ts';
import { placeProvider } from './place.ts';
import type { DesiredProvider } from './provider.ts';
import { guestsIn, remoteProvider } from './remote-provider.ts';
import { seenIn, troublesOf } from './settle-document.ts';

type Where = Pick<AgentConfig, 'guests' | 'guests_document' | 'state' | 'bounds'>;

/** What is declared, with holds. `look`: a new document is seen, and not kept. */
export function declaredIn(config: Where, purpose: 'pass' | 'look'): DesiredProvider {
  const { guests_document: document, state } = config;
  const provider = document === undefined ? folderProvider(config) : documentProvider(document, state, purpose);
  return withHolds(provider, guestsFile(state));
}

function folderProvider({ guests, bounds }: Where): DesiredProvider {
  return boundedProvider(placeProvider(guests), { place: guests, patienceMs: bounds.guest_files, clock: systemClock });
}

/**
 * The files of the guests in the document in force. That none is in force is a problem in the answer.
 * `ask`: after the server was asked for a newer one; otherwise nobody is.
 * @throws Failure where the state cannot be read
 */
export async function guestsOfDocument(
  config: DocumentConfig,
  stateDir: string,
  { ask }: { ask: boolean },
): Promise<GuestDocuments> {
  // What is wrong with the server is kept and told below; what is wrong with the state is met again there.
  if (ask)
    await documentProvider(config, stateDir, 'pass')
      .read()
      .catch(() => undefined);
  const kept = await readKept(stateDir);
  const nothing = (message: string): GuestDocuments => ({
    guests: [],
    problems: [
      { source: config.url, vmid: null, message: `${message}; no guest has a policy until then`, about: 'source' },
    ],
  });
  if (kept.document === null) {
    const [trouble = `no document from ${config.url} is in force yet`] = troublesOf(
      kept,
      config.url,
      systemClock.nowMs(),
    );
    return nothing(trouble);
  }
  const opened = openDocument(Buffer.from(kept.document.envelope), await rulesOf(config, stateDir));
  return opened.kind === 'refused'
    ? nothing(`the document with serial ${kept.document.serial} is good no longer (${opened.reason}): ${opened.detail}`)
    : await guestsIn(opened.document, config.url);
}

/** What a document would be judged by that came now. */
export async function judgingRules(config: DocumentConfig, stateDir: string): Promise<DocumentRules> {
  const kept = await readKept(stateDir);
  return { ...(await rulesOf(config, stateDir)), seen: seenIn(kept), nowMs: systemClock.nowMs() };
}

/** What is kept of the source, and this agent's id. */
export async function keptIn(stateDir: string): Promise<{ kept: Kept; agentId: string }> {
  const { agent_id: agentId } = await openOperationStore(stateDir).read();
  return { kept: await readKept(stateDir), agentId };
}

function documentProvider(config: DocumentConfig, stateDir: string, purpose: 'pass' | 'look'): DesiredProvider {
  return remoteProvider({
    url: config.url,
    fetch: async (etag) => await fetchBy(config, etag),
    store: purpose === 'pass' ? documentStore(stateDir, systemClock) : unwrittenStore(stateDir),
    rules: async () => await rulesOf(config, stateDir),
    clock: systemClock,
    everyMs: config.every,
  });
}

async function rulesOf({ signers, max_size: maxBytes }: DocumentConfig, stateDir: string) {
  const { agent_id: agentId } = await openOperationStore(stateDir).read();
  return { signers: await readSigners(signers, await trustedOwners(stateDir)), agentId, maxBytes };
}

/** A token or an authority that cannot be read is as good as a server that cannot be had: what is in force stays. */
async function fetchBy(config: DocumentConfig, etag: string | null): Promise<Fetched> {
  const { url, timeout: timeoutMs, max_size: maxBytes, token_file: tokenFile } = config;
  try {
    const token = tokenFile === undefined ? null : await readSecretFile(tokenFile, 'the token for the signed document');
    const { fetchDocument } = await import('./fetch-document.ts');
    return await fetchDocument({ url, trust: await trustOf(config), token, timeoutMs, maxBytes }, etag);
  } catch (error) {
    return { kind: 'failed', why: error instanceof Error ? error.message : String(error) };
  }
}

async function trustOf({ fingerprint, ca_file: caFile }: DocumentConfig): Promise<PeerTrust> {
  const pinned = fingerprint === undefined ? undefined : canonicalFingerprint(fingerprint);
  if (pinned !== undefined) return { kind: 'fingerprint', fingerprint: pinned };
  return caFile === undefined ? { kind: 'system' } : { kind: 'ca', ca: await readFile(caFile, 'utf8') };
}
