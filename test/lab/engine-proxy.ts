import { rmSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';

/** Stands between a program and an engine's socket, to break single connections. */
export interface EngineProxy {
  /** `DOCKER_HOST` for the program. */
  host: string;
  /** Cuts every open connection whose newest request is for a path that contains `part`. Returns how many there were. */
  cut(part: string): number;
  close(): Promise<void>;
}

/** Listens on `socket` and passes everything on to the engine at `engineSocket`. */
export async function openEngineProxy(socket: string, engineSocket: string): Promise<EngineProxy> {
  const open = new Map<Socket, string>();
  const server: Server = createServer((client) => {
    const engine = createConnection(engineSocket);
    open.set(client, '');
    client.on('data', (chunk: Buffer) => {
      const line = /^(GET|POST|PUT|DELETE|HEAD) \S+ HTTP/.exec(chunk.toString('latin1'));
      if (line !== null) open.set(client, line[0]);
    });
    client.pipe(engine).pipe(client);
    for (const [one, other] of [
      [client, engine],
      [engine, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => {
        other.destroy();
        open.delete(client);
      });
    }
  });
  rmSync(socket, { force: true });
  await new Promise<void>((done) => server.listen(socket, done));
  return {
    host: `unix://${socket}`,
    cut: (part) => {
      const found = [...open].filter(([, request]) => request.includes(part));
      for (const [client] of found) client.destroy();
      return found.length;
    },
    close: async () => {
      const closed = new Promise<void>((done) => server.close(() => done()));
      for (const client of open.keys()) client.destroy();
      await closed;
    },
  };
}
