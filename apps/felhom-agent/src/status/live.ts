import { z } from 'zod';
import { askServe } from '../commands/host-client.ts';
import { type Loaded, loadConfig } from '../load-config.ts';
import { openClient } from '../open-client.ts';

export interface Live {
  answer: { serving: boolean; pve_version: string | null };
  lines: string[];
  attention: { message: string; hint: string }[];
}

/** serve over its socket, and PVE by its cheapest call. */
export async function askLive(configFlag: string | undefined): Promise<Live> {
  const loaded = await loadConfig(configFlag);
  const [serve, pve] = await Promise.all([serveProblem(loaded), askVersion(loaded)]);
  const version = typeof pve === 'string' ? pve : null;
  const state = serve === null ? 'answers' : 'does not answer';
  return {
    answer: { serving: serve === null, pve_version: version },
    lines: [`live         serve ${state}, Proxmox VE ${version ?? 'does not answer'}`],
    attention: [...(serve === null ? [] : [serve]), ...(typeof pve === 'string' ? [] : [pve])],
  };
}

async function serveProblem({ config }: Loaded): Promise<{ message: string; hint: string } | null> {
  const answer = z.looseObject({ node: z.string() });
  return await askServe(config.socket, { method: 'GET', path: '/host/status', answer, timeoutMs: 10_000 }).then(
    () => null,
    (error: unknown) => ({ message: words(error), hint: 'systemctl status felhom-agent' }),
  );
}

async function askVersion({ config }: Loaded): Promise<string | { message: string; hint: string }> {
  try {
    const client = await openClient(config);
    try {
      return (await client.nodes.version()).version;
    } finally {
      await client.close();
    }
  } catch (error) {
    return { message: words(error), hint: 'Check pve in agent.yaml: url, token_file, fingerprint.' };
  }
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
