import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { registerSecret } from '@felhom/kernel/redact.ts';
import { z } from 'zod';
import { registryOf } from './image-pull.ts';

const clientConfig = z.object({ auths: z.record(z.string(), z.object({ auth: z.string().optional() })).optional() });

/**
 * The header with which the engine asks a registry on our behalf (`X-Registry-Auth`), from what `docker login` left in
 * the client's own file. Credentials kept by a helper are not read: the question is then asked without any.
 */
export async function registryAuth(
  reference: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Record<string, string>> {
  const folder = env['DOCKER_CONFIG'] ?? join(env['HOME'] ?? '/root', '.docker');
  const text = await readFile(join(folder, 'config.json'), 'utf8').catch(() => '{}'); // Nobody has logged in.
  const parsed = clientConfig.safeParse(parseJson(text));
  const registry = registryOf(reference);
  const names = registry === 'docker.io' ? ['https://index.docker.io/v1/', 'docker.io'] : [registry];
  const auth = parsed.success ? names.map((name) => parsed.data.auths?.[name]?.auth).find(Boolean) : undefined;
  if (auth === undefined) return {};
  const [username = '', ...rest] = Buffer.from(auth, 'base64').toString('utf8').split(':');
  const password = rest.join(':');
  if (password !== '') registerSecret(password);
  const value = JSON.stringify({ username, password, serveraddress: registry });
  return { 'X-Registry-Auth': Buffer.from(value).toString('base64url') };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {}; // The client would complain itself; here nobody is logged in.
  }
}
