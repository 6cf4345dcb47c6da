import type { SignerKey } from '@felhom/signed-document/keys.ts';
import type { Fetched } from './fetch-document.ts';
import { type Judgement, judgeDocument, type Seen } from './judge-document.ts';
import type { Kept, KeptDocument, Trouble } from './kept-document.ts';

export interface SettleRules {
  url: string;
  signers: readonly SignerKey[];
  agentId: string;
  /** Of the envelope. */
  maxBytes: number;
  nowMs: number;
}

/**
 * What is kept after the source was asked: a good new document takes the place of the old one, anything
 * else leaves it in force and says what is wrong. Pure; answers `kept` itself when nothing is different.
 */
export function settleDocument(kept: Kept, fetched: Fetched, rules: SettleRules): Kept {
  if (fetched.kind === 'failed') return withTrouble(kept, 'unreachable', fetched.why, rules.nowMs);
  if (fetched.kind === 'unchanged') return withoutTrouble(kept);
  const judged = judgeDocument(fetched.bytes, { ...rules, seen: seenIn(kept) });
  if (judged.kind === 'refused') return withTrouble(kept, judged.reason, judged.detail, rules.nowMs);
  if (judged.kind === 'same') return withoutTrouble(signedAnew(kept, keep(judged, fetched, rules)));
  return { document: keep(judged, fetched, rules), trouble: null };
}

/** What a new document is measured by. */
export function seenIn({ document }: Kept): Seen | null {
  if (document === null) return null;
  return { serial: document.serial, payloadSha256: document.payload_sha256, atMs: document.accepted_ms };
}

function keep(
  { document, payloadSha256, keyIds }: Exclude<Judgement, { kind: 'refused' }>,
  { bytes, etag }: Extract<Fetched, { kind: 'document' }>,
  { url, nowMs }: SettleRules,
): KeptDocument {
  const { serial, issued, expires } = document;
  return {
    url,
    envelope: bytes.toString('utf8'),
    etag,
    serial,
    payload_sha256: payloadSha256,
    issued,
    expires,
    accepted_at: new Date(nowMs).toISOString(),
    accepted_ms: nowMs,
    key_ids: [...keyIds],
  };
}

/** The document in force as it came last: its signatures, its address and its validator may be others by now. */
function signedAnew(kept: Kept, { url, envelope, etag, key_ids: keyIds }: KeptDocument): Kept {
  const { document } = kept;
  if (document === null) return kept;
  if (document.url === url && document.envelope === envelope && document.etag === etag) return kept;
  return { ...kept, document: { ...document, url, envelope, etag, key_ids: keyIds } };
}

/** One trouble keeps its beginning, however its words change. */
function withTrouble(kept: Kept, reason: string, message: string, nowMs: number): Kept {
  const { trouble } = kept;
  if (trouble?.reason === reason && trouble.message === message) return kept;
  const since = trouble?.reason === reason ? trouble.since : new Date(nowMs).toISOString();
  return { ...kept, trouble: { since, reason, message } };
}

function withoutTrouble(kept: Kept): Kept {
  return kept.trouble === null ? kept : { ...kept, trouble: null };
}

/** What a person must hear of the source; empty when all is well. */
export function troublesOf({ document, trouble }: Kept, url: string, nowMs: number): string[] {
  const found = trouble === null ? [] : [describeTrouble(trouble, url)];
  if (document !== null && Date.parse(document.expires) <= nowMs)
    found.push(`the document in force expired at ${document.expires}, and no newer one came from ${url}`);
  if (document === null) return found;
  return found.map(
    (text) =>
      `${text}; the document with serial ${document.serial}, accepted at ${document.accepted_at}, stays in force`,
  );
}

function describeTrouble({ since, reason, message }: Trouble, url: string): string {
  if (reason === 'unreachable') return `no document is had from ${url} since ${since}: ${message}`;
  return `the document at ${url} is refused (${reason}) since ${since}: ${message}`;
}
