import { connect } from 'node:net';
import { request } from 'undici';
import type { Probe, ProbePort } from '../upgrade/ports.ts';

/** Asks an app from outside, as its users do. */
export const networkProbe: ProbePort = {
  ask: async (probe, boundMs) => (probe.kind === 'http' ? await askHttp(probe, boundMs) : await askTcp(probe, boundMs)),
};

async function askHttp({ url, status }: Extract<Probe, { kind: 'http' }>, boundMs: number): Promise<string | null> {
  try {
    const answer = await request(url, { signal: AbortSignal.timeout(boundMs), headersTimeout: boundMs });
    await answer.body.dump({ limit: 1024 * 1024, signal: AbortSignal.timeout(boundMs) }).catch(() => undefined); // Its head is what counts.
    const { statusCode } = answer;
    if (statusCode >= status.from && statusCode <= status.to) return null;
    return `it answers ${statusCode}, expected is ${status.from} to ${status.to}`;
  } catch (error) {
    return wordsOf(error);
  }
}

async function askTcp({ host, port }: Extract<Probe, { kind: 'tcp' }>, boundMs: number): Promise<string | null> {
  return await new Promise((resolve) => {
    const socket = connect({ host, port, timeout: boundMs });
    const end = (why: string | null): void => {
      socket.destroy();
      resolve(why);
    };
    socket.once('connect', () => end(null));
    socket.once('timeout', () => end(`no connection within ${boundMs} ms`));
    socket.once('error', (error) => end(wordsOf(error)));
  });
}

function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message === '' && 'code' in error ? String(error.code) : error.message;
}
