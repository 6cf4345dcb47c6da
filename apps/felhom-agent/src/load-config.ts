import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseConfig, readConfigText } from '@felhom/cli/config-file.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { type AgentConfig, agentConfigSchema, type GuestFile, guestFileSchema } from './config.ts';
import { defaultConfigFile } from './status/places.ts';

const hint =
  'felhom-agent config schema prints every key with its default; felhom-agent config check reads the files again.';

/** The configuration as it was read, with the files it came from. */
export interface Loaded {
  file: string;
  config: AgentConfig;
  guests: ReadonlyMap<number, GuestFile>;
}

/** The configuration file's path: flag over environment over default. */
function configFile(flag: string | undefined): string {
  return flag ?? process.env['FELHOM_CONFIG'] ?? defaultConfigFile;
}

/** @throws Failure `config_missing` when there is no file, `config_invalid` with every mistake. */
export async function loadConfig(flag: string | undefined): Promise<Loaded> {
  const file = configFile(flag);
  const text = await readConfigText(file);
  if (text === undefined) {
    throw new Failure('config_missing', {
      message: `there is no configuration: ${file}; guests keep running, nothing was started`,
      hint: 'Write one (felhom-agent config schema shows every key), or name it with --config FILE.',
    });
  }
  const config = await parseConfig({ text, file, schema: agentConfigSchema, hint });
  return { file, config, guests: await loadGuests(config.guests) };
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
