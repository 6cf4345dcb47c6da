const binary: Readonly<Record<string, number>> = { B: 0, K: 1, M: 2, G: 3, T: 4, P: 5 };

/**
 * Bytes of a size as PVE and its tools print it: `29MB`, `5.43GB`, `1.2 GiB`, `400 B`, `512 bytes`.
 * All of them count in steps of 1024, whatever the unit is called. null for anything else.
 */
export function parseSize(text: string): number | null {
  const match = /^([\d.]+)\s*(?:([KMGTP])i?B?|B|bytes?)?$/i.exec(text.trim());
  if (match?.[1] === undefined) return null;
  const value = Number(match[1]) * 1024 ** (binary[(match[2] ?? 'B').toUpperCase()] ?? 0);
  return Number.isFinite(value) ? Math.round(value) : null;
}
