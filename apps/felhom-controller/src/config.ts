import { join, resolve } from 'node:path';
import { type Override, parseConfig, readConfigText } from '@felhom/cli/config-file.ts';
import { formatDuration } from '@felhom/cli/quantity.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import { boundsSchema } from './config-bounds.ts';
import { parseServiceCommand } from './quiesce/plan.ts';
import type { QuiescePolicy } from './quiesce/policy.ts';
import type { DeclaredStack } from './stacks/declared.ts';
import { defaultConfigFile, defaultRunDir, defaultStateDir, placesInText } from './state/places.ts';
import { stackUpgrade, upgradeSection } from './upgrade/upgrade-config.ts';

const seeSchema = 'Correct it, then run: felhom-controller config check (config schema tells every key).';

const wrongCommand = 'expected "service: command", quoted as a whole, such as "app: php occ maintenance:mode --on"';
const serviceCommand = z
  .string(wrongCommand)
  .max(4096)
  .refine((text) => parseServiceCommand(text) !== null, wrongCommand);

const absolutePath = z.string().regex(/^\//, 'expected an absolute path');

const stackSnapshots = z.strictObject({
  include: z
    .array(absolutePath)
    .max(64)
    .default([])
    .describe("folders outside of the project's own that belong to it, and what lies in them"),
  exclude: z
    .array(z.string().max(4096))
    .max(64)
    .default([])
    .describe('volumes and folders that are left out on purpose: they are not rolled back'),
});
const unitName = z
  .string()
  .regex(/^[A-Za-z0-9:_.@\\-]{1,200}\.(service|timer|socket|path)$/, 'expected a unit such as nextcloud-cron.timer')
  .refine((unit) => !unit.startsWith('felhom-'), 'units of felhom belong to its package');

const stackPolicy = z.strictObject({
  state: z.enum(['running']).optional().describe('running: started by reconcile when it should run and does not'),
  services: z
    .array(z.string().max(256))
    .min(1)
    .max(256)
    .optional()
    .describe('the services that should run; default: all with a container, finished tasks excepted'),
  companions: z
    .record(unitName, z.string().regex(/^\//, 'expected an absolute path'))
    .optional()
    .describe('systemd units of the stack and the files that hold them: written where missing, started where inactive'),
  quiesce: z.enum(['stop', 'keep']).default('stop').describe('keep: never stopped for a backup'),
  before_stop: serviceCommand.optional().describe('"service: command", run in it before the stack is stopped'),
  after_start: serviceCommand.optional().describe('"service: command", run in it once the stack runs again'),
  upgrade: stackUpgrade.prefault({}).describe('how this stack is upgraded'),
  snapshot: stackSnapshots.prefault({}).describe("what of this stack's data a volume snapshot holds"),
});

const agent = z.strictObject({
  url: z.string().regex(/^https:\/\/[^\s/]+\/?$/, 'expected an address such as https://10.0.3.1:8470'),
  fingerprint: z
    .string()
    .regex(
      /^(sha256:)?([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$/i,
      'expected the SHA-256 fingerprint that felhom-agent status prints',
    ),
});

/** /etc/felhom/controller.yaml. Durations are milliseconds once parsed. */
export const configSchema = z.strictObject({
  agents: z.array(agent).max(64).default([]).describe('the agents that may have this guest, tried in order'),
  token_file: absolutePath.default('/etc/felhom/token').describe("holds this guest's token, readable by root alone"),
  state_dir: absolutePath
    .default(defaultStateDir)
    .describe('marker, run history, generation; elsewhere, the units want a drop-in: config check tells it'),
  run_dir: absolutePath.default(defaultRunDir).describe('the run lock'),
  unit_dir: absolutePath.default('/etc/systemd/system').describe('where missing companion units are written'),
  grade: z
    .enum(['app-consistent', 'crash-consistent'])
    .default('app-consistent')
    .describe('a finished backup below it is exit 5'),
  history: z.number().int().min(1).max(10_000).default(200).describe('how many runs are kept'),
  stacks: z
    .record(z.string().max(256), stackPolicy)
    .default({})
    .describe("by Compose project, or a plain container's name"),
  snapshots: z
    .strictObject({
      dir: absolutePath.optional().describe('where volume snapshots lie (default: snapshots in state_dir)'),
      keep: z
        .number()
        .int()
        .min(1)
        .max(1_000)
        .default(3)
        .describe('how many of a stack are kept, besides the last good one'),
    })
    .prefault({}),
  upgrade: upgradeSection.prefault({}).describe('limits of every upgrade'),
  bounds: boundsSchema.prefault({}),
});
export type Config = z.output<typeof configSchema>;

/** Where the configuration comes from: flags, then environment, then the file. */
export interface ConfigLocation {
  file: string;
  overrides: readonly Override[];
}

/** Flags of the command line that choose or override configuration. */
export interface ConfigFlags {
  config?: string | undefined;
  stateDir?: string | undefined;
}

export function locateConfig(flags: ConfigFlags, env: NodeJS.ProcessEnv): ConfigLocation {
  const overrides: Override[] = [];
  const override = (key: string, value: string | undefined, from: string): void => {
    if (value !== undefined && value !== '') overrides.push({ path: [key], value, from });
  };
  override('state_dir', env['FELHOM_STATE_DIR'], 'FELHOM_STATE_DIR');
  override('run_dir', env['FELHOM_RUN_DIR'], 'FELHOM_RUN_DIR');
  override('token_file', env['FELHOM_TOKEN_FILE'], 'FELHOM_TOKEN_FILE');
  override('state_dir', flags.stateDir === undefined ? undefined : resolve(flags.stateDir), '--state-dir');
  const named = flags.config ?? (env['FELHOM_CONFIG'] === '' ? undefined : env['FELHOM_CONFIG']);
  return { file: named === undefined ? defaultConfigFile : resolve(named), overrides };
}

export interface LoadedConfig {
  config: Config;
  file: string;
  /** False: the file does not exist, and everything is a default or an override. */
  exists: boolean;
}

/** @throws Failure `config_invalid` with every mistake and its place. */
export async function loadConfig({ file, overrides }: ConfigLocation): Promise<LoadedConfig> {
  const text = await readConfigText(file);
  const config = await parseConfig({ text, file, schema: configSchema, overrides, hint: seeSchema });
  return { config, file, exists: text !== undefined };
}

/** @throws Failure `config_missing` when the file does not exist: for commands that need an agent. */
export async function loadExistingConfig(location: ConfigLocation): Promise<LoadedConfig> {
  const loaded = await loadConfig(location);
  if (loaded.exists && loaded.config.agents.length > 0) return loaded;
  throw new Failure('config_missing', {
    message: loaded.exists ? `${loaded.file} names no agent` : `there is no configuration at ${loaded.file}`,
    hint: 'Write one that names the agent of the host:\n  agents: [{ url: https://HOST:8470, fingerprint: "AB:CD:…" }]\nOn the host, felhom-agent status prints address and fingerprint.',
  });
}

/**
 * For recovery, which must bring apps back whatever stands in the file: a broken configuration costs
 * a warning, and only the places of state are taken from it where they can still be read.
 */
export async function loadConfigForRecovery(
  location: ConfigLocation,
): Promise<LoadedConfig & { warning: string | null }> {
  try {
    return { ...(await loadConfig(location)), warning: null };
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'config_invalid') throw error;
    const config = await parseConfig({
      text: undefined,
      file: location.file,
      schema: configSchema,
      overrides: [...(await placesIn(location.file)), ...location.overrides],
      hint: seeSchema,
    });
    return {
      config,
      file: location.file,
      exists: true,
      warning: `the configuration is broken, defaults are used: ${error.message}`,
    };
  }
}

/** `state_dir` and `run_dir` of a file that does not parse as a whole. */
async function placesIn(file: string): Promise<Override[]> {
  const text = await readConfigText(file).catch(() => undefined); // Unreadable: the defaults are all there is.
  return Object.entries(placesInText(text ?? '')).map(([key, value]) => ({ path: [key], value, from: file }));
}

/** The stacks that are declared to run. */
export function declaredStacks({ stacks }: Config): DeclaredStack[] {
  return Object.entries(stacks).flatMap(([name, { state, services, companions = {} }]) => {
    if (state === undefined) return [];
    const units = Object.entries(companions).map(([unit, file]) => ({ unit, file }));
    return [{ name, services: services ?? null, companions: units }];
  });
}

/** What the configuration says about single stacks. */
export function quiescePolicy({ stacks }: Config): QuiescePolicy {
  return {
    stacks: Object.fromEntries(
      Object.entries(stacks).map(([name, { quiesce, before_stop, after_start }]) => [
        name,
        {
          quiesce,
          ...(before_stop === undefined ? {} : { before_stop }),
          ...(after_start === undefined ? {} : { after_start }),
        },
      ]),
    ),
  };
}

/** Where volume snapshots lie. */
export function snapshotFolder({ snapshots, state_dir }: Pick<Config, 'snapshots' | 'state_dir'>): string {
  return snapshots.dir ?? join(state_dir, 'snapshots');
}

/** The configuration as it is in force, in the words of the file. */
export function showConfig(config: Config): Record<string, unknown> {
  return { ...config, bounds: durationsAsWritten(config.bounds), upgrade: upgradeAsWritten(config.upgrade) };
}

function upgradeAsWritten({ block_file, min_free, ...durations }: Config['upgrade']): Record<string, unknown> {
  return { block_file, min_free: sizeAsWritten(min_free), ...durationsAsWritten(durations) };
}

function durationsAsWritten(durations: Readonly<Record<string, number>>): Record<string, string> {
  return Object.fromEntries(Object.entries(durations).map(([key, ms]) => [key, formatDuration(ms)]));
}

function sizeAsWritten(bytes: number): string {
  return bytes % 2 ** 20 === 0 ? `${bytes / 2 ** 20}MiB` : `${bytes}B`;
}
