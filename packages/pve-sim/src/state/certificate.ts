import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';

/** The node's own certificate: made once, kept in the state folder, so that a pinned fingerprint survives a restart. */
export interface Certificate {
  key: string;
  cert: string;
  /** SHA-256, upper case, with colons. */
  fingerprint: string;
}

export function nodeCertificate(state: string, node: string): Certificate {
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const [keyFile, certFile] = [join(state, 'node.key'), join(state, 'node.pem')];
  if (!existsSync(certFile) || !existsSync(keyFile)) make(keyFile, certFile, node);
  const cert = readFileSync(certFile, 'utf8');
  return { key: readFileSync(keyFile, 'utf8'), cert, fingerprint: new X509Certificate(cert).fingerprint256 };
}

/** The certificate is renamed into place last: a start that was cut off leaves none, and the next one makes both. */
function make(keyFile: string, certFile: string, node: string): void {
  const temporary = `${certFile}.new`;
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  const names = ['-subj', `/CN=${node}`, '-addext', `subjectAltName=DNS:${node},DNS:localhost,IP:127.0.0.1`];
  execFileSync(
    'openssl',
    ['req', '-x509', ...curve, '-nodes', '-days', '3650', '-keyout', keyFile, '-out', temporary, ...names],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  renameSync(temporary, certFile);
}
