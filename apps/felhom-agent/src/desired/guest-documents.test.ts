import { describe, expect, it } from 'vitest';
import { parseGuestDocuments, toDesired } from './guest-documents.ts';

const read = async (...files: [source: string, text: string][]) =>
  await parseGuestDocuments(files.map(([source, text]) => ({ source, text })));
const vmids = ({ guests }: Awaited<ReturnType<typeof read>>): number[] => guests.map(({ guest }) => guest.vmid);

describe('documents of guests', () => {
  it('keep one another from nothing: a broken one is a problem of its own guest', async () => {
    const parsed = await read(
      ['g/101.yaml', 'vmid: 101\ndesired: { cores: 2 }\n'],
      ['g/102.yaml', 'vmid: 102\ndesired: { coores: 2, memory: much }\n'],
      ['g/103.yaml', 'vmid: 103\ndesired: [\n'],
      ['g/104-db.yaml', 'nothing of sense'],
      ['g/notes.yaml', 'vmid: [\n'],
    );
    expect(vmids(parsed)).toEqual([101]);
    expect(parsed.problems.map(({ source, vmid }) => [source, vmid])).toEqual([
      ['g/102.yaml', 102],
      ['g/103.yaml', 103],
      ['g/104-db.yaml', 104],
      ['g/notes.yaml', null],
    ]);
    expect(parsed.problems[0]?.message).toBe(
      '2 mistakes in the configuration\ng/102.yaml:2:31: desired.memory: expected a size such as 512MiB or 2GiB\ng/102.yaml:2:12: desired.coores: unknown key, did you mean desired.cores?',
    );
  });

  it('leave a guest alone that two of them declare, and blame both', async () => {
    const parsed = await read(
      ['g/a.yaml', 'vmid: 101\ndesired: { state: running }\n'],
      ['g/b.yaml', 'vmid: 101\ndesired: { state: stopped }\n'],
      ['g/c.yaml', 'vmid: 102\n'],
    );
    expect(vmids(parsed)).toEqual([102]);
    expect(parsed.problems).toEqual([
      { source: 'g/a.yaml', vmid: 101, message: 'g/a.yaml: guest 101 is declared in g/b.yaml too; keep one of them' },
      { source: 'g/b.yaml', vmid: 101, message: 'g/b.yaml: guest 101 is declared in g/a.yaml too; keep one of them' },
    ]);
  });

  it('leave a guest alone that a sound and a broken one name', async () => {
    const parsed = await read(['g/a.yaml', 'vmid: 101\n'], ['g/b.yaml', 'vmid: 101\nheld: [\n']);
    expect(vmids(parsed)).toEqual([]);
    expect(parsed.problems.map(({ source }) => source)).toEqual(['g/b.yaml', 'g/a.yaml']);
  });

  it('manage nothing that they do not name', async () => {
    const parsed = await read(
      ['101.yaml', 'vmid: 101\nbackup: [{ storage: pbs }]\n'],
      ['102.yaml', 'vmid: 102\nheld: being moved\ndesired: { tags: [] }\n'],
    );
    expect(toDesired(parsed, 'v1')).toEqual({
      guests: [{ vmid: 102, source: '102.yaml', held: 'being moved', state: null, fields: { tags: null } }],
      problems: [],
      version: 'v1',
    });
  });
});
