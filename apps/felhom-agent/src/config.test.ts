import { parseConfig } from '@felhom/cli/config-file.ts';
import { describe, expect, it } from 'vitest';
import { agentConfigSchema, guestFileSchema, policiesOf } from './config.ts';

const minimal = 'pve: { url: "https://127.0.0.1:8006", token_file: /etc/felhom/pve-token }\n';
const parse = async (text: string) =>
  await parseConfig({ text, file: 'agent.yaml', schema: agentConfigSchema, hint: 'see config schema' });

describe('agent.yaml', () => {
  it('needs nothing but where PVE is', async () => {
    expect(await parse(minimal)).toMatchObject({
      gate: 'auto',
      vzdump_conf: '/etc/vzdump.conf',
      socket: '/run/felhom/agent.sock',
      pve_jobs: 'gate',
    });
  });

  it('takes the example of the documentation', async () => {
    const config = await parse(
      `listen: 10.0.3.1:8470\n${minimal}guests: /etc/felhom/guests.d\ndefaults: { backup: { storage: pbs, every: 1d, window: "01:00-05:00", max_age: 26h, on_downgrade: abort } }\n`,
    );
    expect(policiesOf(config, undefined)).toEqual([
      {
        storage: 'pbs',
        everyMs: 86_400_000,
        window: '01:00-05:00',
        maxAgeMs: 93_600_000,
        minGrade: 'crash-consistent',
        countForeign: false,
        onDowngrade: 'abort',
        mode: 'snapshot',
        compress: 'zstd',
      },
    ]);
  });

  it('names the nearest key for an unknown one, with its line', async () => {
    await expect(parse(`${minimal}lissten: 127.0.0.1:1\n`)).rejects.toThrow(
      /agent\.yaml:2:1: lissten: unknown key, did you mean listen\?/,
    );
  });

  it('names the nearest bound too', async () => {
    await expect(parse(`${minimal}bounds: { hold_mx: 1m }\n`)).rejects.toThrow(
      /bounds\.hold_mx: unknown key, did you mean bounds\.hold_max\?/,
    );
  });

  const document = (more: string): string =>
    `${minimal}guests_document:\n  url: https://config.example/pve1.json\n  signers: ["ed25519:x anna"]\n${more}`;

  it('takes a signed document in place of files, with bounds of its own', async () => {
    expect((await parse(document(''))).guests_document).toMatchObject({
      every: 60_000,
      timeout: 10_000,
      max_size: 4 * 2 ** 20,
    });
  });

  it.each([
    [
      document('  singers: []\n'),
      /agent\.yaml:5:3: guests_document\.singers: unknown key, did you mean guests_document\.signers/,
    ],
    [
      document('').replace('https://config', 'http://config'),
      /agent\.yaml:3:8: guests_document\.url: expected https:\/\/HOST\/PATH/,
    ],
    [
      document('').replace('config.example', 'anna:secret@config.example'),
      /guests_document\.url: expected https:\/\/HOST\/PATH without a name/,
    ],
    [document('  every: soon\n'), /agent\.yaml:5:10: guests_document\.every: expected a duration/],
    [document('').replace(/ {2}signers.*\n/, ''), /guests_document\.signers: expected key lines, or a folder/],
    [document('').replace(/\[".*"\]/, '[]'), /guests_document\.signers: /],
    [
      document(`  ca_file: /ca.pem\n  fingerprint: "${'AB:'.repeat(31)}AB"\n`),
      /guests_document: name fingerprint or ca_file, not both/,
    ],
    [`${minimal}state: /etc/pve/felhom/state\n`, /agent\.yaml:2:8: state: it lies in the filesystem of the cluster/],
  ])('says what is wrong with the source of guests, and where', async (text, says) => {
    await expect(parse(text)).rejects.toThrow(says);
  });

  it.each([
    'listen: 8470',
    'bounds: { claim: 15 }',
    'defaults: { backup: { storage: pbs, window: "1-5" } }',
    'gate: both',
  ])('refuses %s', async (line) => {
    await expect(parse(`${minimal}${line}\n`)).rejects.toThrow();
  });
});

describe('a guest file', () => {
  const defaults = { backup: { storage: 'pbs', every: 86_400_000, window: '01:00-05:00' } };

  it('completes each of its targets by the defaults', () => {
    const guest = guestFileSchema.parse({ vmid: 101, backup: [{ storage: 'pbs' }, { storage: 'usb', every: '7d' }] });
    expect(
      policiesOf({ defaults }, guest).map(({ storage, everyMs, window }) => ({ storage, everyMs, window })),
    ).toEqual([
      { storage: 'pbs', everyMs: 86_400_000, window: '01:00-05:00' },
      { storage: 'usb', everyMs: 604_800_000, window: '01:00-05:00' },
    ]);
  });

  it('leaves scheduling to PVE where it says so', () => {
    const guest = guestFileSchema.parse({ vmid: 101, backup: [{ schedule: 'pve' }] });
    expect(policiesOf({ defaults }, guest)[0]?.everyMs).toBeNull();
  });

  it('has no target when nothing names a storage', () => {
    expect(policiesOf({ defaults: {} }, guestFileSchema.parse({ vmid: 101, backup: [{ every: '1d' }] }))).toEqual([]);
  });
});
