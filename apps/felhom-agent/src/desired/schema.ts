import { parseDuration, parseSize } from '@felhom/cli/quantity.ts';
import { z } from 'zod';
import type { FieldValue } from '../reconcile/model.ts';

/**
 * `desired` of a guest's file. What is not named is not managed. Ranges are those that PVE checks for
 * every kind of guest; what only one kind refuses is told by the table of fields, which knows the kind.
 * Parsed, each field is text as PVE would be given it, or null for an option that is to be gone.
 */
const sizePattern = /^\d+(\.\d+)?\s?([KMGT]i?B|kB|B)$/;

function mebibytes(atLeast: number) {
  const message = 'expected a size such as 512MiB or 2GiB';
  return z
    .string(message)
    .regex(sizePattern, message)
    .transform((text, context): FieldValue => {
      const mib = (parseSize(text) ?? Number.NaN) / 2 ** 20;
      if (Number.isSafeInteger(mib) && mib >= atLeast && mib <= maxMebibytes) return String(mib);
      context.addIssue({ code: 'custom', message: `expected whole MiB, from ${atLeast} MiB to 16 TiB` });
      return z.NEVER;
    });
}

/** 16 TiB: no PVE host has more, and what is longer was meant to be another unit. */
const maxMebibytes = 2 ** 24;

function wholeNumber(min: number, max: number) {
  const message = `expected a whole number from ${min} to ${max}`;
  return z.number(message).int(message).min(min, message).max(max, message);
}

const flag = (what: string) =>
  z
    .boolean('expected true or false')
    .transform((on): FieldValue => (on ? '1' : '0'))
    .describe(what);

const dnsName = /^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$/;
const wholeSeconds = 'expected whole seconds, such as 30s or 2m';

const delay = z.string(wholeSeconds).transform((text, context): number => {
  const ms = parseDuration(text);
  if (ms !== undefined && ms % 1_000 === 0) return ms / 1_000;
  context.addIssue({ code: 'custom', message: wholeSeconds });
  return z.NEVER;
});

const startup = z
  .strictObject({
    order: wholeNumber(0, 999_999_999).optional().describe('lower starts earlier and stops later'),
    up: delay.optional().describe('wait this long after its start before the next guest starts'),
    down: delay.optional().describe('give it this long to shut down'),
  })
  .transform((parts): FieldValue => {
    const given = (['order', 'up', 'down'] as const).filter((name) => parts[name] !== undefined);
    return given.length === 0 ? null : given.map((name) => `${name}=${parts[name]}`).join(',');
  });

const tag = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.+-]*$/, 'expected a tag: letters, digits and _ - + . only');

/** PVE counts characters, not bytes; what is no text (half a surrogate pair, NUL) cannot be sent to it. */
const description = z
  .string('expected text')
  .refine((text) => !/[\u0000\p{Surrogate}]/u.test(text), 'expected text without NUL and without halves of characters')
  .refine((text) => Array.from(text).length <= 8192, 'expected 8192 characters at most');

const cpulimitRange = 'expected a number from 0.01 to 8192, or 0';

export const desiredSchema = z
  .strictObject({
    state: z.enum(['running', 'stopped']).optional().describe('whether it runs; not named: a person decides'),
    cores: z
      .union([z.literal('all'), wholeNumber(1, 8192)], 'expected a whole number from 1 to 8192, or all')
      .transform((value): FieldValue => String(value))
      .optional(),
    memory: mebibytes(16).optional().describe('a size such as 2GiB'),
    swap: z
      .union(
        [z.literal(0).transform((): FieldValue => '0'), mebibytes(0)],
        'expected a size in whole MiB such as 512MiB, 16 TiB at most, or 0',
      )
      .optional()
      .describe('containers only'),
    hostname: z
      .string('expected a DNS name')
      .max(255, 'expected 255 characters at most')
      .regex(dnsName, 'expected a DNS name: letters, digits, hyphens and dots')
      .optional()
      .describe("a VM's name"),
    description: description.optional().describe('the notes of the guest; empty: none'),
    tags: z
      .array(tag, 'expected a list of tags')
      .transform((tags): FieldValue => (tags.length === 0 ? null : tags.join(';')))
      .optional()
      .describe('all of its tags'),
    onboot: flag('start it with the node').optional(),
    startup: startup.optional().describe('its place when the node starts and stops'),
    protection: flag('refuse to destroy it').optional(),
    cpulimit: z
      .number(cpulimitRange)
      .max(8192, cpulimitRange)
      // Less than a hundredth is less than the millisecond that the kernel gives out (cpu.max).
      .refine((value) => value === 0 || value >= 0.01, cpulimitRange)
      .refine((value) => Number(value.toFixed(3)) === value, 'expected three decimals at most')
      .transform((value): FieldValue => String(value))
      .optional()
      .describe('how many CPUs it may keep busy; 0: as many as it has'),
    cpuunits: wholeNumber(0, 500_000)
      .transform((value): FieldValue => String(value))
      .optional()
      .describe('its weight against other guests'),
  })
  .describe('the state that reconcile keeps; what is not named is not managed');
export type DesiredState = z.output<typeof desiredSchema>;
