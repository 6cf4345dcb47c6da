import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import { type Config, configSchema, loadConfig, locateConfig, showConfig } from '../config.ts';
import { defaultStateDir } from '../state/places.ts';
import type { CommandContext } from './context.ts';

/** `config check`: the file, and the token that it names. */
export async function check({ reporter, flags, env }: CommandContext): Promise<void> {
  const { config, file, exists } = await loadConfig(locateConfig(flags, env));
  if (!exists) {
    throw new Failure('config_missing', {
      message: `there is no configuration at ${file}`,
      hint: 'felhom-controller config schema tells what belongs into it.',
    });
  }
  if (config.agents.length === 0) {
    throw new Failure('config_invalid', {
      message: `${file}: agents: no agent is named`,
      hint: 'agents: [{ url: https://HOST:8470, fingerprint: "AB:CD:…" }]',
    });
  }
  const { readSecretFile } = await import('@felhom/cli/secret-file.ts');
  await readSecretFile(config.token_file, "this guest's token");
  const notes = notesOn(config);
  reporter.result({ schema: 'felhom.config-check/1', file, ok: true, notes }, () =>
    [`${file}: fine`, ...notes.map((note) => `note: ${note}`)].join('\n'),
  );
}

/** What is no mistake, and yet must be known: units of systemd cannot read our configuration. */
function notesOn({ state_dir: stateDir }: Config): string[] {
  if (stateDir === defaultStateDir) return [];
  return [
    `timer and boot service look at ${defaultStateDir}/debts alone, and state_dir is ${stateDir}. ` +
      'For felhom-controller-recover.service and felhom-controller-boot.service type: systemctl edit UNIT, with\n' +
      `  [Unit]\n  ConditionDirectoryNotEmpty=\n  ConditionDirectoryNotEmpty=${stateDir}/debts`,
  ];
}

/** `config show`: what is in force, as a file that would say it. */
export async function show({ reporter, flags, env }: CommandContext): Promise<void> {
  const { config, file, exists } = await loadConfig(locateConfig(flags, env));
  const { stringify } = await import('yaml');
  const shown = showConfig(config);
  const origin = exists
    ? `# ${file}, with flags, environment and defaults`
    : `# ${file} does not exist: flags, environment and defaults`;
  reporter.result({ schema: 'felhom.config/1', file, exists, config: shown }, () => `${origin}\n${stringify(shown)}`);
}

/** `config schema`: JSON Schema, the same in both forms. */
export async function schema({ reporter }: CommandContext): Promise<void> {
  const described = z.toJSONSchema(configSchema, { io: 'input' });
  reporter.result({ schema: 'felhom.config-schema/1', json_schema: described }, () =>
    JSON.stringify(described, null, 2),
  );
}
