import { X509Certificate } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@felhom/durable/disk.ts';
import { replaceFile } from '@felhom/durable/replace-file.ts';
import type { CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';

export interface Certificate {
  keyPem: string;
  certPem: string;
  /** SHA-256, as `AB:CD:…`: what controllers pin. */
  fingerprint: string;
}

const validDays = 3650;
const notServing = 'the agent is not serving, guests keep running';

/**
 * The agent's certificate; made by openssl on the first start. Controllers pin its fingerprint, so it
 * is kept: name and dates of it do not matter.
 * @throws Failure `operation_failed` when openssl is missing or fails, `state_unreadable` for one that is there and cannot
 *   be read: it is never made anew by itself.
 */
export async function ensureCertificate(stateDir: string, commands: CommandRunner): Promise<Certificate> {
  const paths = { key: join(stateDir, 'tls-key.pem'), cert: join(stateDir, 'tls-cert.pem') };
  const [keyPem, certPem] = await Promise.all([read(paths.key), read(paths.cert)]);
  if (keyPem !== null && certPem !== null) return { keyPem, certPem, fingerprint: fingerprintOf(paths.cert, certPem) };
  const made = await makeCertificate(stateDir, commands);
  // The key goes first: a certificate without its key would be kept for good.
  await replaceFile(paths.key, made.keyPem);
  await replaceFile(paths.cert, made.certPem);
  return { ...made, fingerprint: fingerprintOf(paths.cert, made.certPem) };
}

async function makeCertificate(
  stateDir: string,
  commands: CommandRunner,
): Promise<Pick<Certificate, 'keyPem' | 'certPem'>> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const [key, cert] = [join(stateDir, 'tls-key.pem.new'), join(stateDir, 'tls-cert.pem.new')];
  const algorithm = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];
  const what = ['-days', String(validDays), '-subj', '/CN=felhom-agent'];
  try {
    const made = await commands.run('openssl', ['req', '-x509', ...algorithm, '-keyout', key, '-out', cert, ...what], {
      timeoutMs: 30_000,
    });
    if (made.exitCode === 0) return { keyPem: await readFile(key, 'utf8'), certPem: await readFile(cert, 'utf8') };
    const why = made.spawnError?.message ?? made.stderr.trim().split('\n').at(-1) ?? 'openssl failed';
    throw new Failure('operation_failed', {
      message: `no certificate could be made: ${why}; ${notServing}`,
      hint: 'Install openssl (apt install openssl) and start the agent again.',
    });
  } finally {
    await Promise.all([rm(key, { force: true }), rm(cert, { force: true })]);
  }
}

function fingerprintOf(path: string, certPem: string): string {
  try {
    return new X509Certificate(certPem).fingerprint256;
  } catch (error) {
    throw unreadable(path, error);
  }
}

async function read(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw unreadable(path, error);
  }
}

function unreadable(path: string, cause: unknown): Failure {
  return new Failure('state_unreadable', {
    message: `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}; ${notServing}`,
    hint: `Put it back, readable by the user of the agent (chown felhom-agent). Without it (rm) a new one is made, and the fingerprint must be told to every guest anew.`,
    cause,
  });
}
