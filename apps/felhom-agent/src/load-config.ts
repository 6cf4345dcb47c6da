import { parseConfig, readConfigText } from '@felhom/cli/config-file.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { type AgentConfig, agentConfigSchema, type GuestFile } from './config.ts';
import type { GuestDocuments } from './desired/guest-documents.ts';
import { readGuestDocuments } from './desired/place.ts';
import type { DesiredProblem } from './reconcile/model.ts';
import { defaultConfigFile } from './status/places.ts';

const hint =
  'felhom-agent config schema prints every key with its default; felhom-agent config check reads the files again.';

/** The configuration as it was read, with the files it came from. */
export interface Loaded {
  file: string;
  config: AgentConfig;
  guests: ReadonlyMap<number, GuestFile>;
  /** Mistakes in the files of guests. A guest with one is not in `guests`. */
  problems: readonly DesiredProblem[];
}

/** The configuration file's path: flag over environment over default. */
function configFile(flag: string | undefined): string {
  return flag ?? process.env['FELHOM_CONFIG'] ?? defaultConfigFile;
}

/**
 * agent.yaml alone, for whoever needs nothing of the guests' files: of a thousand guests those take half a second.
 * @throws Failure `config_missing` when there is no file, `config_invalid` with every mistake.
 */
export async function loadAgentConfig(flag: string | undefined): Promise<Pick<Loaded, 'file' | 'config'>> {
  const file = configFile(flag);
  const text = await readConfigText(file);
  if (text === undefined) {
    throw new Failure('config_missing', {
      message: `there is no configuration: ${file}; guests keep running, nothing was started`,
      hint: 'Write one (felhom-agent config schema shows every key), or name it with --config FILE.',
    });
  }
  return { file, config: await parseConfig({ text, file, schema: agentConfigSchema, hint }) };
}

/**
 * A mistake in the file of one guest does not keep the others from being served: it is in `problems`.
 * `ask`: where a server declares the guests it is asked for a newer document first; else what is in force counts.
 * @throws Failure `config_missing` when there is no file, `config_invalid` with every mistake of agent.yaml,
 *   and when the place of the guests' files cannot be read.
 */
export async function loadConfig(flag: string | undefined, { ask = false } = {}): Promise<Loaded> {
  const { file, config } = await loadAgentConfig(flag);
  const { guests, problems } = await guestsOf(config, ask);
  return { file, config, guests: new Map(guests.map(({ guest }) => [guest.vmid, guest])), problems };
}

/** From the folder, or from the signed document in force. */
async function guestsOf(config: AgentConfig, ask: boolean): Promise<GuestDocuments> {
  if (config.guests_document === undefined) return await readGuestDocuments(config.guests);
  // What is known of the document is written down where it is read.
  const { becomeOwnerOf } = await import('./own-state.ts');
  await becomeOwnerOf(config.state);
  const { guestsOfDocument } = await import('./desired/wiring.ts');
  return await guestsOfDocument(config.guests_document, config.state, { ask });
}
