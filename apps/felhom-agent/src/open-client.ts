import { hostname } from 'node:os';
import { readSecretFile } from '@felhom/cli/secret-file.ts';
import { createPveClient, type PveClient } from '@felhom/proxmox/client.ts';
import type { AgentConfig } from './config.ts';
import { becomeOwnerOf } from './own-state.ts';

/**
 * The client of this node. The token belongs to the user of the service, so root becomes that user first (own-state.ts).
 * Throws Failure `config_invalid` or `refused` for a token that cannot be read.
 */
export async function openClient(config: AgentConfig): Promise<PveClient> {
  await becomeOwnerOf(config.state);
  const token = await readSecretFile(config.pve.token_file, 'the token for Proxmox VE');
  const { fingerprint, ca_file: caFile } = config.pve;
  return createPveClient({
    url: config.pve.url,
    node: config.node ?? hostname().split('.')[0] ?? 'localhost',
    token,
    tls:
      fingerprint !== undefined
        ? { kind: 'fingerprint', fingerprint }
        : caFile !== undefined
          ? { kind: 'ca', caFile }
          : { kind: 'system' },
    readTimeoutMs: Math.min(15_000, config.bounds.pve_call),
    writeTimeoutMs: config.bounds.pve_call + config.bounds.pve_busy,
  });
}
