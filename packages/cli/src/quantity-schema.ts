import { z } from 'zod';
import { parseDuration, parseSize } from './quantity.ts';

type Quantity = z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>;

/** A duration in a configuration file (`10m`), in milliseconds once parsed. */
export function durationMs(): Quantity;
export function durationMs(defaultText: string): z.ZodPrefault<Quantity>;
export function durationMs(defaultText?: string): Quantity | z.ZodPrefault<Quantity> {
  const schema = quantity(parseDuration, 'expected a duration such as 30s, 10m or 1d');
  return defaultText === undefined ? schema : schema.prefault(defaultText);
}

/** A size in a configuration file (`2GiB`), in bytes once parsed. */
export function sizeBytes(): Quantity;
export function sizeBytes(defaultText: string): z.ZodPrefault<Quantity>;
export function sizeBytes(defaultText?: string): Quantity | z.ZodPrefault<Quantity> {
  const schema = quantity(parseSize, 'expected a size such as 512MiB or 2GiB');
  return defaultText === undefined ? schema : schema.prefault(defaultText);
}

function quantity(parse: (text: string) => number | undefined, message: string): Quantity {
  return z.string(message).transform((text, context) => {
    const value = parse(text.trim());
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });
}
