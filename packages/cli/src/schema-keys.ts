import type { z } from 'zod';

/** The keys that `schema` knows at `path`, through optional, default, array, record and pipe. Empty where it knows none. */
export function knownKeys(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at: z.core.$ZodType | undefined = schema;
  for (const step of path) at = at === undefined ? undefined : child(unwrap(at), step);
  const def = at === undefined ? undefined : unwrap(at);
  return def?._zod.def.type === 'object' ? Object.keys((def as z.core.$ZodObject)._zod.def.shape) : [];
}

/** What stands inside optional, nullable, default, prefault, readonly, catch and pipe. */
function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  const def = schema._zod.def;
  if ('innerType' in def) return unwrap(def.innerType as z.core.$ZodType);
  return 'in' in def ? unwrap(def.in as z.core.$ZodType) : schema;
}

function child(schema: z.core.$ZodType, step: PropertyKey): z.core.$ZodType | undefined {
  const def = schema._zod.def;
  if ('shape' in def) return (def.shape as Record<PropertyKey, z.core.$ZodType>)[step];
  if ('valueType' in def) return def.valueType as z.core.$ZodType;
  return 'element' in def ? (def.element as z.core.$ZodType) : undefined;
}
