import type { CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { ComposeService, RecreateRequest } from './engine.ts';

/**
 * Makes the containers of a service from the files that Compose recorded on the old one.
 * `--no-start`: `up` would also start replicas that were off before; what ran is started
 * afterwards, by id. Images are never built or pulled here: a resume must not wait for a registry.
 */
export async function composeRecreate(
  commands: CommandRunner,
  socketPath: string,
  service: ComposeService,
  { which, boundMs, inheritFds }: RecreateRequest,
): Promise<void> {
  const result = await commands.run('docker', composeArguments(service, which), {
    cwd: '/',
    env: composeEnvironment(process.env, socketPath),
    timeoutMs: boundMs,
    inheritFds,
  });
  if (result.exitCode === 0) return;
  const words = result.spawnError?.message ?? result.stderr.trim().split('\n').at(-1) ?? '';
  throw new Failure('operation_failed', {
    message: `docker compose could not make ${service.project}/${service.service} again: ${result.timedOut ? 'it took too long' : words}`,
    hint: `Bring the stack up by hand (docker compose -p ${service.project} up -d), then: felhom-controller recover`,
  });
}

export function composeArguments(
  { project, service, composeFiles, envFiles, workingDir }: ComposeService,
  which: RecreateRequest['which'],
): string[] {
  const replace = which === 'all' ? '--force-recreate' : '--no-recreate';
  return [
    'compose',
    ...['-p', project],
    ...(workingDir === null ? [] : ['--project-directory', workingDir]),
    ...composeFiles.flatMap((file) => ['-f', file]),
    ...envFiles.flatMap((file) => ['--env-file', file]),
    ...['up', '--no-start', '--no-deps', replace, '--no-build', '--pull', 'never', '--', service],
  ];
}

/** Ours without what would point Compose or docker elsewhere. */
export function composeEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  socketPath: string,
): Record<string, string> {
  const kept = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !/^(COMPOSE_|DOCKER_)/.test(entry[0]),
  );
  const config = env['DOCKER_CONFIG'];
  return {
    ...Object.fromEntries(kept),
    ...(config === undefined ? {} : { DOCKER_CONFIG: config }),
    DOCKER_HOST: `unix://${socketPath}`,
  };
}
