import { X509Certificate } from 'node:crypto';
import { chmod, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';

export interface Certificate {
  keyPem: string;
  certPem: string;
  /** SHA-256, as `AB:CD:…`: what controllers pin. */
  fingerprint: string;
}

const validDays = 3650;
const names = { key: 'tls-key.pem', cert: 'tls-cert.pem' };

/**
 * The agent's certificate; made by openssl on the first start. Controllers pin its fingerprint, so it
 * is kept: name and dates of it do not matter.
 * @throws Failure `operation_failed` when openssl is missing or fails.
 */
export async function ensureCertificate(stateDir: string, commands: CommandRunner): Promise<Certificate> {
  const present = await readCertificate(stateDir);
  if (present !== null) return present;
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const key = join(stateDir, `${names.key}.new`);
  const cert = join(stateDir, `${names.cert}.new`);
  const made = await commands.run(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-noenc',
      '-keyout',
      key,
      '-out',
      cert,
      '-days',
      String(validDays),
      '-subj',
      '/CN=felhom-agent',
    ],
    { timeoutMs: 30_000 },
  );
  if (made.exitCode !== 0) {
    await Promise.all([rm(key, { force: true }), rm(cert, { force: true })]);
    throw new Failure('operation_failed', {
      message: `no certificate could be made: ${made.spawnError?.message ?? made.stderr.trim().split('\n').at(-1) ?? 'openssl failed'}; the agent is not serving, guests keep running`,
      hint: 'Install openssl (apt install openssl) and start the agent again.',
    });
  }
  await chmod(key, 0o600);
  // The key goes first: a certificate without its key would be kept for good.
  await rename(key, join(stateDir, names.key));
  await rename(cert, join(stateDir, names.cert));
  const now = await readCertificate(stateDir);
  if (now === null)
    throw new Failure('operation_failed', {
      message: 'the new certificate cannot be read back',
      hint: `Look at ${stateDir}.`,
    });
  return now;
}

/** The certificate as it lies there, or null where there is none. */
export async function readCertificate(stateDir: string): Promise<Certificate | null> {
  const [keyPem, certPem] = await Promise.all([read(join(stateDir, names.key)), read(join(stateDir, names.cert))]);
  if (keyPem === null || certPem === null) return null;
  return { keyPem, certPem, fingerprint: new X509Certificate(certPem).fingerprint256 };
}

async function read(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'EACCES')) return null;
    throw error;
  }
}
