import type { CommandResult, CommandRunner } from '@felhom/kernel/command.ts';
import { describe, expect, it } from 'vitest';
import { composeArguments, composeEnvironment, composeRecreate } from './compose.ts';

const service = {
  project: 'shop',
  service: '--help',
  composeFiles: ['/srv/my shop/compose.yaml', '/srv/o;rm -rf /.yaml'],
  envFiles: ['/srv/.env'],
  workingDir: '/srv/my shop',
};

describe('making a container again by Compose', () => {
  it('makes without starting, building, pulling or touching anything else, and takes hostile names for names', () => {
    const expected = (replace: string): string[] => [
      ...['compose', '-p', 'shop', '--project-directory', '/srv/my shop'],
      ...['-f', '/srv/my shop/compose.yaml', '-f', '/srv/o;rm -rf /.yaml', '--env-file', '/srv/.env'],
      ...['up', '--no-start', '--no-deps', replace, '--no-build', '--pull', 'never', '--', '--help'],
    ];
    expect(composeArguments(service, 'missing')).toEqual(expected('--no-recreate'));
    expect(composeArguments(service, 'all')).toEqual(expected('--force-recreate'));
  });

  it('leaves out of the environment what would point it elsewhere', () => {
    const env = {
      PATH: '/bin',
      COMPOSE_FILE: '/x',
      COMPOSE_PROJECT_NAME: 'y',
      DOCKER_HOST: 'tcp://z',
      DOCKER_CONTEXT: 'c',
      DOCKER_CONFIG: '/cfg',
    };
    expect(composeEnvironment(env, '/run/d.sock')).toEqual({
      PATH: '/bin',
      DOCKER_CONFIG: '/cfg',
      DOCKER_HOST: 'unix:///run/d.sock',
    });
  });

  it('holds the run lock meanwhile, and says what Compose said when it fails', async () => {
    const seen: unknown[] = [];
    const failed: CommandResult = {
      exitCode: 1,
      signal: null,
      timedOut: false,
      stdout: '',
      stderr: 'a\nno such file\n',
    };
    const commands: CommandRunner = {
      run: async (_file, _args, options) => {
        seen.push(options.inheritFds, options.cwd);
        return failed;
      },
    };
    await expect(
      composeRecreate(commands, '/run/d.sock', service, { which: 'missing', boundMs: 1_000, inheritFds: [9] }),
    ).rejects.toMatchObject({
      code: 'operation_failed',
      message: expect.stringContaining('no such file'),
    });
    expect(seen).toEqual([[9], '/']);
  });
});
