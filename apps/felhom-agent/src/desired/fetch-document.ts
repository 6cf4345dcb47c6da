import { type PeerTrust, verifiedConnector } from '@felhom/pinned-tls/connector.ts';
import { Agent } from 'undici';

export type Fetched =
  | { kind: 'document'; bytes: Buffer; etag: string | null }
  /** What the ETag stands for is still what is there. */
  | { kind: 'unchanged' }
  /** Nothing was had; `why` is for people. */
  | { kind: 'failed'; why: string };

export interface DocumentSource {
  /** `https://…` */
  url: string;
  trust: PeerTrust;
  /** Sent as a bearer token; null: none. */
  token: string | null;
  /** Connecting, headers and body together. */
  timeoutMs: number;
  maxBytes: number;
}

/**
 * Asks once, and never throws. Redirects are not followed: a server that may send us elsewhere would
 * choose who is asked, and the token would go there too. `signal` ends it early.
 */
export async function fetchDocument(
  source: DocumentSource,
  etag: string | null,
  signal?: AbortSignal,
): Promise<Fetched> {
  const { url, trust, token, timeoutMs } = source;
  const { origin, pathname, search } = new URL(url);
  const dispatcher = new Agent({ connect: verifiedConnector(trust, timeoutMs), headersTimeout: 0, bodyTimeout: 0 });
  const limit = AbortSignal.timeout(timeoutMs);
  try {
    const answer = await dispatcher.request({
      origin,
      path: `${pathname}${search}`,
      method: 'GET',
      headers: {
        accept: 'application/json',
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(etag === null ? {} : { 'if-none-match': etag }),
      },
      signal: signal === undefined ? limit : AbortSignal.any([limit, signal]),
    });
    return await read(answer, source, etag);
  } catch (error) {
    if (limit.aborted) return failed(`it did not answer within ${timeoutMs / 1000} s`);
    return failed(error instanceof Error ? error.message : String(error));
  } finally {
    await dispatcher.destroy();
  }
}

type Answer = Awaited<ReturnType<Agent['request']>>;

async function read(
  { statusCode, headers, body }: Answer,
  source: DocumentSource,
  etag: string | null,
): Promise<Fetched> {
  if (statusCode === 304)
    return etag === null ? failed('it answers 304 to a question that had no condition') : { kind: 'unchanged' };
  if (statusCode >= 300 && statusCode < 400) return failed(`it redirects (HTTP ${statusCode}), which is not followed`);
  if (statusCode !== 200) return failed(`it answers HTTP ${statusCode}`);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > source.maxBytes) return failed(`it sends more than ${source.maxBytes} bytes`);
    chunks.push(chunk);
  }
  const whole = Buffer.concat(chunks);
  if (/^\s*</.test(whole.subarray(0, 64).toString('latin1'))) return failed('it answers with a web page');
  return { kind: 'document', bytes: whole, etag: usableEtag(headers['etag']) };
}

/** A validator that can be sent back as it is; null for any other. */
function usableEtag(value: string | string[] | undefined): string | null {
  return typeof value === 'string' && /^(W\/)?"[\x21\x23-\x7e]{0,256}"$/.test(value) ? value : null;
}

function failed(why: string): Fetched {
  return { kind: 'failed', why };
}
