import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fieldOf, managedFields, readField } from './fields.ts';
import type { FieldName, GuestKind } from './model.ts';

const kinds = fc.constantFrom<GuestKind>('lxc', 'qemu');
const canonical = (name: FieldName, kind: GuestKind, raw: string | null): string | null =>
  fieldOf(name).canonical(kind, raw);

describe('the canonical form of a field', () => {
  it('is its own canonical form, whatever the text', () => {
    fc.assert(
      fc.property(fc.constantFrom(...managedFields), kinds, fc.string({ unit: 'binary' }), (field, kind, raw) => {
        const once = field.canonical(kind, raw);
        if (once !== null) expect(field.canonical(kind, once)).toBe(once);
      }),
      { numRuns: 500 },
    );
  });

  it.each<[FieldName, GuestKind, string | null, string | null]>([
    ['memory', 'qemu', 'current=2048', '2048'],
    ['memory', 'qemu', null, '512'],
    ['memory', 'lxc', null, '512'],
    ['swap', 'lxc', null, '512'],
    ['cores', 'lxc', null, 'all'],
    ['cores', 'qemu', null, '1'],
    ['cpuunits', 'lxc', null, '100'],
    ['cpulimit', 'qemu', null, '0'],
    ['cpulimit', 'lxc', '1.50', '1.5'],
    ['onboot', 'lxc', null, '0'],
    ['protection', 'qemu', null, '0'],
    ['startup', 'lxc', '2', 'order=2'],
    ['startup', 'lxc', 'down=60,up=030,2', 'order=2,up=30,down=60'],
    ['startup', 'qemu', ' , ', null],
    ['tags', 'qemu', 'Web, db;web', 'db;web'],
    ['tags', 'lxc', ' ', null],
    ['description', 'lxc', 'hello\n\n', 'hello'],
    ['description', 'lxc', '\n\n', null],
    ['description', 'lxc', '  ', '  '],
    ['description', 'lxc', 'a\r\nb\r\n', 'a\r\nb\r'],
    ['description', 'qemu', 'hello \n\t', 'hello'],
    ['description', 'qemu', '  ', null],
    ['description', 'qemu', 'a\u0085\u00a0\ufeff', 'a'],
  ])('of %s of a guest of kind %s takes %j for %j', (name, kind, raw, expected) => {
    expect(canonical(name, kind, raw)).toBe(expected);
  });

  it('keeps apart what is not the same', () => {
    expect(canonical('tags', 'lxc', 'a;b')).not.toBe(canonical('tags', 'lxc', 'a'));
    expect(canonical('description', 'lxc', 'a ')).not.toBe(canonical('description', 'lxc', 'a'));
    expect(canonical('description', 'qemu', ' a')).not.toBe(canonical('description', 'qemu', 'a'));
    expect(canonical('hostname', 'lxc', 'Web')).not.toBe(canonical('hostname', 'lxc', 'web'));
    expect(canonical('startup', 'lxc', 'up=0')).not.toBe(canonical('startup', 'lxc', null));
  });

  it('of what PVE should never give is that very text, and so drift', () => {
    expect(canonical('startup', 'lxc', 'soon')).toBe('soon');
    expect(canonical('memory', 'qemu', 'much')).toBe('much');
  });
});

describe('the write of a field', () => {
  const write = (name: FieldName, kind: GuestKind, value: string | null) => {
    const field = fieldOf(name);
    return field.write(kind, field.option[kind] ?? '', value);
  };

  it('names a VM by its name', () => {
    expect(write('hostname', 'lxc', 'web')).toEqual({ set: ['hostname', 'web'] });
    expect(write('hostname', 'qemu', 'web')).toEqual({ set: ['name', 'web'] });
  });

  it('removes what only a missing option can say', () => {
    expect(write('cores', 'lxc', 'all')).toEqual({ remove: 'cores' });
    expect(write('tags', 'qemu', null)).toEqual({ remove: 'tags' });
    expect(write('description', 'lxc', null)).toEqual({ remove: 'description' });
    expect(write('cpulimit', 'lxc', '0')).toEqual({ remove: 'cpulimit' });
  });

  it('never removes memory or swap: a missing one is 512 MiB, and PVE refuses the one and misreads the other', () => {
    for (const name of ['memory', 'swap'] as const)
      fc.assert(
        fc.property(fc.nat(100_000), (mebibytes) => {
          expect(write(name, 'lxc', String(mebibytes))).toEqual({ set: [name, mebibytes] });
        }),
      );
  });
});

describe('what a guest of one kind cannot have', () => {
  it.each<[FieldName, GuestKind, string, boolean]>([
    ['cores', 'qemu', 'all', true],
    ['cores', 'lxc', 'all', false],
    ['cpulimit', 'qemu', '129', true],
    ['cpulimit', 'lxc', '129', false],
    ['cpuunits', 'qemu', '0', true],
    ['cpuunits', 'qemu', '262145', true],
    ['cpuunits', 'lxc', '0', false],
    ['description', 'lxc', '0', true],
  ])('%s of kind %s as %s is refused: %s', (name, kind, value, refused) => {
    expect(fieldOf(name).refuses(kind, value) !== null).toBe(refused);
  });

  it('is swap for a VM', () => {
    expect(fieldOf('swap').option.qemu).toBeNull();
    expect(readField(fieldOf('swap'), 'qemu', { swap: '1' })).toBeNull();
  });
});

describe('the effect of a write on a running guest', () => {
  it('is at once for a container, and after a restart for the cores and the memory of a VM', () => {
    const later = managedFields.filter((field) => field.effect('qemu', {}) === 'restart').map((field) => field.name);
    expect(later).toEqual(['cores', 'memory']);
    expect(managedFields.every((field) => field.effect('lxc', {}) === 'live')).toBe(true);
    expect(fieldOf('memory').effect('qemu', { hotplug: 'network,disk,memory' })).toBe('live');
  });
});
