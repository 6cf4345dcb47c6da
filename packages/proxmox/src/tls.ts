import { readFileSync } from 'node:fs';
import { Failure } from '@felhom/kernel/failure.ts';
import { type PeerTrust, verifiedConnector } from '@felhom/pinned-tls/connector.ts';
import { canonicalFingerprint } from '@felhom/pinned-tls/fingerprint.ts';
import type { buildConnector } from 'undici';

/** How we know that the other side is our node. */
export type PveTls =
  /** The SHA-256 fingerprint of the certificate, as "pvenode cert info" prints it. Names and dates do not matter then. */
  | { kind: 'fingerprint'; fingerprint: string }
  /** The certificate must be signed by this authority (PEM file) and carry the host's name. */
  | { kind: 'ca'; caFile: string }
  /** The authorities that the system trusts. */
  | { kind: 'system' };

/** The connector of a node. Throws `config_invalid` for a fingerprint or a file that cannot be right. */
export function pveConnector(tls: PveTls, timeoutMs: number): buildConnector.connector {
  return verifiedConnector(trustIn(tls), timeoutMs);
}

function trustIn(tls: PveTls): PeerTrust {
  if (tls.kind === 'system') return tls;
  return tls.kind === 'ca' ? authority(tls.caFile) : pin(tls.fingerprint);
}

function pin(text: string): PeerTrust {
  const fingerprint = canonicalFingerprint(text);
  if (fingerprint !== undefined) return { kind: 'fingerprint', fingerprint };
  throw new Failure('config_invalid', {
    message: 'the pinned fingerprint is not a SHA-256 fingerprint; nothing was sent to the node',
    hint: 'Enter the fingerprint that "pvenode cert info" prints on the node: 32 pairs of hexadecimal digits.',
  });
}

function authority(caFile: string): PeerTrust {
  try {
    return { kind: 'ca', ca: readFileSync(caFile, 'utf8') };
  } catch (error) {
    throw new Failure('config_invalid', {
      message: `the CA file ${caFile} cannot be read; nothing was sent to the node`,
      hint: 'Check pve.ca_file: it must be a readable PEM file, on a node /etc/pve/pve-root-ca.pem.',
      cause: error,
    });
  }
}
