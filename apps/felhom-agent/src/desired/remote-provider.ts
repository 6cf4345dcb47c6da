import type { Clock } from '@felhom/kernel/clock.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { Desired } from '../reconcile/model.ts';
import type { DesiredDocument } from './document.ts';
import type { Fetched } from './fetch-document.ts';
import { type GuestDocuments, parseGuestDocuments, toDesired } from './guest-documents.ts';
import { type DocumentRules, openDocument } from './judge-document.ts';
import type { Kept } from './kept-document.ts';
import type { DesiredProvider } from './provider.ts';
import { settleDocument, troublesOf } from './settle-document.ts';

/*
 * Invariants
 * - What is in force is what the store has. It is opened anew whenever it is read: a key that was revoked
 *   since takes its documents with it.
 * - Whatever the source does, the document in force stays in force, and what is wrong is said.
 * - The source is asked at most every `everyMs`, and less often while it cannot be had; each answer is bounded by `fetch`.
 */

/** What is kept, changed by one process at a time. */
export interface DocumentStore {
  /** Throws Failure `state_unreadable` or `state_newer`: without the serial that was seen, an old document could come back. */
  read(): Promise<Kept>;
  /** `how` answers its argument when nothing is to be written. */
  change(how: (kept: Kept) => Kept): Promise<Kept>;
}

export interface RemoteProviderPorts {
  url: string;
  /** Asks once, bounded; never throws. */
  fetch: (etag: string | null) => Promise<Fetched>;
  store: DocumentStore;
  /** Read anew for each pass: who is revoked is revoked at once. */
  rules: () => Promise<Pick<DocumentRules, 'signers' | 'agentId' | 'maxBytes'>>;
  clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  everyMs: number;
}

const longestBackoffMs = 10 * 60_000;

/** The declaration of a signed document at an address. Throws Failure where no document is in force. */
export function remoteProvider(ports: RemoteProviderPorts): DesiredProvider {
  const { url, store, clock } = ports;
  const pace = askingPace(ports);
  const guestsOf = rememberLast(async (document: DesiredDocument) => await guestsIn(document, url));
  return {
    read: async () => {
      const rules = await ports.rules();
      let kept = await store.read();
      if (pace.isDue()) {
        const fetched = await ports.fetch(kept.document?.url === url ? kept.document.etag : null);
        pace.asked(fetched.kind !== 'failed');
        kept = await store.change((now) => settleDocument(now, fetched, { ...rules, url, nowMs: clock.nowMs() }));
      }
      const troubles = troublesOf(kept, url, clock.nowMs());
      if (kept.document === null) throw nothingInForce(kept, troubles);
      const opened = openDocument(Buffer.from(kept.document.envelope), rules);
      if (opened.kind === 'refused') throw noLongerGood(kept, opened, troubles);
      const desired = toDesired(
        await guestsOf(opened.payloadSha256, opened.document),
        `serial ${opened.document.serial}`,
      );
      return withTroubles(desired, troubles, url);
    },
  };
}

/** The guests of a document, each of its files parsed as one in guests.d is. */
export async function guestsIn({ files }: DesiredDocument, url: string): Promise<GuestDocuments> {
  return await parseGuestDocuments(files.map(({ name, text }) => ({ text, source: `${url}#/${name}` })));
}

function withTroubles(desired: Desired, troubles: readonly string[], url: string): Desired {
  if (troubles.length === 0) return desired;
  const told = troubles.map((message) => ({ source: url, vmid: null, message, about: 'source' as const }));
  return { ...desired, problems: [...told, ...desired.problems] };
}

/** When to ask: at once, then every `everyMs`, twice as long after each failure. */
function askingPace({ clock, everyMs }: Pick<RemoteProviderPorts, 'clock' | 'everyMs'>) {
  let nextMs = Number.NEGATIVE_INFINITY;
  let failures = 0;
  return {
    isDue: () => clock.monotonicMs() >= nextMs,
    asked: (well: boolean) => {
      failures = well ? 0 : failures + 1;
      const waitMs = well ? everyMs : Math.max(everyMs, Math.min(longestBackoffMs, everyMs * 2 ** (failures - 1)));
      nextMs = clock.monotonicMs() + waitMs;
    },
  };
}

/** Thousands of files are not parsed again in every pass. */
function rememberLast<A, R>(make: (from: A) => Promise<R>): (key: string, from: A) => Promise<R> {
  let last: { key: string; value: R } | null = null;
  return async (key, from) => {
    if (last?.key !== key) last = { key, value: await make(from) };
    return last.value;
  };
}

function nothingInForce({ trouble }: Kept, troubles: readonly string[]): Failure {
  const [why = 'nothing was had yet'] = troubles;
  const refused = trouble !== null && trouble.reason !== 'unreachable';
  return new Failure(refused ? 'policy_refused' : 'desired_unavailable', {
    message: `${why}; no document is in force, and guests stay as they are`,
    hint: refused
      ? 'felhom-agent desired verify FILE says what is wrong with a document. Sign a new one: felhom-agent desired sign --help'
      : 'Check guests_document in agent.yaml and the server that it names, then run the command again.',
  });
}

function noLongerGood(
  { document }: Kept,
  opened: { reason: string; detail: string },
  troubles: readonly string[],
): Failure {
  const other = troubles.length === 0 ? '' : ` (${troubles[0]})`;
  return new Failure('policy_refused', {
    message: `the document with serial ${document?.serial} that was in force is good no longer (${opened.reason}): ${opened.detail}; guests stay as they are${other}`,
    hint: 'Sign a new document, with a higher serial, by a key that guests_document.signers names: felhom-agent desired sign --help',
  });
}
