import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import type { Certificate } from '../state/certificate.ts';

const tlsHandshakeByte = 0x16;

export interface Listener {
  host: string;
  port: number;
  close(): Promise<void>;
}

type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** Serves HTTPS; plain HTTP on the same port is answered `301 Moved Permanently`, as port 8006 does. */
export async function listen(address: string, certificate: Certificate, onRequest: RequestHandler): Promise<Listener> {
  const secure = createHttpsServer(
    { key: certificate.key, cert: certificate.cert, keepAliveTimeout: 5_000 },
    onRequest,
  );
  const plain = createHttpServer((request, response) => {
    const location = `https://${request.headers.host ?? 'localhost'}${request.url ?? '/'}`;
    response.writeHead(301, 'Moved Permanently', { Location: location, Connection: 'close' }).end();
  });
  const sockets = new Set<Socket>();
  const front = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.once('data', (first) => {
      socket.pause();
      socket.unshift(first);
      (first[0] === tlsHandshakeByte ? secure : plain).emit('connection', socket);
      process.nextTick(() => socket.resume());
    });
  });
  secure.on('tlsClientError', () => {}); // a caller that refuses our certificate is its own business
  const { host, port } = splitAddress(address);
  await new Promise<void>((resolve, reject) => {
    front.once('error', reject);
    front.listen(port, host, resolve);
  });
  const bound = front.address() as AddressInfo;
  return {
    host,
    port: bound.port,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => front.close(() => resolve()));
    },
  };
}

function splitAddress(address: string): { host: string; port: number } {
  const at = address.lastIndexOf(':');
  return { host: address.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(address.slice(at + 1)) };
}
