import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseConfig, readConfigText } from '@felhom/cli/config-file.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { type AgentConfig, agentConfigSchema, type GuestFile, guestFileSchema } from './config.ts';

export const defaultConfigFile = '/etc/felhom/agent.yaml';
const hint =
  'felhom-agent config schema prints every key with its default; felhom-agent config check reads the files again.';

/** The configuration as it was read, with the files it came from. */
export interface Loaded {
  file: string;
  config: AgentConfig;
  guests: ReadonlyMap<number, GuestFile>;
}

/** The configuration file's path: flag over environment over default. */
export function configFile(flag: string | undefined): string {
  return flag ?? process.env['FELHOM_CONFIG'] ?? defaultConfigFile;
}

/** Null where there is no configuration file. @throws Failure `config_invalid` with every mistake. */
export async function loadConfigIfAny(flag: string | undefined): Promise<Loaded | null> {
  const file = configFile(flag);
  const text = await readConfigText(file);
  if (text === undefined) return null;
  const config = await parseConfig({ text, file, schema: agentConfigSchema, hint });
  return { file, config, guests: await loadGuests(config.guests) };
}

/** @throws Failure `config_missing` when there is none. */
export async function loadConfig(flag: string | undefined): Promise<Loaded> {
  const loaded = await loadConfigIfAny(flag);
  if (loaded !== null) return loaded;
  throw new Failure('config_missing', {
    message: `there is no configuration: ${configFile(flag)}; guests keep running, nothing was started`,
    hint: 'Write one (felhom-agent config schema shows every key), or name it with --config FILE.',
  });
}

/** One file per guest; an absent folder holds none. @throws Failure `config_invalid`, also for a VMID named twice. */
async function loadGuests(folder: string): Promise<Map<number, GuestFile>> {
  const guests = new Map<number, GuestFile>();
  for (const name of await listYaml(folder)) {
    const file = join(folder, name);
    const guest = await parseConfig({ text: (await readConfigText(file)) ?? '', file, schema: guestFileSchema, hint });
    if (guests.has(guest.vmid)) {
      throw new Failure('config_invalid', {
        message: `${file}: guest ${guest.vmid} has another file in this folder`,
        hint: 'Keep one file per guest.',
      });
    }
    guests.set(guest.vmid, guest);
  }
  return guests;
}

async function listYaml(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => /\.ya?ml$/.test(name) && !name.startsWith('.')).toSorted();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw new Failure('config_invalid', {
      message: `the folder of guests cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      hint: `Check that ${folder} is a folder and that you may read it.`,
      cause: error,
    });
  }
}
