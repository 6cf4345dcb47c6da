import type { TLSSocket } from 'node:tls';
import { buildConnector } from 'undici';

/** A peer that showed another certificate than the pinned one: nothing was sent to it. */
export class WrongCertificate extends Error {
  override readonly name = 'WrongCertificate';
  readonly shown: string;

  constructor(shown: string) {
    super(`the peer shows a certificate with the fingerprint ${shown}`);
    this.shown = shown;
  }
}

/** `AB:CD:…` of a SHA-256 fingerprint in any spelling; undefined when it is none. */
export function canonicalFingerprint(text: string): string | undefined {
  const digits = text
    .replace(/^sha256:/i, '')
    .replaceAll(/[:\s]/g, '')
    .toUpperCase();
  return /^[0-9A-F]{64}$/.test(digits) ? (digits.match(/../g) ?? []).join(':') : undefined;
}

/**
 * A connector that accepts exactly one certificate, whoever signed it. Session resumption is off:
 * a resumed session carries no peer certificate, so that the comparison would fail from the second
 * connection on. The comparison stands before the first byte of a request.
 */
export function pinnedConnector({
  fingerprint,
  timeoutMs,
}: {
  fingerprint: string;
  timeoutMs: number;
}): buildConnector.connector {
  const connect = buildConnector({ rejectUnauthorized: false, maxCachedSessions: 0, timeout: timeoutMs });
  return (options, callback) => {
    connect(options, (...answer) => {
      const [error, socket] = answer;
      if (error !== null) return callback(error, null);
      const shown = shownFingerprint(socket as TLSSocket);
      if (shown === fingerprint) return callback(null, socket);
      socket.destroy();
      callback(new WrongCertificate(shown), null);
    });
  };
}

function shownFingerprint(socket: TLSSocket): string {
  const certificate = typeof socket.getPeerCertificate === 'function' ? socket.getPeerCertificate() : undefined;
  return certificate?.fingerprint256 ?? 'none';
}
