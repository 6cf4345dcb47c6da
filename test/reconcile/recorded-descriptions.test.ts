import { leaveOut, openRecordings } from '@felhom/pve-sim/testing/recordings.ts';
import { fieldOf } from 'felhom-agent/reconcile/fields.ts';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

const recordings = openRecordings();
const describeRecorded = recordings === null ? leaveOut : describe;
const readBack = z.object({ data: z.object({ description: z.string().optional() }) });
const sent = z.object({ description: z.string() });

/** What was sent to a node, and what it answered afterwards, by the name of the exchange. */
function pairs(prefix: 'desc-' | 'qemu-desc-'): { name: string; text: string; back: string | null }[] {
  return [...(recordings ?? [])].flatMap(([name, { request, response }]) => {
    const get = recordings?.get(name.replace(/-put$/, '-get'));
    const accepted = response.status_line.startsWith('HTTP/1.1 200');
    if (!name.startsWith(prefix) || !name.endsWith('-put') || get === undefined || !accepted) return [];
    const form =
      request.encoding === 'json' ? JSON.parse(request.body) : Object.fromEntries(new URLSearchParams(request.body));
    const { description } = sent.parse(form);
    return [
      { name, text: description, back: readBack.parse(JSON.parse(get.response.body_text)).data.description ?? null },
    ];
  });
}

describeRecorded('a description that a node took', () => {
  it.each([
    ['lxc', 'desc-'],
    ['qemu', 'qemu-desc-'],
  ] as const)('of a guest of kind %s is no drift when it is read back', (kind, prefix) => {
    const { canonical } = fieldOf('description');
    const all = pairs(prefix);
    expect(all.length).toBeGreaterThanOrEqual(kind === 'lxc' ? 5 : 3);
    for (const { name, text, back } of all) expect(canonical(kind, text), name).toBe(canonical(kind, back));
    expect(all.some(({ text, back }) => text !== back)).toBe(true);
  });

  it('and that differs in more than its end is drift', () => {
    const texts = pairs('desc-').map(({ text }) => text);
    const distinct = new Set(texts.map((text) => fieldOf('description').canonical('lxc', text)));
    expect(distinct.size).toBeGreaterThanOrEqual(5);
  });
});
