import { z } from 'zod';

/**
 * The forms in which PVE writes values. Numbers are numbers in most answers and text in some
 * (`/cluster/nextid` "103", `saved: "0"`), booleans are 1 and 0 as number or text, and lists carry
 * nulls for what a guest has not: so each reader says what it takes, and nothing else passes.
 */
export const wireNumber = z.union([
  z.number(),
  z
    .string()
    .regex(/^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i)
    .transform(Number),
]);

export const wireFlag = z
  .union([z.boolean(), z.literal(0), z.literal(1), z.literal('0'), z.literal('1'), z.literal('')])
  .transform((value) => value === true || value === 1 || value === '1');

/** A number, or null where PVE leaves it out or writes null. */
export const optionalNumber = wireNumber.nullish().transform((value) => value ?? null);
export const optionalText = z
  .string()
  .nullish()
  .transform((value) => value ?? null);
export const optionalFlag = wireFlag.nullish().transform((value) => value ?? false);

/** Answers of calls whose `data` says nothing. */
export const nothing = z.unknown().transform(() => null);
