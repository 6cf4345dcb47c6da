import type { Server as HttpServer } from 'node:http';
import { createServer, type Server } from 'node:https';
import { Failure } from '@felhom/kernel/failure.ts';
import type { AgentConfig } from '../config.ts';
import type { AgentApp } from './app.ts';
import { guestApiListener } from './guest-api.ts';
import { createHostCommands } from './host-commands.ts';
import { createHostServer, listenAt } from './host-socket.ts';
import { limitPerAddress } from './per-address.ts';
import type { Certificate } from './tls.ts';

/** A serving agent. */
export interface Serving {
  /** `https://10.0.3.1:8470`: the port is real where 0 was asked for. */
  url: string;
  port: number;
  fingerprint: string;
  /** Closes both doors. Long polls have ended by then: abort `stop` first. */
  close(): Promise<void>;
}

/**
 * Opens both doors: HTTPS for the guests, the root-only socket for hook and host.
 * @throws Failure `operation_failed` when the address cannot be listened at, `busy` when another agent has the socket.
 */
export async function serve(
  app: AgentApp,
  config: AgentConfig,
  { certificate, lastPort }: { certificate: Certificate; lastPort: number | null },
): Promise<Serving> {
  const host = createHostServer(app.hook, createHostCommands(app));
  await listenAt(host, config.socket);
  const guests = guestServer(app, config, certificate);
  try {
    const port = await listenAgain(guests, config.listen, lastPort);
    const name = config.listen.slice(0, config.listen.lastIndexOf(':'));
    return {
      url: `https://${name}:${port}`,
      port,
      fingerprint: certificate.fingerprint,
      close: async () => {
        await Promise.all([closeServer(guests), closeServer(host)]);
      },
    };
  } catch (error) {
    await closeServer(host);
    throw error;
  }
}

function guestServer(app: AgentApp, { limits }: AgentConfig, { keyPem, certPem }: Certificate): Server {
  const server = createServer(
    {
      key: keyPem,
      cert: certPem,
      minVersion: 'TLSv1.2',
      handshakeTimeout: limits.headers,
      headersTimeout: limits.headers,
      requestTimeout: limits.request,
      keepAliveTimeout: 60_000,
      maxHeaderSize: limits.header_bytes,
      connectionsCheckingInterval: Math.max(100, Math.min(5_000, limits.headers / 2)),
    },
    guestApiListener(app.api),
  );
  server.maxConnections = limits.connections;
  limitPerAddress(server, limits.per_address);
  // An apps' downtime must not wait for Nagle.
  server.on('secureConnection', (socket) => socket.setNoDelay(true));
  return server;
}

/** Where any port will do, the one of the last start goes first: the guests know it. */
async function listenAgain(server: Server, listen: string, lastPort: number | null): Promise<number> {
  if (lastPort === null || !listen.endsWith(':0')) return await listenTcp(server, listen);
  try {
    return await listenTcp(server, `${listen.slice(0, -1)}${lastPort}`);
  } catch {
    return await listenTcp(server, listen);
  }
}

async function listenTcp(server: Server, listen: string): Promise<number> {
  const colon = listen.lastIndexOf(':');
  const host = listen.slice(0, colon).replace(/^\[|\]$/g, '');
  return await new Promise((resolve, reject) => {
    const fail = (cause: Error): void => {
      reject(
        new Failure('operation_failed', {
          message: `cannot listen at ${listen}: ${cause.message}; the agent is not serving, guests keep running`,
          hint: 'Free the address, or change listen in agent.yaml.',
          cause,
        }),
      );
    };
    server.once('error', fail);
    server.listen(Number(listen.slice(colon + 1)), host, () => {
      server.off('error', fail);
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
}

async function closeServer(server: Server | HttpServer): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
