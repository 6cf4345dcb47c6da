import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import {
  loadConfig,
  loadConfigForRecovery,
  loadExistingConfig,
  locateConfig,
  quiescePolicy,
  showConfig,
} from './config.ts';
import { quiesceBounds } from './config-bounds.ts';
import { defaultBounds } from './quiesce/bounds.ts';
import { quickPlaces } from './state/places.ts';
import { defaultUpgradeBounds } from './upgrade/bounds.ts';
import { upgradeBounds } from './upgrade/upgrade-config.ts';

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-config-'));
  file = join(folder, 'controller.yaml');
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

const agents = `agents: [{ url: "https://10.0.3.1:8470", fingerprint: "${'CD:'.repeat(31)}CD" }]\n`;

async function load(text: string, flags: { stateDir?: string } = {}, env: NodeJS.ProcessEnv = {}) {
  await writeFile(file, text);
  return await loadConfig(locateConfig({ config: file, ...flags }, env));
}

describe('the configuration', () => {
  it('without a file has the defaults that the design states', async () => {
    const { config, exists } = await loadConfig(locateConfig({ config: file }, {}));
    expect(exists).toBe(false);
    expect(quiesceBounds(config.bounds)).toEqual(defaultBounds);
    expect(upgradeBounds(config.upgrade)).toEqual(defaultUpgradeBounds);
    expect(showConfig(config)).toEqual({
      agents: [],
      token_file: '/etc/felhom/token',
      state_dir: '/var/lib/felhom',
      run_dir: '/run/felhom',
      unit_dir: '/etc/systemd/system',
      grade: 'app-consistent',
      history: 200,
      stacks: {},
      upgrade: {
        block_file: '/etc/felhom/upgrade.blocked',
        max_upgrade: '2h',
        stable: '30s',
        health_margin: '1m',
        look_every: '250ms',
        retry: '5s',
        probe: '5s',
        pull: '30m',
        registry: '30s',
        up: '15m',
        verify_limit: '1h',
        min_free: '64MiB',
      },
      snapshots: { keep: 3 },
      bounds: {
        max_quiesce: '10m',
        max_wait: '4h',
        stop_margin: '15s',
        sync: '10s',
        command: '1m',
        start: '1m',
        dependency_health: '2m',
        pay_retry: '5m',
        pay_backoff: '250ms',
        pay_backoff_limit: '15s',
        no_task: '30s',
        hung_holder: '1m',
        poll: '4s',
        poll_retry: '500ms',
        agent_silence: '10m',
        last_poll: '2s',
        health_margin: '5s',
        max_follow: '1d',
        proof_look: '1s',
        lock_patience: '10s',
        agent_connect: '5s',
        agent_answer: '15s',
        watch_poll: '50s',
        watch_backoff: '2s',
        watch_backoff_limit: '30s',
      },
    });
  });

  it('is /etc/felhom/controller.yaml unless flag or environment names another', () => {
    expect(locateConfig({}, {}).file).toBe('/etc/felhom/controller.yaml');
    expect(locateConfig({}, { FELHOM_CONFIG: '/a' }).file).toBe('/a');
    expect(locateConfig({ config: '/b' }, { FELHOM_CONFIG: '/a' }).file).toBe('/b');
  });

  it('puts the flag before the environment, and the environment before the file', async () => {
    const text = 'state_dir: /from/file\nrun_dir: /run/file\ntoken_file: /token/file\n';
    const env = { FELHOM_STATE_DIR: '/from/env', FELHOM_RUN_DIR: '/run/env', FELHOM_TOKEN_FILE: '/token/env' };
    expect((await load(text)).config).toMatchObject({
      state_dir: '/from/file',
      run_dir: '/run/file',
      token_file: '/token/file',
    });
    expect((await load(text, {}, env)).config).toMatchObject({
      state_dir: '/from/env',
      run_dir: '/run/env',
      token_file: '/token/env',
    });
    expect((await load(text, { stateDir: '/from/flag' }, env)).config.state_dir).toBe('/from/flag');
  });

  it('shown and read again is the same', async () => {
    const { config } = await load(`${agents}bounds: { max_quiesce: 90s }\nstacks: { web: { quiesce: keep } }\n`);
    expect((await load(stringify(showConfig(config)))).config).toEqual(config);
  });

  it('hands policies of stacks to the cycle as they are', async () => {
    const { config } = await load(
      'stacks:\n  traefik: { quiesce: keep }\n  nextcloud: { before_stop: "app: occ maintenance:mode --on" }\n',
    );
    expect(quiescePolicy(config)).toEqual({
      stacks: {
        traefik: { quiesce: 'keep' },
        nextcloud: { quiesce: 'stop', before_stop: 'app: occ maintenance:mode --on' },
      },
    });
  });

  it('names the place of a mistake', async () => {
    await expect(load('agents: [{ url: "http://h:1", fingerprint: "AB" }]\n')).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(
        /^2 mistakes in the configuration\n.*controller\.yaml:1:17: agents\.0\.url: expected an address/,
      ),
    });
  });

  it('wants the service before a command, and says so where it is missing', async () => {
    for (const text of ['occ', '":"', '{ app: occ }']) {
      await expect(load(`stacks: { web: { before_stop: ${text} } }\n`)).rejects.toMatchObject({
        code: 'config_invalid',
        message: expect.stringMatching(/controller\.yaml:1:\d+: stacks\.web\.before_stop: expected "service: command"/),
      });
    }
  });

  it('that we ship as an example is a good one', async () => {
    const example = fileURLToPath(new URL('../../../examples/controller.yaml', import.meta.url));
    expect((await loadExistingConfig(locateConfig({ config: example }, {}))).config.agents).toHaveLength(1);
  });

  it('without an agent is no configuration for commands that ask one', async () => {
    await expect(loadExistingConfig(locateConfig({ config: file }, {}))).rejects.toMatchObject({
      code: 'config_missing',
      exit: 2,
    });
    await writeFile(file, 'state_dir: /a\n');
    await expect(loadExistingConfig(locateConfig({ config: file }, {}))).rejects.toMatchObject({
      code: 'config_missing',
    });
  });
});

