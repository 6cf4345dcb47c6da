import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { agentConfigSchema, guestFileSchema } from 'felhom-agent/config.ts';
import { readSigners } from 'felhom-agent/operations/signers.ts';
import { configSchema } from 'felhom-controller/config.ts';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

const root = new URL('../../', import.meta.url);
const read = async (name: string): Promise<unknown> => parse(await readFile(new URL(`examples/${name}`, root), 'utf8'));

describe('the configurations to begin with', () => {
  it('are what the programs take', async () => {
    expect(agentConfigSchema.parse(await read('agent.yaml'))).toMatchObject({ listen: '10.0.3.1:8470' });
    expect(agentConfigSchema.parse(await read('agent-cluster-folder.yaml'))).toMatchObject({
      guests: '/etc/pve/felhom/guests.d',
    });
    const signed = agentConfigSchema.parse(await read('agent-signed-document.yaml')).guests_document;
    expect(signed).toMatchObject({ every: 60_000, timeout: 10_000 });
    expect(await readSigners(signed?.signers ?? [], new Set([0]))).toMatchObject([{ name: 'anna', revoked: false }]);
    expect(guestFileSchema.parse(await read('guests.d-101-docker1.yaml'))).toMatchObject({
      vmid: 101,
      desired: { memory: '4096', startup: 'order=2,up=30' },
    });
    expect(configSchema.parse(await read('controller.yaml'))).toMatchObject({ token_file: '/etc/felhom/token' });
  });
});

describe('the README', () => {
  it.each(['./scripts/demo', './scripts/test'])('names %s, which can be run', async (command) => {
    expect(await readFile(new URL('README.md', root), 'utf8')).toContain(`\n${command} `);
    await expect(access(new URL(command, root), constants.X_OK)).resolves.toBeUndefined();
  });

  it('links to nothing that is not there', async () => {
    const text = await readFile(new URL('README.md', root), 'utf8');
    const links = [...text.matchAll(/\]\(([^)#]+)\)/g)].map((match) => match[1] ?? '');
    expect(links.length).toBeGreaterThan(3);
    for (const link of links) await expect(access(new URL(link, root)), link).resolves.toBeUndefined();
  });
});
