import { userInfo } from 'node:os';
import type { CommandResult, CommandRunner } from '@felhom/kernel/command.ts';
import { describe, expect, it } from 'vitest';
import { composeArguments, composeEnvironment, composeRecreate, dockerEnvironment } from './compose.ts';

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

  it('gives Compose nothing of the shell of whoever types, so that a recovery at boot makes the same of the same files', () => {
    const shell = {
      PATH: '/bin',
      HOME: '/home/typist',
      PWD: '/root',
      TAG: 'v3',
      COMPOSE_FILE: '/x',
      DOCKER_HOST: 'tcp://z',
    };
    const seen = composeEnvironment(
      { ...shell, DOCKER_CONFIG: '/cfg' },
      { socketPath: '/run/d.sock', workingDir: '/srv/shop' },
    );
    expect(seen).toEqual({
      PATH: '/bin',
      HOME: userInfo().homedir,
      PWD: '/srv/shop',
      DOCKER_CONFIG: '/cfg',
      DOCKER_HOST: 'unix:///run/d.sock',
    });
    const atBoot = composeEnvironment({ PATH: '/bin' }, { socketPath: '/run/d.sock', workingDir: '/srv/shop' });
    expect({ ...atBoot, DOCKER_CONFIG: '/cfg' }).toEqual(seen);
  });

  it('leaves out of the environment of a pull what would point it elsewhere', () => {
    const env = { AWS_PROFILE: 'p', DOCKER_HOST: 'tcp://z', DOCKER_CONTEXT: 'c', DOCKER_CONFIG: '/cfg' };
    expect(dockerEnvironment(env, '/run/d.sock')).toEqual({
      AWS_PROFILE: 'p',
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
