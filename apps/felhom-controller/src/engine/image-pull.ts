import type { CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { dockerEnvironment } from './compose.ts';
import { composeWords } from './compose-words.ts';

/**
 * `docker pull`, by the client: it knows the registry's credentials and their helpers. The engine checks every digest,
 * and a pull that fails leaves names and images as they were.
 */
export async function pullImage(
  commands: CommandRunner,
  socketPath: string,
  reference: string,
  { boundMs, signal }: { boundMs: number; signal?: AbortSignal },
): Promise<void> {
  const result = await commands.run('docker', ['pull', '--quiet', '--', reference], {
    cwd: '/',
    env: dockerEnvironment(process.env, socketPath),
    timeoutMs: boundMs,
    ...(signal === undefined ? {} : { signal }),
  });
  if (result.exitCode !== 0) throw unavailable(reference, composeWords(result));
}

/** A registry's refusal, with what a person does about it. */
export function unavailable(reference: string, why: string): Failure {
  return new Failure('image_unavailable', {
    message: `the image ${reference} could not be had: ${why}; nothing was stopped`,
    hint: hintFor(reference, why),
  });
}

function hintFor(reference: string, why: string): string {
  if (/unauthorized|denied|401|403|authentication|no basic auth/i.test(why))
    return `Log in as root: docker login ${registryOf(reference)}; then run the same command again.`;
  if (/toomanyrequests|too many requests|rate limit|429/i.test(why))
    return 'The registry limits how much it serves: log in, or run the same command again later.';
  if (/not found|manifest unknown|no such image/i.test(why)) return 'Check the name and the tag in the Compose file.';
  return 'Look at the way to the registry (DNS, proxy, disk space), then run the same command again.';
}

/** The host part of an image's name; the default registry has none (docker's reference grammar). */
export function registryOf(reference: string): string {
  const first = reference.split('/')[0] ?? '';
  const isHost = reference.includes('/') && (first.includes('.') || first.includes(':') || first === 'localhost');
  return isHost ? first : 'docker.io';
}