describe('the configuration of a recovery', () => {
  it('is the usual one where it can be read', async () => {
    await writeFile(file, 'state_dir: /a/b\n');
    expect(await loadConfigForRecovery(locateConfig({ config: file }, {}))).toMatchObject({
      warning: null,
      config: { state_dir: '/a/b' },
    });
  });

  it('keeps the places of state of a broken one, and says that it is broken', async () => {
    await writeFile(file, 'state_dir: /a/b # here\nrun_dir: "/c d"\nagents: [oops\nmax_quiese: 1\n');
    const loaded = await loadConfigForRecovery(locateConfig({ config: file }, {}));
    expect(loaded.warning).toMatch(/^the configuration is broken, defaults are used: /);
    expect(loaded.config).toMatchObject({ state_dir: '/a/b', run_dir: '/c d' });
    expect(quiesceBounds(loaded.config.bounds)).toEqual(defaultBounds);
  });

  it('takes a flag before a broken file', async () => {
    await writeFile(file, 'state_dir: /a/b\nwhat: 1\n');
    expect((await loadConfigForRecovery(locateConfig({ config: file, stateDir: '/f' }, {}))).config.state_dir).toBe(
      '/f',
    );
  });
});

describe('the places that status reads without YAML', () => {
  const path = fc.stringMatching(/^\/[a-z0-9 ._'"#:-]{0,12}$/).filter((text) => text.trim() === text);

  it('are those that YAML tells, for every file that it understands', async () => {
    await fc.assert(
      fc.asyncProperty(
        path,
        path,
        fc.constantFrom('PLAIN', 'QUOTE_SINGLE', 'QUOTE_DOUBLE'),
        async (state, run, style) => {
          const text = stringify(
            { state_dir: state, run_dir: run, stacks: { web: { quiesce: 'keep' } } },
            { defaultStringType: style },
          );
          await writeFile(file, text);
          const quick = quickPlaces({ config: file }, {});
          const { config } = await loadConfig(locateConfig({ config: file }, {}));
          if (quick !== undefined)
            expect(quick).toMatchObject({ stateDir: config.state_dir, runDir: config.run_dir, configured: true });
        },
      ),
      { numRuns: 300 },
    );
  });

  it('are left to YAML where the file is written in another way', async () => {
    for (const text of [
      '{ state_dir: /a }',
      'state_dir: &x /a\nrun_dir: *x\n',
      'state_dir: >\n  /a\n',
      '"state_dir": /a\n',
    ]) {
      await writeFile(file, text);
      expect(quickPlaces({ config: file }, {})).toBeUndefined();
    }
  });

  it('are flag over environment over file, as everywhere', async () => {
    await writeFile(file, 'state_dir: /from/file\n');
    expect(quickPlaces({ config: file }, {})?.stateDir).toBe('/from/file');
    expect(quickPlaces({ config: file }, { FELHOM_STATE_DIR: '/from/env' })?.stateDir).toBe('/from/env');
    expect(quickPlaces({ config: file, stateDir: '/from/flag' }, { FELHOM_STATE_DIR: '/from/env' })?.stateDir).toBe(
      '/from/flag',
    );
  });
});
