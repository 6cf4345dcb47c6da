import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

/*
 * A registry in a process, as far as docker pulls from one (OCI distribution spec 1.1: pull). Names lead to manifests,
 * manifests to blobs, all by their digest. Faults to order: 401, 429, a blob that ends early.
 */

export interface TestRegistry {
  /** `127.0.0.1:PORT`: docker takes a registry on loopback without TLS. */
  host: string;
  /** Puts an image under a name: one layer, and what it runs. Returns the digest of its manifest. */
  push(name: string, tag: string, image: PushedImage): string;
  /** What is answered from now on instead. */
  order(fault: RegistryFault | null): void;
  /** Requests so far, `GET /v2/…`. */
  readonly asked: readonly string[];
  close(): Promise<void>;
}

export interface PushedImage {
  /** A tar. */
  layer: Buffer;
  config: Record<string, unknown>;
}

export type RegistryFault = 'unauthorized' | 'too_many' | 'truncated';

const manifestType = 'application/vnd.oci.image.manifest.v1+json';

interface Stored {
  type: string;
  bytes: Buffer;
}

/** Starts one. `listen`: where the engine reaches it, which may be in another network namespace. */
export async function startRegistry(): Promise<TestRegistry> {
  const stored = new Map<string, Stored>();
  const tags = new Map<string, string>();
  const asked: string[] = [];
  let fault: RegistryFault | null = null;
  const put = (type: string, bytes: Buffer): string => {
    const digest = digestOf(bytes);
    stored.set(digest, { type, bytes });
    return digest;
  };
  const server = createServer((request, response) => {
    asked.push(`${request.method ?? ''} ${request.url ?? ''}`);
    answer(request, response, { stored, tags, fault });
  });
  const port = await listening(server);
  return {
    host: `127.0.0.1:${port}`,
    asked,
    push: (name, tag, { layer, config }) => {
      const full = {
        architecture: 'amd64',
        os: 'linux',
        rootfs: { type: 'layers', diff_ids: [digestOf(layer)] },
        ...config,
      };
      const configBytes = Buffer.from(JSON.stringify(full));
      const manifest = {
        schemaVersion: 2,
        mediaType: manifestType,
        config: descriptor('application/vnd.oci.image.config.v1+json', configBytes, put),
        layers: [descriptor('application/vnd.oci.image.layer.v1.tar', layer, put)],
      };
      const digest = put(manifestType, Buffer.from(JSON.stringify(manifest)));
      tags.set(`${name}:${tag}`, digest);
      return digest;
    },
    order: (next) => {
      fault = next;
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

function descriptor(mediaType: string, bytes: Buffer, put: (type: string, bytes: Buffer) => string) {
  return { mediaType, size: bytes.length, digest: put(mediaType, bytes) };
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

interface Answering {
  stored: ReadonlyMap<string, Stored>;
  tags: ReadonlyMap<string, string>;
  fault: RegistryFault | null;
}

function answer({ url = '', method }: IncomingMessage, response: ServerResponse, own: Answering): ServerResponse {
  response.setHeader('Docker-Distribution-Api-Version', 'registry/2.0');
  if (own.fault === 'unauthorized') {
    response.setHeader('Www-Authenticate', 'Basic realm="test"');
    return refuse(response, 401, 'UNAUTHORIZED', 'authentication required');
  }
  if (own.fault === 'too_many')
    return refuse(response, 429, 'TOOMANYREQUESTS', 'you have reached your pull rate limit');
  if (url === '/v2/' || url === '/v2') return response.writeHead(200).end('{}');
  const match = /^\/v2\/(.+)\/(manifests|blobs)\/([^/?]+)$/.exec(url);
  const [, name = '', kind = '', reference = ''] = match ?? [];
  const digest = reference.startsWith('sha256:') ? reference : own.tags.get(`${name}:${reference}`);
  const found = digest === undefined ? undefined : own.stored.get(digest);
  if (digest === undefined || found === undefined) return refuse(response, 404, 'MANIFEST_UNKNOWN', 'manifest unknown');
  response.setHeader('Docker-Content-Digest', digest);
  response.writeHead(200, { 'Content-Type': found.type, 'Content-Length': found.bytes.length });
  if (method === 'HEAD') return response.end();
  const isCut = own.fault === 'truncated' && kind === 'blobs' && found.type.includes('layer');
  if (!isCut) return response.end(found.bytes);
  response.write(found.bytes.subarray(0, Math.floor(found.bytes.length / 2)), () => response.destroy());
  return response;
}

function refuse(response: ServerResponse, status: number, code: string, message: string): ServerResponse {
  return response
    .writeHead(status, { 'Content-Type': 'application/json' })
    .end(JSON.stringify({ errors: [{ code, message }] }));
}

async function listening(server: Server): Promise<number> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the registry has no port');
  return address.port;
}
