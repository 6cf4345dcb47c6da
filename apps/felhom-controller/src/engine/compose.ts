import { userInfo } from 'node:os';
import type { CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { composeWords } from './compose-words.ts';
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
    env: composeEnvironment(process.env, { socketPath, workingDir: service.workingDir }),
    timeoutMs: boundMs,
    inheritFds,
  });
  if (result.exitCode === 0) return;
  throw new Failure('operation_failed', {
    message: `docker compose could not make ${service.project}/${service.service} again: ${composeWords(result)}`,
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

/**
 * What Compose is given of an environment: nothing of whoever types the command. Compose puts variables of its environment
 * into a project's definition, and the recovery of a timer or at boot has none of a person's shell: what was one definition
 * there would be another one here. What a project needs stands in its `.env`. `HOME` (`~` in a path) is the user's own by the
 * user database, as systemd sets none; `PWD` is where Compose is run by those who name paths by it.
 */
export function composeEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  { socketPath, workingDir }: { socketPath: string; workingDir: string | null },
): Record<string, string> {
  const kept = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && passedOn.has(entry[0]),
  );
  return {
    ...Object.fromEntries(kept),
    HOME: userInfo().homedir,
    ...(workingDir === null ? {} : { PWD: workingDir }),
    DOCKER_HOST: `unix://${socketPath}`,
  };
}

const passedOn: ReadonlySet<string> = new Set(['PATH', 'LANG', 'LC_ALL', 'TMPDIR', 'DOCKER_CONFIG']);

/** Ours without what would point docker elsewhere; credential helpers may need anything of it. */
export function dockerEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  socketPath: string,
): Record<string, string> {
  const kept = Object.entries(env).filter(
    (entry): entry is [string, string] =>
      entry[1] !== undefined && (entry[0] === 'DOCKER_CONFIG' || !/^(COMPOSE_|DOCKER_)/.test(entry[0])),
  );
  return { ...Object.fromEntries(kept), DOCKER_HOST: `unix://${socketPath}` };
}
