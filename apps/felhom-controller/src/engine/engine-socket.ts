import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';

const defaultSocket = '/var/run/docker.sock';
const cliConfig = z.object({ currentContext: z.string().optional() });
const contextMeta = z.object({ Endpoints: z.object({ docker: z.object({ Host: z.string().optional() }).optional() }) });

/**
 * The unix socket of the engine that the docker command would use: DOCKER_HOST, else the current
 * context of the docker configuration, else the default. Anything but a unix socket is refused
 * (`docker_unsupported`): apps on another machine do not lie in this guest's backup.
 */
export async function findEngineSocket(env: Readonly<Record<string, string | undefined>>): Promise<string> {
  const host = env['DOCKER_HOST'];
  if (host !== undefined && host !== '') return socketOf(host, 'DOCKER_HOST');
  const folder = env['DOCKER_CONFIG'] ?? join(env['HOME'] ?? homedir(), '.docker');
  const name = env['DOCKER_CONTEXT'] ?? (await currentContext(folder));
  if (name === undefined || name === '' || name === 'default') return defaultSocket;
  const digest = createHash('sha256').update(name).digest('hex');
  const endpoint = await readJson(join(folder, 'contexts', 'meta', digest, 'meta.json'), contextMeta);
  const contextHost = endpoint?.Endpoints.docker?.Host;
  if (contextHost === undefined) {
    throw new Failure('docker_unsupported', {
      message: `the docker context ${name} cannot be read in ${folder}; nothing was stopped`,
      hint: 'Set DOCKER_HOST=unix:///path/to/docker.sock, or select another context: docker context use default',
    });
  }
  return socketOf(contextHost, `the docker context ${name}`);
}

function socketOf(host: string, from: string): string {
  if (host.startsWith('unix://') && host.length > 'unix://'.length) return host.slice('unix://'.length);
  throw new Failure('docker_unsupported', {
    message: `${from} names ${host}: only an engine on a unix socket of this guest can be backed up with it; nothing was stopped`,
    hint: 'Unset DOCKER_HOST, or set DOCKER_HOST=unix:///var/run/docker.sock',
  });
}

async function currentContext(folder: string): Promise<string | undefined> {
  return (await readJson(join(folder, 'config.json'), cliConfig))?.currentContext;
}

/** The file's content, or undefined when it is absent or something else: the docker command ignores it then, too. */
async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    // Absent, unreadable or foreign: the caller has a default or a clear refusal.
    return undefined;
  }
}
