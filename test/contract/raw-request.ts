import { X509Certificate } from 'node:crypto';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { connect, type TLSSocket } from 'node:tls';

export interface RawAnswer {
  status: number;
  reason: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface RawRequest {
  method?: string;
  /** From the root: `/api2/json/version`. */
  path: string;
  headers?: Record<string, string>;
  body?: string;
  /** Plain HTTP on the node's port. */
  plain?: boolean;
}

/** Requests below the client: what the node puts on the wire, whether our client would ever ask so or not. */
export function rawDoor(url: string, fingerprint: string): (request: RawRequest) => Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  return async ({ method = 'GET', path, headers = {}, body, plain = false }) => {
    if (!plain) await checkIdentity(hostname, Number(port), fingerprint);
    const options: RequestOptions = {
      hostname,
      port,
      method,
      path,
      headers,
      agent: false,
      rejectUnauthorized: false,
      timeout: 30_000,
    };
    return new Promise((resolve, reject) => {
      const request = (plain ? httpRequest : httpsRequest)(options, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const { statusCode: status = 0, statusMessage: reason = '' } = response;
          resolve({ status, reason, headers: response.headers, body: Buffer.concat(chunks) });
        });
      });
      request.on('error', reject);
      request.on('timeout', () => request.destroy(new Error('no answer within 30 s')));
      request.end(body);
    });
  };
}

/** The suite sends a token: so the raw door looks at the certificate as well. */
function checkIdentity(host: string, port: number, fingerprint: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect({ host, port, rejectUnauthorized: false }, () => {
      const seen = new X509Certificate(socket.getPeerCertificate().raw).fingerprint256;
      socket.destroy();
      if (seen === fingerprint.toUpperCase()) resolve();
      else reject(new Error(`the node shows ${seen}, not the pinned fingerprint`));
    });
    socket.on('error', reject);
  });
}
